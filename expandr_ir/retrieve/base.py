"""What every retriever is, and what they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeAlias

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.records import ExpandedTopic, Run, Topic

Counting: TypeAlias = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Given what is counted and how many there will be, yields what is called with how many are done."""


class Retriever(Protocol):
    """What finds documents for topics; its index is open and, where it is the collection's own, complete."""

    details: dict[str, Any]
    seconds: dict[str, float]

    def search(self, topics: Mapping[str, ExpandedTopic], aggregation: str) -> Run:
        """The rankings by topic_id.

        Args:
            topics: with their expansions.
            aggregation: how topic and expansions become one query.
        """
        ...


def plain(topics: Iterable[Topic]) -> dict[str, ExpandedTopic]:
    """Topics without expansions, as a retriever takes them."""
    return {topic.topic_id: ExpandedTopic(topic) for topic in topics}


def aggregation_name(
    named: str | None, topics: Mapping[str, ExpandedTopic], default: str, known: Collection[str]
) -> str:
    """The aggregation in force: the one that is named, else the default where there are expansions, else "none".

    Args:
        named: what was asked for.
        topics: with their expansions.
        default: the retriever's own choice.
        known: the aggregations there are.

    Raises:
        InputError: the one that is named does not exist, or needs expansions and there are none.
    """
    if named is not None and named not in known:
        raise unknown_name("aggregation", named, known)
    expanded = any(topic.expansions for topic in topics.values())
    if named not in {None, "none"} and not expanded:
        raise InputError(
            f"the aggregation {named!r} has no expansions to work with",
            expected="expansions",
            remedy="--expansions FILE",
        )
    return named or (default if expanded else "none")


def nothing_to_search() -> InputError:
    """The error of a search without a collection and without an index."""
    return InputError("there is nothing to search in", expected="a collection or an index", remedy="--collection C")


def uncounted(what: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:  # noqa: ARG001
    """Counting that shows nothing."""
    return nullcontext(lambda done: None)  # noqa: ARG005


class Clock:
    """Seconds by stage, each from the end of the one before; a stage that comes again adds to itself."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Ends a stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
