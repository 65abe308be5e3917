"""BM25 on SciFact: runs identical to Pyserini's own searcher; the goldens hold their figures."""

from __future__ import annotations

import gzip
import json

import pytest

from expandr_ir.collections import load_collection
from expandr_ir.jvm import import_pyserini
from expandr_ir.records import Hits
from expandr_ir.retrievers.lucene import IndexStats
from expandr_ir.retrievers.lucene.indexing import build_index
from expandr_ir.retrievers.lucene.searcher import LuceneSearcher, RM3Options, RocchioOptions

pytestmark = [pytest.mark.java, pytest.mark.slow]


@pytest.fixture(scope="module")
def scifact(test_data):
    return load_collection(test_data / "beir" / "scifact")


@pytest.fixture(scope="module")
def topics(scifact):
    return {topic_id: topic.text for topic_id, topic in scifact.topics("test").items()}


@pytest.fixture(scope="module")
def indexes(scifact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scifact")
    return {fields: build_index(scifact.documents(), fields, folder / fields, "f") for fields in ("flat", "multifield")}


@pytest.fixture(scope="module")
def expanded(test_data):
    with gzip.open(test_data / "expansions" / "scifact" / "query2doc-zs.gpt-4.1.jsonl.gz", "rt") as lines:
        return {row["topic_id"]: row["searched"] for row in map(json.loads, lines)}


def by_pyserini(index, queries, fields, feedback):
    """Pyserini's batch_search; the fields' boosts are those of the BEIR regressions."""
    searcher = import_pyserini("pyserini.search.lucene").LuceneSearcher(str(index.path))
    if feedback:
        getattr(searcher, f"set_{feedback[0]}")(**feedback[1])
    boosts = {"contents": 1.0, "title": 1.0} if fields == "multifield" else {}
    hits = searcher.batch_search(list(queries.values()), list(queries), 1000, 2, fields=boosts)
    return {key: Hits([hit.docid for hit in hits[key]], [hit.score for hit in hits[key]]) for key in queries}


@pytest.mark.parametrize(("fields", "terms"), [("flat", 838_128), ("multifield", 784_591)])
def test_runs_are_pyserinis(indexes, topics, expanded, fields, terms):
    index = indexes[fields]
    assert index.stats() == IndexStats(documents=5183, non_empty=5183, terms=terms)
    for queries in (topics, dict(list(expanded.items())[:100])):
        assert LuceneSearcher(index).search(queries) == by_pyserini(index, queries, fields, None)


@pytest.mark.parametrize("fields", ["flat", "multifield"])
@pytest.mark.parametrize(
    ("name", "arguments", "feedback"),
    [
        ("rm3", {}, RM3Options()),
        (
            "rm3",
            {"fb_terms": 20, "fb_docs": 3, "original_query_weight": 0.3, "filter_terms": False},
            RM3Options(20, 3, 0.3, filter_terms=False),
        ),
        ("rocchio", {}, RocchioOptions()),
        ("rocchio", {"gamma": 0.15, "use_negative": True}, RocchioOptions(gamma=0.15, use_negative=True)),
    ],
)
def test_runs_with_feedback_are_pyserinis(indexes, topics, fields, name, arguments, feedback):
    some = dict(list(topics.items())[:40])
    expected = by_pyserini(indexes[fields], some, fields, (name, arguments))
    assert LuceneSearcher(indexes[fields], feedback=feedback).search(some) == expected


def test_odd_queries_give_pyserinis_runs(indexes):
    queries = {
        "empty": "", "stopwords": "the of and", "marks": "?!", "cjk": "癌症 細胞", "emoji": "😀 cancer",
        "nul": "a\0cancer", "repeats": "cancer " * 3000, "syntax": "cancer^2 +cell -(gene)", "one term": "a-123",
    }  # fmt: skip
    assert LuceneSearcher(indexes["flat"]).search(queries) == by_pyserini(indexes["flat"], queries, "flat", None)
    long = {"t": " ".join(f"term{number} cancer" for number in range(3000))}  # Pyserini itself stops at 1,024 terms
    assert LuceneSearcher(indexes["flat"]).search(long) == by_pyserini(indexes["flat"], long, "flat", None)
