"""Expanded topics through BM25: this package, Pyserini's batch_search, and bare Lucene, in turn in one process.

    EXPANDR_TEST_DATA=FOLDER python tests/benchmarks/bench_lucene.py [--rounds 5] [--threads 2]

SciFact's 300 test topics with the passages of `query2doc-zs.gpt-4.1`, about 155 words each, at k = 1000. Pyserini's
call is timed without reading a hit. "Bare Lucene" is IndexSearcher.search with Anserini's sort, one query after the
other, built before, the hits left where they are. The fastest round counts. All runs are checked to be identical.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from turns import take_turns

from expandr_ir.collections import load_collection
from expandr_ir.io.files import read_jsonl
from expandr_ir.jvm import find_java, import_pyserini, java_class
from expandr_ir.records import Hits
from expandr_ir.retrievers.lucene import LuceneIndex
from expandr_ir.retrievers.lucene.indexing import build_index
from expandr_ir.retrievers.lucene.searcher import LuceneSearcher, default_analyzer

HITS = 1000


def bare_lucene(index: LuceneIndex, queries: dict[str, str]) -> Callable[[], Any]:
    """Searches on one thread, as Anserini does it, and leaves the hits in Java."""
    generator = java_class("io.anserini.search.query.BagOfWordsQueryGenerator")()
    built = [generator.buildQuery("contents", default_analyzer(), text) for text in queries.values()]
    searcher = LuceneSearcher(index)._searcher
    ties = java_class("io.anserini.search.SearchCollection").BREAK_SCORE_TIES_BY_DOCID
    return lambda: [searcher.search(query, HITS, ties, True) for query in built]


def batch_search(index: LuceneIndex, queries: dict[str, str], threads: int) -> Callable[[], Any]:
    """Pyserini's batch_search; its hits are objects in Java still."""
    searcher = import_pyserini("pyserini.search.lucene").LuceneSearcher(str(index.path))
    return lambda: searcher.batch_search(list(queries.values()), list(queries), HITS, threads)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    data = Path(os.environ["EXPANDR_TEST_DATA"])
    rows = read_jsonl(data / "expansions" / "scifact" / "query2doc-zs.gpt-4.1.jsonl.gz")
    queries = {row["topic_id"]: row["searched"] for _, row in rows}
    with tempfile.TemporaryDirectory() as folder:
        collection = load_collection(data / "beir" / "scifact")
        index = build_index(collection.documents(), "flat", Path(folder) / "index", "benchmark")
        ours = LuceneSearcher(index)
        contestants = {
            "Pyserini's batch_search": batch_search(index, queries, options.threads),
            "bare IndexSearcher.search, 1 thread": bare_lucene(index, queries),
            "expandr_ir, 1 thread": lambda: ours.search(queries, HITS, 1),
            f"expandr_ir, {options.threads} threads": lambda: ours.search(queries, HITS, options.threads),
        }
        seconds, _, runs = take_turns(contestants, options.rounds)
    names = list(contestants)
    theirs = {
        key: Hits([hit.docid for hit in hits], [hit.score for hit in hits]) for key, hits in runs[names[0]].items()
    }
    assert theirs == runs[names[2]] == runs[names[3]], "the runs differ"
    words = sum(len(text.split()) for text in queries.values()) / len(queries)
    documents = f"{index.stats().documents:,} documents"
    print(f"{len(queries)} topics of {words:.0f} words, k = {HITS}, {documents}; all runs identical.")
    versions = f"Java {find_java().version}, Python {platform.python_version()}"
    print(f"{versions}, {os.cpu_count()} cores, the fastest of {options.rounds} rounds.\n")
    print("| | seconds | topics/s | to batch_search | to bare Lucene |\n|---|---:|---:|---:|---:|")
    for name, least in seconds.items():
        ratios = " | ".join(f"{seconds[other] / least:.1f} x" for other in names[:2])
        print(f"| {name} | {least:.2f} | {len(queries) / least:,.0f} | {ratios} |")


if __name__ == "__main__":
    main()
