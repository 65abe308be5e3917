"""The retriever, from topics, plain or expanded, to a run; its options, and the code that all retrievers share."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from expandr_ir.blocks import check_values
from expandr_ir.errors import InputError, check_fields
from expandr_ir.io.manifest import generation_costs
from expandr_ir.io.runs import Run, remove_own_document
from expandr_ir.io.topics import as_topics
from expandr_ir.records import ExpandedTopic, Rankings, Topic

if TYPE_CHECKING:
    from expandr_ir.collections import Collection
    from expandr_ir.io.topics import Topics

Searchable: TypeAlias = "Mapping[str, ExpandedTopic] | Topics"
"""Expansions, or topics to search alone."""


logger = logging.getLogger(__name__)

OFTEN = 0.1
"""The share of topics that find themselves first from which a collection is likely made of its own documents."""


@dataclass(frozen=True, kw_only=True)
class RetrieverOptions:
    """Options of every retriever.

    Args:
        aggregation: of topic and expansions to one query, for a single retriever; None is "repeat" (sparse) or
            "mean" (dense) with expansions, and "none" without.
        hits: documents a topic.
        index: an existing index to search instead of the collection's own, a folder or a Pyserini prebuilt name:
            Lucene's, or FAISS's where the retriever is dense.
        own_document: of a document whose id is the topic's; "auto" removes it where the collection's published figures
            do (BEIR's), "remove" and "keep" do so anyway.
    """

    aggregation: str | None = None
    hits: int = 1000
    index: str | None = None
    own_document: Literal["auto", "remove", "keep"] = "auto"

    def __post_init__(self) -> None:
        check_values(self, RetrieverOptions)
        check_fields(self, "hits", least=1)


class Retriever(ABC):
    """Finds documents for topics. Index, encoder and searcher are opened at the first search and stay open."""

    label: str
    """Its name in runs and manifests, such as "bm25"."""

    @abstractmethod
    def search(self, topics: Searchable) -> Run:
        """The rankings by topic_id, of every topic in its order; a topic without any hit has an empty ranking.

        Args:
            topics: expansions, or topics (a mapping, texts, one text, a file, a DataFrame) to search alone.

        Raises:
            InputError: an aggregation that does not exist or does not fit the topics, neither collection nor index, or
                an index of another collection or model.
            MissingResourceError: there is no such index or model.
        """


class SingleRetriever(RetrieverOptions, Retriever):
    """A retriever of one index: aggregates, ranks, removes a topic's own document, and counts."""

    collection: Collection | None
    default_aggregation: str
    opened: tuple[str, ...]
    """The attributes that the first search opens."""
    find_aggregation: Callable[[str], Any]
    """Raises an InputError for an unknown aggregation."""

    def search(self, topics: Searchable, aggregation: str | None = None) -> Run:
        """See `Retriever.search`; an aggregation goes before the retriever's own."""
        expanded = as_expanded(topics)
        name = self.aggregation_for(expanded, aggregation or self.aggregation)
        clock = Clock()
        rankings = self.rank(expanded, name, clock)
        seconds, tokens = generation_costs(expanded.values())
        removes = self.own_document == "remove"
        if self.own_document == "auto" and self.collection is not None:
            removes = self.collection.remove_own_document
        remaining = remove_own_document(rankings) if removes else rankings
        if self.own_document == "auto" and not removes:
            _warn_of_own_documents(rankings)
        return Run(
            remaining,
            name=f"{self.label}-{name}",
            details={self.label: self.details()},
            seconds={f"{self.label} {stage}": s for stage, s in clock.seconds.items()} | seconds,
            tokens=tokens,
            counts={
                "topics": len(expanded),
                "topics_searched_alone": sum(
                    bool(topic.expansions) and not any(expansion.text.strip() for expansion in topic.expansions)
                    for topic in expanded.values()
                ),
                "topics_without_hits": sum(not hits for hits in remaining.values()),
                "own_documents_removed": sum(map(len, rankings.values())) - sum(map(len, remaining.values())),
            },
        )

    def share(self, other: SingleRetriever) -> None:
        """Searches with what `other` has open: a retriever of the same index and encoder, with the same parameters."""
        vars(self).update({name: getattr(other, name) for name in self.opened})

    @abstractmethod
    def rank(self, topics: Mapping[str, ExpandedTopic], aggregation: str, clock: Clock) -> Rankings:
        """The rankings of topics with their expansions."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """Its entry in a manifest, such as its index."""

    def aggregation_for(self, topics: Mapping[str, ExpandedTopic], aggregation: str | None) -> str:
        """The aggregation in force: the one named, else the default where there are expansions, else "none"."""
        if aggregation is not None:
            self.find_aggregation(aggregation)
        has_expansions = any(topic.expansions for topic in topics.values())
        if aggregation not in {None, "none"} and not has_expansions:
            raise InputError(
                f"the aggregation {aggregation!r} has no expansions to work with",
                expected="expansions",
                remedy="--expansions FILE",
            )
        return aggregation or (self.default_aggregation if has_expansions else "none")


def _warn_of_own_documents(rankings: Rankings) -> None:
    """Says it where topics often find themselves: BEIR's figures would leave these hits out."""
    first = [hits.doc_ids[0] == topic_id for topic_id, hits in rankings.items() if hits]
    if sum(first) >= max(2, OFTEN * len(first)):
        text = (
            "the first hit of %d of %d topics is the topic itself: --own-document remove leaves it out, keep is silent"
        )
        logger.warning(text, sum(first), len(first))


class Clock:
    """Seconds by stage, each from the end of the last; a repeated stage adds to itself."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def start(self) -> None:
        """Begins anew."""
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Ends a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now


def as_expanded(topics: Searchable) -> dict[str, ExpandedTopic]:
    """Topics as a retriever takes them: expansions as they are, plain topics without expansions."""
    if isinstance(topics, Mapping) and topics and all(isinstance(topic, ExpandedTopic) for topic in topics.values()):
        return dict(topics)
    return plain(as_topics(topics).values())


def plain(topics: Iterable[Topic]) -> dict[str, ExpandedTopic]:
    """Topics without expansions, by topic_id."""
    return {topic.topic_id: ExpandedTopic(topic) for topic in topics}


def select_fields(options: Any, block: type[Any]) -> dict[str, Any]:
    """The values that `options` has for the fields of the dataclass `block`, which it extends."""
    return {field.name: getattr(options, field.name) for field in fields(block)}


def nothing_to_search() -> InputError:
    """The error of a search without a collection and without an index."""
    return InputError("there is nothing to search in", expected="a collection or an index", remedy="--collection C")
