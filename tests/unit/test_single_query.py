"""One query: the texts and documents that its topic has among others, and what is bad input."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

import expandr_ir as ex
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.records import Document, ExpandedTopic, Hits
from expandr_ir.retrievers import Retriever
from expandr_ir.single_query import TOPIC_ID, expand_query, search_query

DOCUMENTS = {"1": Document("1", "Fleas", ""), "2": Document("2", "", "Dogs bark.")}


def documents(doc_ids):
    return {doc_id: DOCUMENTS[doc_id] for doc_id in doc_ids}


class AllButOwn(Retriever):
    """Finds every document but the one whose id is the topic's, as BEIR's collections are searched."""

    label = "all"

    def search(self, topics):
        self.topics = topics
        ids = {topic_id: [doc_id for doc_id in DOCUMENTS if doc_id != topic_id] for topic_id in topics}
        return ex.Run({topic_id: Hits(doc_ids, [1.5] * len(doc_ids)) for topic_id, doc_ids in ids.items()})


def writer(tmp_path, *texts):
    """An expander with these texts for a user's query."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"topic_id": TOPIC_ID, "text": text}) + "\n" for text in (*texts, "unused")))
    options = ex.ExpandOptions(samples=max(1, len(texts)))
    return ex.load_expander(generator=f"replay:{path}", store=tmp_path / "s.sqlite", options=options)


@pytest.mark.java
def test_a_query_finds_what_its_topic_finds(demo_bm25, demo_expander):
    topics = demo_bm25.collection.topics()
    expansions = demo_expander.expand(topics)
    expected = demo_bm25.search(expansions)["d001"]
    query = topics["d001"].text
    pairs = search_query(demo_bm25, demo_bm25.lucene_index.documents, query, demo_expander)
    by_id = {document.doc_id: document for document in demo_bm25.collection.documents()}
    assert [document for document, _ in pairs] == [by_id[doc_id] for doc_id in expected.doc_ids]
    assert [score for _, score in pairs] == expected.scores
    assert expand_query(demo_expander, query) == [expansion.text for expansion in expansions["d001"].expansions]


def test_no_document_is_the_query_itself():
    assert search_query(AllButOwn(), documents, "fleas") == [(DOCUMENTS["1"], 1.5), (DOCUMENTS["2"], 1.5)]


def test_a_query_that_ends_like_a_file_is_a_query(tmp_path):
    (tmp_path / "secret.txt").write_text("1\tsecret\n")
    retriever = AllButOwn()
    search_query(retriever, documents, str(tmp_path / "secret.txt"))
    assert retriever.topics[TOPIC_ID].text == str(tmp_path / "secret.txt")


def test_empty_texts_are_left_out_and_the_query_is_searched(tmp_path):
    with writer(tmp_path, "Fleas jump.", "", "Fleas leap.") as expander:
        assert expand_query(expander, "fleas") == ["Fleas jump.", "Fleas leap."]
    with writer(tmp_path, "") as expander:
        retriever = AllButOwn()
        assert expand_query(expander, "dogs") == []
        assert len(search_query(retriever, documents, "dogs", expander)) == 2
        assert isinstance(retriever.topics[TOPIC_ID], ExpandedTopic)


@pytest.mark.parametrize(
    ("query", "message"), [("", "has no text"), (" \n", "has no text"), (None, "of type NoneType")]
)
def test_a_query_without_text_is_refused(tmp_path, query, message):
    with writer(tmp_path, "Fleas jump.") as expander:
        for call in (lambda: expand_query(expander, query), lambda: search_query(AllButOwn(), documents, query)):
            with pytest.raises(InputError, match=message):
                call()


def test_no_text_and_an_unknown_document_are_errors(tmp_path):
    path = tmp_path / "others.jsonl"
    path.write_text('{"topic_id": "other", "text": "Fleas jump."}\n')
    with ex.load_expander(generator=f"replay:{path}", store=tmp_path / "s.sqlite") as expander:
        for call in (expand_query, lambda *given: search_query(AllButOwn(), documents, given[1], given[0])):
            with pytest.raises(ExpandrError, match="none of the 1 topics got an expansion"):
                call(expander, "fleas")
    with pytest.raises(InputError, match="`documents` does not have the hit '2'"):
        search_query(AllButOwn(), lambda _: {"1": DOCUMENTS["1"]}, "fleas")


def test_threads_share_an_expander(tmp_path):
    with (
        ex.load_expander(generator="echo", store=tmp_path / "s.sqlite") as expander,
        ThreadPoolExecutor(8) as threads,
    ):
        queries = [f"question {number}?" for number in range(40)]
        texts = list(threads.map(lambda query: expand_query(expander, query), queries))
    assert all(query in text for query, (text,) in zip(queries, texts, strict=True))
