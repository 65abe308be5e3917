"""Topics to a BM25 run: which aggregation, which parameters, which index, which hits stay."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from expandr_ir.collections import load_collection
from expandr_ir.collections.facts import CollectionFacts
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.records import ExpandedTopic, Expansion, Hits, Topic
from expandr_ir.retrievers import BM25, Hybrid, SearchOptions, load_retriever, plain
from expandr_ir.retrievers.base import SingleRetriever
from expandr_ir.retrievers.bm25 import sparse_queries

DOCUMENTS = {"d1": "fleas jump high", "d2": "dogs have fleas", "t1": "fleas and cats and dogs", "d4": "fish swim"}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collections") / "pets"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": doc_id, "text": text} for doc_id, text in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    topics = [{"_id": "t1", "text": "fleas"}, {"_id": "t2", "text": "the"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in topics))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nt1\td1\t1\nt2\td4\t1\n")
    return load_collection(folder)


def expanded(topic_id="t1", text="fleas", *texts):
    return {topic_id: ExpandedTopic(Topic(topic_id, text), tuple(map(Expansion, range(len(texts)), texts)))}


def test_the_aggregation_in_force():
    alone, more = plain([Topic("1", "x")]), expanded("1", "x", "y")
    for topics, named, aggregation in [
        (alone, None, "none"), (alone, "none", "none"), (more, None, "repeat"), (more, "append", "append"),
    ]:  # fmt: skip
        assert BM25().aggregation_for(topics, named) == aggregation
    with pytest.raises(InputError, match="unknown aggregation 'apend'"):
        BM25().aggregation_for(alone, "apend")
    with pytest.raises(InputError, match="'append' has no expansions to work with"):
        BM25().aggregation_for(alone, "append")


@pytest.mark.java
def test_queries_are_texts_or_weights_of_analysed_terms():
    given = expanded("1", "x", "y", "z") | expanded("2", "u", "v")
    assert sparse_queries("append", given, SearchOptions()) == {"1": "x y z", "2": "u v"}
    assert sparse_queries("repeat", given, SearchOptions(repeats=2)) == {"1": "x x y z", "2": "u u v"}
    given = expanded("1", "the jumping flea", "fleas fleas dogs", "")
    # topic: jump, flea; expansion: flea, flea, dog; the empty one does not count
    (weights,) = sparse_queries("weighted", given, SearchOptions(weight=0.5)).values()
    assert weights == pytest.approx({"jump": 1 / 4, "flea": 1 / 4 + 1 / 3, "dog": 1 / 6})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hits": 0}, "hits is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"rm3": True, "rocchio": True}, "RM3 and Rocchio at once"),
        ({"fusion": "rff"}, "Try: rrf"),
        ({"retriever": "dense"}, "Try: --encoder"),
        ({"retriever": "hybrid", "encoder": "e", "aggregation": "mean"}, "Try: --sparse-aggregation mean"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        SearchOptions(**options)


def test_parameters_come_from_the_user_else_from_the_collection_else_from_pyserini(collection, monkeypatch):
    assert BM25(collection).parameters == (0.9, 0.4)
    assert BM25(None, k1=0.0).parameters == (0.0, 0.4)
    monkeypatch.setattr(collection, "facts", CollectionFacts(k1=0.82, b=0.68))
    assert BM25(collection).parameters == (0.82, 0.68)
    assert BM25(collection, b=0.5).parameters == (0.82, 0.5)


@pytest.mark.java
def test_what_is_searched_is_counted(collection):
    topics = expanded("t1", "fleas", "", "") | expanded("t2", "the", "fish") | expanded("t3", "whales", "")
    run = load_retriever(collection, SearchOptions(aggregation="append")).search(topics)
    assert sorted(run["t1"].doc_ids) == ["d1", "d2", "t1"]
    assert run["t2"].doc_ids == ["d4"]
    assert len(run["t3"]) == 0
    counts = {"topics": 3, "topics_searched_alone": 2, "topics_without_hits": 1, "own_documents_removed": 0}
    assert run.counts == counts
    assert all(seconds >= 0 for seconds in run.seconds.values())
    assert run.seconds


@pytest.mark.java
def test_the_topics_own_document_stays_unless_it_is_to_go(collection, monkeypatch):
    topics = plain(collection.topics().values())
    whole = load_retriever(collection, SearchOptions()).search(topics)
    rest = load_retriever(collection, SearchOptions(own_document="remove")).search(topics)
    assert "t1" in whole["t1"].doc_ids
    assert "t1" not in rest["t1"].doc_ids
    assert rest.counts["own_documents_removed"] == 1
    monkeypatch.setattr(collection, "facts", CollectionFacts(remove_own_document=True))
    assert load_retriever(collection, SearchOptions()).search(topics) == rest
    assert load_retriever(collection, SearchOptions(own_document="keep")).search(topics) == whole


class Recorded(SingleRetriever):
    """A retriever whose hits are given."""

    label, default_aggregation, collection = "recorded", "none", None
    find_aggregation = staticmethod(str)
    rankings: ClassVar = {}

    def rank(self, topics, aggregation, clock):
        return self.rankings

    def details(self):
        return {}


@pytest.mark.parametrize(
    ("first", "own_document", "said"),
    [
        (["1", "2", "d", "d", "d"], "auto", ["the first hit of 2 of 5 topics is the topic itself"]),
        (["1", "d", "d", "d", "d"], "auto", []),
        (["1", "2", *"d" * 30], "auto", []),
        (["1", "2"], "keep", []),
        (["1", "2"], "remove", []),
    ],
)
def test_topics_that_find_themselves_first_are_said(monkeypatch, caplog, first, own_document, said):
    rankings = {str(number): Hits([doc_id, "x"], [2.0, 1.0]) for number, doc_id in enumerate(first, start=1)}
    monkeypatch.setattr(Recorded, "rankings", rankings | {"0": Hits([], [])})
    Recorded(own_document=own_document).search(dict.fromkeys(Recorded.rankings, "text"))
    assert [message.partition(":")[0] for message in caplog.messages] == said


@pytest.mark.java
def test_hits_are_the_first_ones_and_feedback_changes_what_is_searched(collection):
    topics = expanded("t1", "fleas jump")
    hits = {}
    for name, options in {"plain": {}, "rm3": {"rm3": True}, "rocchio": {"rocchio": True}, "cut": {"hits": 2}}.items():
        hits[name] = load_retriever(collection, SearchOptions(**options)).search(topics)["t1"]
    assert hits["cut"].doc_ids == hits["plain"].doc_ids[:2]
    assert len({tuple(hits[name].scores) for name in ("plain", "rm3", "rocchio")}) == 3


@pytest.mark.java
def test_an_index_by_its_folder_needs_no_collection(collection, tmp_path, monkeypatch):
    topics = expanded("t1", "fleas")
    own = load_retriever(collection, SearchOptions()).search(topics)
    folder = own.details["bm25"]["index"]
    assert load_retriever(None, SearchOptions(index=folder)).search(topics) == own
    with pytest.raises(InputError, match="there is nothing to search in"):
        load_retriever(None, SearchOptions()).search(topics)
    with pytest.raises(MissingResourceError, match="is not there"):
        load_retriever(None, SearchOptions(index=str(tmp_path / "nowhere"))).search(topics)
    with pytest.raises(InputError, match="is no Lucene index"):
        load_retriever(None, SearchOptions(index=str(tmp_path))).search(topics)
    with pytest.raises(InputError, match="unknown folder or Pyserini index 'nowhere'"):
        load_retriever(None, SearchOptions(index="nowhere")).search(topics)
    monkeypatch.setattr(collection, "fingerprint", lambda: "another")
    with pytest.raises(InputError, match="built of other documents"):
        load_retriever(collection, SearchOptions(index=folder)).search(topics)


@pytest.mark.java
def test_exp4fuse_searches_the_topics_alone_and_expanded_in_one_index(collection):
    topics = expanded("t1", "fleas", "dogs")
    bm25 = BM25(collection, aggregation="append")
    fused = Hybrid(bm25, with_topics_alone=True, fusion="exp4fuse").search(topics)
    assert fused.name == "exp4fuse(bm25-none,bm25-append)"
    options = SearchOptions(sparse_aggregation="append", with_topics_alone=True, fusion="exp4fuse")
    assert load_retriever(collection, options).search(topics) == fused
    # d1 is first alone ("fleas"); run by both routes: 1.2 * (1/61 + 1/rank)
    both = bm25.search(topics)
    rank = both["t1"].doc_ids.index("d1") + 1
    alone = bm25.search(topics, "none")["t1"].doc_ids.index("d1") + 1
    score = dict(zip(fused["t1"].doc_ids, fused["t1"].scores, strict=True))["d1"]
    assert score == pytest.approx(1.2 * (1 / (60 + alone) + 1 / (60 + rank)))
    assert repr(both) == "<Run bm25-append: 1 topics, 3 hits>"


@pytest.mark.java
@pytest.mark.parametrize("topics", ["fleas", ["fleas"], {"1": "fleas"}])
def test_topics_of_any_form(collection, topics):
    run = BM25(collection).search(topics)
    assert sorted(run["1"].doc_ids) == ["d1", "d2", "t1"]
    assert list(run.to_frame().columns) == ["topic_id", "doc_id", "rank", "score"]


def test_one_retriever_is_nothing_to_fuse():
    with pytest.raises(InputError, match="1 retriever to fuse"):
        Hybrid(BM25())
