"""Topics to a BM25 run: which aggregation, which parameters, which index, which hits stay."""

from __future__ import annotations

import json

import pytest

from expandr_ir.collection import load_collection
from expandr_ir.collection.facts import CollectionFacts
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.records import ExpandedTopic, Expansion, Topic
from expandr_ir.retrieve import SearchOptions, plain, search, sparse_aggregation, sparse_queries
from expandr_ir.retrieve.sparse import bm25_parameters

DOCUMENTS = {"d1": "fleas jump high", "d2": "dogs have fleas", "t1": "fleas and cats and dogs", "d4": "fish swim"}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collections") / "pets"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": one, "text": text} for one, text in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": "t1", "text": "fleas"}, {"_id": "t2", "text": "the"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nt1\td1\t1\nt2\td4\t1\n")
    return load_collection(folder)


def expanded(topic_id="t1", text="fleas", *texts):
    return {topic_id: ExpandedTopic(Topic(topic_id, text), tuple(Expansion(n, one) for n, one in enumerate(texts)))}


def test_without_expansions_the_topic_with_them_repeat():
    assert sparse_aggregation(None, plain([Topic("1", "x")])) == "none"
    assert sparse_aggregation(None, expanded("1", "x", "y")) == "repeat"
    assert sparse_aggregation("append", expanded("1", "x", "y")) == "append"
    assert sparse_aggregation("none", plain([Topic("1", "x")])) == "none"


def test_an_aggregation_that_is_none_and_one_that_has_nothing_to_do():
    with pytest.raises(InputError, match="unknown aggregation 'apend'"):
        sparse_aggregation("apend", plain([Topic("1", "x")]))
    with pytest.raises(InputError, match="'append' has no expansions to work with"):
        sparse_aggregation("append", plain([Topic("1", "x")]))


def test_queries_are_texts():
    given = expanded("1", "x", "y", "z") | expanded("2", "u", "v")
    assert sparse_queries("append", given, SearchOptions()) == {"1": "x y z", "2": "u v"}
    assert sparse_queries("repeat", given, SearchOptions(repeats=2)) == {"1": "x x y z", "2": "u u v"}


@pytest.mark.java
def test_or_weights_of_analysed_terms():
    given = expanded("1", "the jumping flea", "fleas fleas dogs", "")
    # topic: jump, flea; expansion: flea, flea, dog; the empty one does not count
    (weights,) = sparse_queries("weighted", given, SearchOptions(weight=0.5)).values()
    assert weights == pytest.approx({"jump": 1 / 4, "flea": 1 / 4 + 1 / 3, "dog": 1 / 6})


@pytest.mark.parametrize(("name", "value"), [("hits", 0), ("hits", -1), ("threads", 0)])
def test_numbers_below_1_make_no_sense(name, value):
    with pytest.raises(InputError, match=f"{name} is {value}"):
        SearchOptions(**{name: value})


def test_parameters_come_from_the_user_else_from_the_collection_else_from_pyserini(collection, monkeypatch):
    assert bm25_parameters(collection, SearchOptions()) == (0.9, 0.4)
    assert bm25_parameters(None, SearchOptions(k1=0.0)) == (0.0, 0.4)
    monkeypatch.setattr(collection, "facts", CollectionFacts(k1=0.82, b=0.68))
    assert bm25_parameters(collection, SearchOptions()) == (0.82, 0.68)
    assert bm25_parameters(collection, SearchOptions(b=0.5)) == (0.82, 0.5)


@pytest.mark.java
def test_what_is_searched_is_counted(collection):
    topics = expanded("t1", "fleas", "", "") | expanded("t2", "the", "fish") | expanded("t3", "whales", "")
    found = search(topics, collection, SearchOptions(aggregation="append"))
    assert sorted(found.run["t1"].doc_ids) == ["d1", "d2", "t1"]
    assert found.run["t2"].doc_ids == ["d4"]
    assert len(found.run["t3"]) == 0
    assert found.counts == {
        "topics": 3,
        "topics_searched_alone": 2,
        "topics_without_hits": 1,
        "own_documents_removed": 0,
    }
    assert all(seconds >= 0 for seconds in found.seconds.values())
    assert found.seconds


@pytest.mark.java
def test_the_topics_own_document_stays_unless_it_is_to_go(collection, monkeypatch):
    topics = plain(collection.topics().values())
    kept = search(topics, collection, SearchOptions())
    gone = search(topics, collection, SearchOptions(own_document="remove"))
    assert "t1" in kept.run["t1"].doc_ids
    assert "t1" not in gone.run["t1"].doc_ids
    assert gone.counts["own_documents_removed"] == 1
    monkeypatch.setattr(collection, "facts", CollectionFacts(remove_own_document=True))
    assert search(topics, collection, SearchOptions()).run == gone.run
    assert search(topics, collection, SearchOptions(own_document="keep")).run == kept.run


@pytest.mark.java
def test_hits_are_a_limit_and_the_first_ones(collection):
    topics = expanded("t1", "fleas dogs")
    every = search(topics, collection, SearchOptions()).run["t1"].doc_ids
    assert search(topics, collection, SearchOptions(hits=2)).run["t1"].doc_ids == every[:2]


@pytest.mark.java
def test_feedback_changes_what_is_searched(collection):
    topics = expanded("t1", "fleas jump")
    hows = [SearchOptions(), SearchOptions(rm3=True), SearchOptions(rocchio=True)]
    scores = [search(topics, collection, how).run["t1"].scores for how in hows]
    assert len({tuple(one) for one in scores}) == 3


@pytest.mark.java
def test_an_index_by_its_folder_needs_no_collection(collection, tmp_path, monkeypatch):
    topics = expanded("t1", "fleas")
    own = search(topics, collection, SearchOptions())
    folder = own.details["bm25"]["index"]
    assert search(topics, None, SearchOptions(index=folder)).run == own.run
    with pytest.raises(InputError, match="there is nothing to search in"):
        search(topics, None, SearchOptions())
    with pytest.raises(MissingResourceError, match="is not there"):
        search(topics, None, SearchOptions(index=str(tmp_path / "nowhere")))
    with pytest.raises(InputError, match="is no Lucene index"):
        search(topics, None, SearchOptions(index=str(tmp_path)))
    with pytest.raises(InputError, match="unknown folder or Pyserini index 'nowhere'"):
        search(topics, None, SearchOptions(index="nowhere"))
    monkeypatch.setattr(collection, "fingerprint", lambda: "another")
    with pytest.raises(InputError, match="built of other documents"):
        search(topics, collection, SearchOptions(index=folder))
