"""BM25 over topics, plain or expanded: which index, which parameters, which query."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir import jvm
from expandr_ir.aggregate import SPARSE, TEXTUAL, SparseOptions, sparse_query
from expandr_ir.collection.facts import CollectionFacts
from expandr_ir.errors import InputError
from expandr_ir.records import ExpandedTopic, Run, SparseQuery
from expandr_ir.retrieve.base import Clock, Counting, aggregation_name, nothing_to_search, uncounted
from expandr_ir.retrieve.options import SearchOptions

if TYPE_CHECKING:
    from expandr_ir.collection import Collection
    from expandr_ir.lucene import LuceneIndex

K1, B = 0.9, 0.4
"""BM25's parameters where a collection's published figures have no others: Pyserini's defaults."""


class SparseRetriever:
    """BM25 over the collection's index, or over the one that is named.

    Args:
        collection: what to search in; None needs `options.index`.
        options: how.
        counting: shows how far indexing is.

    Raises:
        InputError: neither collection nor index, or an index of another collection.
        MissingResourceError: there is no such index.
    """

    def __init__(self, collection: Collection | None, options: SearchOptions, counting: Counting = uncounted) -> None:
        from expandr_ir.lucene.bm25 import BM25
        from expandr_ir.lucene.feedback import RM3Options, RocchioOptions

        jvm.start(options.heap)
        index = open_index(collection, options, counting)
        k1, b = bm25_parameters(collection, options)
        rm3, rocchio = RM3Options() if options.rm3 else None, RocchioOptions() if options.rocchio else None
        self._bm25 = BM25(index, k1, b, rm3=rm3, rocchio=rocchio)
        self._options = options
        self.details: dict[str, Any] = {"index": str(index.path), "k1": k1, "b": b}
        self.seconds: dict[str, float] = {}

    def search(self, topics: Mapping[str, ExpandedTopic], aggregation: str) -> Run:
        """The rankings by topic_id.

        Args:
            topics: with their expansions.
            aggregation: one of SPARSE.

        Raises:
            InputError: an aggregation that does not fit the topics.
        """
        clock = Clock(self.seconds)
        queries = sparse_queries(aggregation, topics, self._options)
        clock.lap("aggregate")
        run = self._bm25.search(queries, hits=self._options.hits, threads=self._options.threads)
        clock.lap("search")
        return run


def sparse_aggregation(named: str | None, topics: Mapping[str, ExpandedTopic]) -> str:
    """The sparse aggregation in force: the one that is named, else "repeat" with expansions, else "none".

    Raises:
        InputError: the one that is named does not exist, or needs expansions and there are none.
    """
    return aggregation_name(named, topics, "repeat", SPARSE)


def sparse_queries(name: str, topics: Mapping[str, ExpandedTopic], options: SparseOptions) -> dict[str, SparseQuery]:
    """Each topic's query, by topic_id.

    Args:
        name: the aggregation.
        topics: with their expansions.
        options: the aggregation's numbers.

    Raises:
        InputError: an unknown aggregation, or one that does not fit the topics.
    """
    analyze = None if name in TEXTUAL else _terms_of(list(topics.values())).__getitem__
    return {topic_id: sparse_query(name, topic, options, analyze) for topic_id, topic in topics.items()}


def _terms_of(topics: Sequence[ExpandedTopic]) -> dict[str, list[str]]:
    """The analysed terms of every text, all analysed in one go."""
    from expandr_ir.lucene.analysis import analyze

    texts = {topic.topic.text for topic in topics}
    texts |= {expansion.text for topic in topics for expansion in topic.expansions}
    ordered = sorted(texts)
    return dict(zip(ordered, analyze(ordered), strict=True))


def open_index(collection: Collection | None, options: SearchOptions, counting: Counting = uncounted) -> LuceneIndex:
    """The index that `options.index` names, else the collection's own, built where it is not there yet.

    Raises:
        InputError: neither collection nor index, or an index that was built of another collection.
        MissingResourceError: there is no such index.
    """
    from expandr_ir import lucene
    from expandr_ir.lucene import indexing

    if options.index:
        folder = Path(options.index).expanduser()
        if not folder.exists() and os.sep not in options.index:
            return lucene.open_named(options.index)
        _check_origin(folder, collection)
        return lucene.open_index(folder)
    if collection is None:
        raise nothing_to_search()
    if collection.index_name:
        return lucene.open_named(collection.index_name)
    with counting("documents", collection.facts.documents) as on_progress:
        return indexing.cached_index(collection, options.fields, on_progress)


def _check_origin(folder: Path, collection: Collection | None) -> None:
    """Refuses an index that was built here of other documents than the collection's; others do not say."""
    from expandr_ir.lucene import read_index_manifest

    built_of = read_index_manifest(folder).get("fingerprint")
    if collection and built_of and built_of != collection.fingerprint():
        raise InputError(
            f"the index {folder} was built of other documents than {collection.spec} has",
            expected="an index of this collection",
            remedy="leave --index out: the collection's own index is found or built; "
            "to search other documents on purpose, --topics FILE in place of --collection",
        )


def bm25_parameters(collection: Collection | None, options: SearchOptions) -> tuple[float, float]:
    """k1 and b: the ones that are asked for, else the collection's published ones, else Pyserini's defaults."""
    facts = collection.facts if collection else CollectionFacts()
    k1 = next(value for value in (options.k1, facts.k1, K1) if value is not None)
    b = next(value for value in (options.b, facts.b, B) if value is not None)
    return k1, b
