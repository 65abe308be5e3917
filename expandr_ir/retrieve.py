"""Topics, plain or expanded, to a run: which index, which query, which hits stay."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from expandr_ir.aggregate import TEXTUAL, SparseOptions, sparse_query
from expandr_ir.errors import InputError
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
        k1, b: BM25's parameters; None takes the collection's published ones, else 0.9 and 0.4.
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


@dataclass(frozen=True)
class Searched:
    """A run and how it came about.

    Args:
        run: topic_id -> ranking.
        index: the folder of the index that was searched.
        seconds: wall time by stage ("index", "aggregate", "search").
        counts: "topics", "topics_searched_alone" (their expansions are empty), "topics_without_hits",
            "own_documents_removed".
    """

    run: Run
    index: Path
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
        InputError: an unknown aggregation, a number that makes no sense, or neither collection nor index.
        MissingResourceError: there is no such index.
    """
    from expandr_ir import jvm

    _check(options)
    jvm.start(options.heap)
    clock = _Clock()
    index = open_index(collection, options)
    clock.lap("index")
    queries = sparse_queries(aggregation_name(options.aggregation, topics), topics, options)
    clock.lap("aggregate")
    run = _bm25(index, collection, options).search(queries, hits=options.hits, threads=options.threads)
    clock.lap("search")
    kept = remove_own_document(run) if _removes_own(collection, options) else run
    counts = {
        "topics": len(topics),
        "topics_searched_alone": sum(_is_alone(topic) for topic in topics.values()),
        "topics_without_hits": sum(not len(hits) for hits in kept.values()),
        "own_documents_removed": sum(map(len, run.values())) - sum(map(len, kept.values())),
    }
    return Searched(kept, index.path, clock.seconds, counts)


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
        InputError: the one that is named needs expansions, and there are none.
    """
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
        InputError: neither collection nor index.
        MissingResourceError: there is no such index.
    """
    from expandr_ir import indexing, lucene

    if options.index:
        folder = Path(options.index).expanduser()
        return lucene.open_index(folder) if folder.is_dir() else lucene.open_named(options.index)
    if collection is None:
        raise InputError("there is nothing to search in", expected="a collection or an index", remedy="--collection C")
    if collection.index_name:
        return lucene.open_named(collection.index_name)
    return indexing.cached_index(collection, options.fields)


def _bm25(index: LuceneIndex, collection: Collection | None, options: SearchOptions) -> BM25:
    from expandr_ir.bm25 import BM25
    from expandr_ir.feedback import RM3Options, RocchioOptions

    facts = collection.facts if collection else None
    k1 = _first(options.k1, facts.k1 if facts else None, K1)
    b = _first(options.b, facts.b if facts else None, B)
    rm3, rocchio = RM3Options() if options.rm3 else None, RocchioOptions() if options.rocchio else None
    return BM25(index, k1, b, rm3=rm3, rocchio=rocchio)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _removes_own(collection: Collection | None, options: SearchOptions) -> bool:
    if options.own_document == "auto":
        return collection is not None and collection.remove_own_document
    return options.own_document == "remove"


def _is_alone(topic: ExpandedTopic) -> bool:
    return bool(topic.expansions) and not any(expansion.text.strip() for expansion in topic.expansions)


def _check(options: SearchOptions) -> None:
    if options.hits < 1:
        raise InputError(f"--hits {options.hits}", expected="1 or more")


class _Clock:
    """Seconds by stage, each from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._since = now - self._since, now
