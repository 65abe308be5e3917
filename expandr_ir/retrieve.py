"""Topics, plain or expanded, to a run: which index, which query, which hits stay."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from expandr_ir.aggregate import SPARSE, TEXTUAL, SparseOptions, sparse_query
from expandr_ir.collection_facts import CollectionFacts
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.records import ExpandedTopic, Run, SparseQuery, Topic
from expandr_ir.runs import remove_own_document

if TYPE_CHECKING:
    from expandr_ir.bm25 import BM25
    from expandr_ir.collection import Collection
    from expandr_ir.lucene import LuceneIndex

K1, B = 0.9, 0.4
"""BM25's parameters where a collection's published figures have no others: Pyserini's defaults."""


@dataclass(frozen=True)
class SearchOptions(SparseOptions):
    """How BM25 searches.

    Args:
        aggregation: how topic and expansions become one query; None is "repeat" with expansions and "none" without.
        hits: documents a topic.
        fields: "flat" (title and text in one field) or "multifield" (in two, with equal boosts).
        index: a Lucene index to search instead of the collection's own: a folder or a Pyserini prebuilt name.
        k1: BM25's k1; None takes the collection's published one, else 0.9.
        b: BM25's b; None takes the collection's published one, else 0.4.
        rm3: RM3 feedback with Pyserini's settings.
        rocchio: Rocchio feedback with Pyserini's settings.
        own_document: what happens to a document whose id is the topic's: "auto" removes it where the collection's
            published figures do (BEIR's), "remove" and "keep" do so anyway.
        threads: searches at once, inside Java; None takes all cores.
        heap: most memory Java may take, such as "8g"; None takes a quarter of the machine's.
    """

    aggregation: str | None = None
    hits: int = 1000
    fields: Literal["flat", "multifield"] = "flat"
    index: str | None = None
    k1: float | None = None
    b: float | None = None
    rm3: bool = False
    rocchio: bool = False
    own_document: Literal["auto", "remove", "keep"] = "auto"
    threads: int | None = None
    heap: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("hits", self.hits), ("threads", self.threads)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}", expected="1 or more")


@dataclass(frozen=True)
class Searched:
    """A run and how it came about.

    Args:
        run: topic_id -> ranking.
        index: the folder of the index that was searched.
        k1: BM25's k1 that was in force.
        b: BM25's b that was in force.
        seconds: wall time by stage ("aggregate", "search"), without what opening or building the index took.
        counts: "topics", "topics_searched_alone" (their expansions are empty), "topics_without_hits",
            "own_documents_removed".
    """

    run: Run
    index: Path
    k1: float
    b: float
    seconds: dict[str, float]
    counts: dict[str, int]


def plain(topics: Iterable[Topic]) -> dict[str, ExpandedTopic]:
    """Topics without expansions, as `search` takes them."""
    return {topic.topic_id: ExpandedTopic(topic) for topic in topics}


def search(topics: Mapping[str, ExpandedTopic], collection: Collection | None, options: SearchOptions) -> Searched:
    """The run of BM25 over the collection's index, or over `options.index`.

    Args:
        topics: what to search, by topic_id.
        collection: what to search in; None needs `options.index`.
        options: how.

    Raises:
        InputError: an unknown aggregation, a number that makes no sense, neither collection nor index, or an index of
            another collection.
        MissingResourceError: there is no such index.
    """
    from expandr_ir import jvm

    aggregation = aggregation_name(options.aggregation, topics)
    jvm.start(options.heap)
    index = open_index(collection, options)
    k1, b = bm25_parameters(collection, options)
    clock = _Clock()
    queries = sparse_queries(aggregation, topics, options)
    clock.lap("aggregate")
    run = _bm25(index, k1, b, options).search(queries, hits=options.hits, threads=options.threads)
    clock.lap("search")
    kept = remove_own_document(run) if _removes_own(collection, options) else run
    counts = {
        "topics": len(topics),
        "topics_searched_alone": sum(_is_alone(topic) for topic in topics.values()),
        "topics_without_hits": sum(not len(hits) for hits in kept.values()),
        "own_documents_removed": sum(map(len, run.values())) - sum(map(len, kept.values())),
    }
    return Searched(kept, index.path, k1, b, clock.seconds, counts)


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
    from expandr_ir.analysis import analyze

    texts = {topic.topic.text for topic in topics}
    texts |= {expansion.text for topic in topics for expansion in topic.expansions}
    ordered = sorted(texts)
    return dict(zip(ordered, analyze(ordered), strict=True))


def aggregation_name(named: str | None, topics: Mapping[str, ExpandedTopic]) -> str:
    """The aggregation in force: the one that is named, else "repeat" where there are expansions, else "none".

    Raises:
        InputError: the one that is named does not exist, or needs expansions and there are none.
    """
    if named is not None and named not in SPARSE:
        raise unknown_name("aggregation", named, SPARSE)
    expanded = any(topic.expansions for topic in topics.values())
    if named not in {None, "none"} and not expanded:
        raise InputError(
            f"the aggregation {named!r} has no expansions to work with",
            expected="expansions",
            remedy="--expansions FILE",
        )
    return named or ("repeat" if expanded else "none")


def open_index(collection: Collection | None, options: SearchOptions) -> LuceneIndex:
    """The index that `options.index` names, else the collection's own, built where it is not there yet.

    Raises:
        InputError: neither collection nor index, or an index that was built of another collection.
        MissingResourceError: there is no such index.
    """
    from expandr_ir import indexing, lucene

    if options.index:
        folder = Path(options.index).expanduser()
        if not folder.exists() and os.sep not in options.index:
            return lucene.open_named(options.index)
        _check_origin(folder, collection)
        return lucene.open_index(folder)
    if collection is None:
        raise InputError("there is nothing to search in", expected="a collection or an index", remedy="--collection C")
    if collection.index_name:
        return lucene.open_named(collection.index_name)
    return indexing.cached_index(collection, options.fields)


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


def _bm25(index: LuceneIndex, k1: float, b: float, options: SearchOptions) -> BM25:
    from expandr_ir.bm25 import BM25
    from expandr_ir.feedback import RM3Options, RocchioOptions

    rm3, rocchio = RM3Options() if options.rm3 else None, RocchioOptions() if options.rocchio else None
    return BM25(index, k1, b, rm3=rm3, rocchio=rocchio)


def _removes_own(collection: Collection | None, options: SearchOptions) -> bool:
    if options.own_document == "auto":
        return collection is not None and collection.remove_own_document
    return options.own_document == "remove"


def _is_alone(topic: ExpandedTopic) -> bool:
    return bool(topic.expansions) and not any(expansion.text.strip() for expansion in topic.expansions)


class _Clock:
    """Seconds by stage, each from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._since = now - self._since, now
