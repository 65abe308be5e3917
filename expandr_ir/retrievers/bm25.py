"""BM25 over topics, plain or expanded: the index, its parameters, the query."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expandr_ir import jvm
from expandr_ir.aggregate import SparseOptions, sparse_aggregation, sparse_query
from expandr_ir.blocks import check_values
from expandr_ir.collections import check_collection
from expandr_ir.collections.facts import CollectionFacts
from expandr_ir.errors import InputError, check_fields
from expandr_ir.records import ExpandedTopic, Rankings, SparseQuery
from expandr_ir.retrievers.base import Clock, RetrieverOptions, SingleRetriever, nothing_to_search

if TYPE_CHECKING:
    from expandr_ir.collections import Collection
    from expandr_ir.retrievers.lucene import LuceneIndex
    from expandr_ir.retrievers.lucene.searcher import LuceneSearcher

K1, B = 0.9, 0.4
"""BM25's parameters where a collection's published figures have no others: Pyserini's defaults."""


@dataclass(frozen=True, kw_only=True)
class BM25Options(SparseOptions, RetrieverOptions):
    """Options of BM25.

    Args:
        fields: "flat" (title and text in one field) or "multifield" (in two, with equal boosts).
        k1: BM25's k1; None takes the collection's published one, else 0.9.
        b: BM25's b; None takes the collection's published one, else 0.4.
        rm3: RM3 feedback with Pyserini's settings.
        rocchio: Rocchio feedback with Pyserini's settings.
        threads: BM25 searches at once, inside Java; None takes all cores.
        heap: most memory Java may take, such as "8g"; None takes a quarter of the machine's.
    """

    fields: Literal["flat", "multifield"] = "flat"
    k1: float | None = None
    b: float | None = None
    rm3: bool = False
    rocchio: bool = False
    threads: int | None = None
    heap: str | None = None

    def __post_init__(self) -> None:
        check_values(self, BM25Options)
        SparseOptions.__post_init__(self)
        RetrieverOptions.__post_init__(self)
        check_fields(self, "threads", least=1)
        if self.rm3 and self.rocchio:
            raise InputError("RM3 and Rocchio at once", expected="one of them")


@dataclass(frozen=True, eq=False)
class BM25(BM25Options, SingleRetriever):
    """BM25 over the collection's index, built where it is not there yet, or over the index that is named.

    Args:
        collection: the documents; None needs `index`.
    """

    collection: Collection | None = None

    label = "bm25"
    default_aggregation = "repeat"
    opened = ("lucene_index", "searcher")
    find_aggregation = staticmethod(sparse_aggregation)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_collection(self.collection)

    def rank(self, topics: Mapping[str, ExpandedTopic], aggregation: str, clock: Clock) -> Rankings:
        """The rankings of topics with their expansions."""
        searcher = self.searcher
        clock.start()
        queries = sparse_queries(aggregation, topics, self)
        clock.lap("aggregate")
        rankings = searcher.search(queries, hits=self.hits, threads=self.threads)
        clock.lap("search")
        return rankings

    def explain(self, topic: ExpandedTopic, doc_id: str, aggregation: str | None = None) -> dict[str, float]:
        """The share of each analysed term of the topic's query in the document's score, largest first.

        Args:
            topic: with the expansions to search with.
            doc_id: a document of the index.
            aggregation: goes before the retriever's own, as in `search`.

        Raises:
            InputError: the index has no such document.
        """
        topics = {topic.topic.topic_id: topic}
        queries = sparse_queries(self.aggregation_for(topics, aggregation or self.aggregation), topics, self)
        return self.searcher.explain(queries[topic.topic.topic_id], doc_id)

    def details(self) -> dict[str, Any]:
        """The index's folder, k1 and b."""
        k1, b = self.parameters
        return {"index": str(self.lucene_index.path), "k1": k1, "b": b}

    @property
    def parameters(self) -> tuple[float, float]:
        """k1 and b in force: the ones given, else the collection's published ones, else Pyserini's defaults."""
        facts = self.collection.facts if self.collection else CollectionFacts()
        k1 = next(value for value in (self.k1, facts.k1, K1) if value is not None)
        b = next(value for value in (self.b, facts.b, B) if value is not None)
        return k1, b

    @cached_property
    def searcher(self) -> LuceneSearcher:
        """The open searcher of the index."""
        from expandr_ir.retrievers.lucene.searcher import LuceneSearcher, RM3Options, RocchioOptions

        feedback = RM3Options() if self.rm3 else RocchioOptions() if self.rocchio else None
        return LuceneSearcher(self.lucene_index, *self.parameters, feedback)

    @cached_property
    def lucene_index(self) -> LuceneIndex:
        """The index that is named, else the collection's own, built where it is not there yet."""
        from expandr_ir.retrievers import lucene
        from expandr_ir.retrievers.lucene import indexing

        jvm.start(self.heap)
        if self.index:
            folder = Path(self.index).expanduser()
            if not folder.exists() and os.sep not in self.index:
                return lucene.open_named(self.index)
            _check_origin(folder, self.collection)
            return lucene.open_index(folder)
        if self.collection is None:
            raise nothing_to_search()
        if self.collection.index_name:
            return lucene.open_named(self.collection.index_name)
        return indexing.cached_index(self.collection, self.fields)


def sparse_queries(name: str, topics: Mapping[str, ExpandedTopic], options: SparseOptions) -> dict[str, SparseQuery]:
    """Each topic's query by an aggregation, by topic_id."""

    @cache
    def terms() -> dict[str, list[str]]:
        """The analysed terms of every text, all analysed in one go when the first one is asked for."""
        from expandr_ir.retrievers.lucene.searcher import analyze

        texts = {topic.topic.text for topic in topics.values()}
        texts |= {expansion.text for topic in topics.values() for expansion in topic.expansions}
        ordered = sorted(texts)
        return dict(zip(ordered, analyze(ordered), strict=True))

    def analyze(text: str) -> list[str]:
        return terms()[text]

    return {topic_id: sparse_query(name, topic, options, analyze) for topic_id, topic in topics.items()}


def _check_origin(folder: Path, collection: Collection | None) -> None:
    """Refuses an index that was built here of other documents than the collection's; others do not say."""
    from expandr_ir.retrievers.lucene import read_index_manifest

    fingerprint = read_index_manifest(folder).get("fingerprint")
    if collection and fingerprint and fingerprint != collection.fingerprint():
        raise InputError(
            f"the index {folder} was built of other documents than {collection.spec} has",
            expected="an index of this collection",
            remedy="leave --index out: the collection's own index is found or built; "
            "to search other documents on purpose, --topics FILE in place of --collection",
        )
