"""BM25 over a handful of documents: scores by hand, ties, fields, weights, odd queries."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.jvm import java_class
from expandr_ir.records import Document, Hits
from expandr_ir.retrievers.lucene import open_index, searcher
from expandr_ir.retrievers.lucene.indexing import build_index
from expandr_ir.retrievers.lucene.searcher import LuceneSearcher, RM3Options, RocchioOptions, analyze

pytestmark = pytest.mark.java

DOCUMENTS = [
    Document("b", "", "purring cats"),
    Document("a", "", "purring cats"),
    Document("B", "", "cats purring"),
    Document("10", "", "purring cats"),
    Document("9", "", "purring cats"),
    Document("é", "", "purring cats"),
    Document("😀", "", "purring cats"),
    Document("long", "", "one purring cat among many other words that are not about it"),
    Document("dog", "Dogs", "barking 日本 dogs 😀"),
]


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return build_index(DOCUMENTS, "flat", tmp_path_factory.mktemp("flat") / "index", "f")


@pytest.fixture(scope="module")
def multifield(tmp_path_factory):
    return build_index(DOCUMENTS, "multifield", tmp_path_factory.mktemp("multi") / "index", "f")


def search(index, query, hits=1000, *options):
    return LuceneSearcher(index, *options).search({"t": query}, hits)["t"]


def test_score_by_hand(flat):
    # Lucene: idf * tf / (tf + k1 * (1 - b + b * length / mean length)), idf = ln(1 + (N - n + 0.5) / (n + 0.5)).
    # bark is once in one of 9 documents, whose 6 terms are dog bark 日 本 dog 😀.
    lengths = [len(terms) for terms in analyze([f"{document.title}\n{document.text}" for document in DOCUMENTS])]
    assert lengths == [2] * 7 + [8, 6]
    idf = math.log(1 + (9 - 1 + 0.5) / (1 + 0.5))
    score = idf / (1 + 0.9 * (1 - 0.4 + 0.4 * 6 / (sum(lengths) / 9)))
    hits = search(flat, "barking")
    assert hits.doc_ids == ["dog"]
    assert hits.scores == pytest.approx([score], abs=6e-5)
    other = search(flat, "barking", 1000, 1.2, 0.75).scores
    assert other == pytest.approx([idf / (1 + 1.2 * (1 - 0.75 + 0.75 * 6 / (sum(lengths) / 9)))], abs=6e-5)


def test_ties_go_by_the_bytes_of_the_id(flat):
    hits = search(flat, "cat purr")
    assert hits.doc_ids == ["10", "9", "B", "a", "b", "é", "😀", "long"]
    top = hits.scores[0]
    assert hits.scores[:7] == pytest.approx([top - 1e-6 * tie for tie in range(7)], abs=1e-7)
    assert sorted(hits.scores, reverse=True) == hits.scores

    for cut in (1, 3, 8, 10_000):
        assert search(flat, "cat purr", cut) == Hits(hits.doc_ids[:cut], hits.scores[:cut])


def test_multifield_adds_title_and_contents(flat, multifield):
    contents, title = (search(multifield, text).scores for text in ("barking", "dogs"))
    assert len(contents) == len(title) == 1
    assert search(multifield, "barking dogs").scores > title
    assert search(flat, "dogs").doc_ids == ["dog"]
    assert search(open_index(multifield.path), "dogs") == search(multifield, "dogs")


def test_weights(flat, multifield):
    for index in (flat, multifield):
        repeated = search(index, "cats cats cats purring dogs")
        assert search(index, {"cat": 3, "pur": 1.0, "dog": 1}) == repeated
    once, half = search(flat, {"cat": 1.0}), search(flat, {"cat": 0.5})
    assert half.doc_ids == once.doc_ids
    assert half.scores == pytest.approx([score / 2 for score in once.scores], abs=1e-4)
    assert search(flat, {"bark": 1.0, "cat": 0.0}).doc_ids == ["dog"]
    assert search(flat, {"cat": 0.0}) == search(flat, {}) == Hits([], [])


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_mean_nothing(flat, weight):
    with pytest.raises(InputError, match="topic t: 'cat' has the weight"):
        search(flat, {"cat": weight})


@pytest.mark.parametrize("query", ["", " ", "the of and", "?!...", "zzzz", "\0", "\ud83d", "\n"])
def test_queries_without_a_term_of_the_index(flat, query):
    assert search(flat, query) == Hits([], [])


@pytest.mark.parametrize(
    "query", ["日", "日本語", "😀", "bark\ud83d", "bark\0", "BARKING!", "a/b [bark] {x} +bark -bark ^2"]
)
def test_odd_queries_are_texts(flat, query):
    assert search(flat, query).doc_ids[0] in {"dog", "😀"}


def test_topics_keep_their_ids_and_order_in_chunks_and_threads(flat, monkeypatch):
    queries = {"007": "dogs", "7": "", "日本": "cats", "😀": "dogs"}
    run = LuceneSearcher(flat).search(queries)
    assert list(run) == list(queries)
    assert [len(hits) for hits in run.values()] == [1, 0, 8, 1]
    assert LuceneSearcher(flat).search({}) == {}
    queries = {str(number): ["cats", "dogs", "", "one cat"][number % 4] for number in range(50)}
    whole = LuceneSearcher(flat).search(queries, threads=1)
    monkeypatch.setattr(searcher, "HITS_AT_ONCE", 3000)
    assert LuceneSearcher(flat).search(queries, threads=4) == whole


def test_a_long_query(flat):
    words = " ".join(f"word{number}" for number in range(20_000))
    assert search(flat, f"{words} barking") == search(flat, "barking")


def test_a_query_past_all_limits_is_an_error_not_a_cut(flat):
    with pytest.raises(ExpandrError, match=r"maxClauseCount|TooManyClauses"):
        search(flat, {f"word{number}": 1.0 for number in range(70_000)})


@pytest.mark.parametrize(("k1", "b"), [(-0.1, 0.4), (0.9, 1.1), (0.9, -0.1), (math.nan, 0.4), (math.inf, 0.4)])
def test_parameters_out_of_range(flat, k1, b):
    with pytest.raises(InputError, match="k1 >= 0 and 0 <= b <= 1"):
        LuceneSearcher(flat, k1, b)


@pytest.mark.parametrize("feedback", [RM3Options(), RocchioOptions(), RocchioOptions(use_negative=True, gamma=0.1)])
def test_feedback_takes_any_text_and_no_weights(flat, feedback):
    for query in ("", "zzzz", "the", "cats", "bark \ud83d"):
        assert bool(search(flat, query, 1000, 0.9, 0.4, feedback)) == (query in {"cats", "bark \ud83d"})
    with pytest.raises(InputError, match="topic t is weights of terms"):
        search(flat, {"cat": 1.0}, 1000, 0.9, 0.4, feedback)


def test_feedback_needs_document_vectors(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.jsonl").write_text('{"_id": "1", "title": "", "text": "cats"}\n')
    arguments = ["-collection", "BeirFlatCollection", "-input", tmp_path / "corpus", "-index", tmp_path / "index"]
    java_class("io.anserini.index.IndexCollection").main([*map(str, arguments), "-quiet"])
    index = open_index(tmp_path / "index")
    assert search(index, "cats").doc_ids == ["1"]
    with pytest.raises(InputError, match="no document vectors"):
        LuceneSearcher(index, feedback=RM3Options())


def test_analysis_by_the_chunk(monkeypatch):
    texts = ["The Cats were PURRING, loudly!", "", "the of", "日本 😀 naïve \ud83d x\0y", "U.S. 3.5 can't"]
    for chunk in (2, 10_000):
        monkeypatch.setattr(searcher, "TEXTS_AT_ONCE", chunk)
        assert analyze(texts) == [
            ["cat", "were", "pur", "loudli"], [], [], ["日", "本", "😀", "naïv", "x", "y"], ["u.", "3.5", "can't"],
        ]  # fmt: skip
    assert analyze([]) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(), max_size=5))
def test_any_text_can_be_analysed_and_searched(flat, texts):
    terms = analyze(texts)
    assert len(terms) == len(texts)
    run = LuceneSearcher(flat).search({str(number): text for number, text in enumerate(texts)})
    for number, words in enumerate(terms):
        assert search(flat, Counter(words)) == run[str(number)]
