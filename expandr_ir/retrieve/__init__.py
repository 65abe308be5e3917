"""Topics, plain or expanded, to a run: each route is searched, several are fused, a topic's own document is removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expandr_ir.fusion import fuse
from expandr_ir.records import ExpandedTopic, Run
from expandr_ir.retrieve.base import Clock, Counting, Retriever, plain, uncounted
from expandr_ir.retrieve.options import Route, SearchOptions
from expandr_ir.retrieve.sparse import SparseRetriever, sparse_aggregation, sparse_queries
from expandr_ir.runs import remove_own_document

if TYPE_CHECKING:
    from expandr_ir.collection import Collection
    from expandr_ir.retrieve.dense import LoadEncoder

__all__ = [
    "SearchOptions",
    "Searched",
    "plain",
    "search",
    "sparse_aggregation",
    "sparse_queries",
]


@dataclass(frozen=True)
class Searched:
    """A run and how it came about.

    Args:
        run: topic_id -> ranking.
        name: the routes in a few words, such as "bm25-repeat" or "rrf(bm25-repeat, dense-mean)".
        details: of each retriever, such as its index and BM25's parameters that were in force.
        seconds: wall time by retriever and stage ("bm25 aggregate", "dense search"), without what opening, building or
            encoding took.
        counts: "topics", "topics_searched_alone" (their expansions are empty), "topics_without_hits",
            "own_documents_removed".
    """

    run: Run
    name: str
    details: dict[str, Any]
    seconds: dict[str, float]
    counts: dict[str, int]


def search(
    topics: Mapping[str, ExpandedTopic],
    collection: Collection | None,
    options: SearchOptions,
    counting: Counting = uncounted,
    load: LoadEncoder | None = None,
) -> Searched:
    """The run of the options' routes over the collection, or over the index that they name.

    Args:
        topics: what to search, by topic_id.
        collection: what to search in; None needs an index.
        options: how.
        counting: shows how far indexing and encoding are.
        load: loads the encoder; None loads it anew for this search.

    Raises:
        InputError: an unknown aggregation, neither collection nor index, or an index of another collection or model.
        MissingResourceError: there is no such index or model.
    """
    routes = [_in_force(route, topics) for route in options.routes()]
    retrievers = {
        name: _open(name, collection, options, counting, load) for name in dict.fromkeys(kind for kind, _ in routes)
    }
    found = [retrievers[kind].search(topics, aggregation or "none") for kind, aggregation in routes]
    removes = _removes_own(collection, options)
    kept = [remove_own_document(run) if removes else run for run in found]
    fusing: dict[str, float] = {}
    run = kept[0]
    if len(kept) > 1:
        clock = Clock(fusing)
        run = fuse(options.fusion, kept, options.fuse, options.hits).run
        clock.lap("fuse")
    names = [f"{LABELS[kind]}-{aggregation}" for kind, aggregation in routes]
    return Searched(
        run=run,
        name=names[0] if len(names) == 1 else f"{options.fusion}({','.join(names)})",
        details={LABELS[name]: retriever.details for name, retriever in retrievers.items()},
        seconds=fusing
        | {
            f"{LABELS[name]} {stage}": seconds
            for name, retriever in retrievers.items()
            for stage, seconds in retriever.seconds.items()
        },
        counts={
            "topics": len(topics),
            "topics_searched_alone": sum(_is_alone(topic) for topic in topics.values()),
            "topics_without_hits": sum(not len(run.get(topic_id, ())) for topic_id in topics),
            "own_documents_removed": sum(_hits(run) for run in found) - sum(_hits(run) for run in kept),
        },
    )


LABELS = {"sparse": "bm25", "dense": "dense"}
"""How retrievers are called in names of runs and in manifests."""


def _in_force(route: Route, topics: Mapping[str, ExpandedTopic]) -> tuple[str, str]:
    """The route's retriever and the aggregation that it has in the end."""
    if route.retriever == "sparse":
        return "sparse", sparse_aggregation(route.aggregation, topics)
    from expandr_ir.retrieve.dense import dense_aggregation

    return "dense", dense_aggregation(route.aggregation, topics)


def _open(
    name: str,
    collection: Collection | None,
    options: SearchOptions,
    counting: Counting,
    load: LoadEncoder | None,
) -> Retriever:
    if name == "sparse":
        return SparseRetriever(collection, options, counting)
    from expandr_ir.retrieve.dense import DenseRetriever

    return (
        DenseRetriever(collection, options, counting, load) if load else DenseRetriever(collection, options, counting)
    )


def _removes_own(collection: Collection | None, options: SearchOptions) -> bool:
    if options.own_document == "auto":
        return collection is not None and collection.remove_own_document
    return options.own_document == "remove"


def _is_alone(topic: ExpandedTopic) -> bool:
    return bool(topic.expansions) and not any(expansion.text.strip() for expansion in topic.expansions)


def _hits(run: Run) -> int:
    return sum(map(len, run.values()))
