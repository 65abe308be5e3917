"""What a folder of runs came to: each condition's figures with its difference to the baseline and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from expandr_ir.errors import unknown_name
from expandr_ir.evaluate.cost import Cost
from expandr_ir.regress.results import Result, Results, Value


@dataclass(frozen=True, slots=True)
class Contrast:
    """One metric of one condition against its baseline.

    Args:
        difference: mean less the baseline's mean.
        p_holm: two-sided p of the paired t-test after Holm's correction; None where no run was there to test.
        wins, ties, losses: topics on which the condition is better, equal, worse; None as above.
        family: tests that Holm's correction is over; 0 where nothing was tested.
    """

    difference: float
    p_holm: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    family: int = 0


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one collection.

    Args:
        result: what the regressions say of it.
        contrasts: metric -> difference to its baseline; a metric that cannot be compared is left out.
        cost: seconds and tokens of a topic.
        notes: what a reader must know of these figures.
    """

    result: Result
    contrasts: Mapping[str, Contrast] = field(default_factory=dict)
    cost: Cost = field(default_factory=lambda: Cost(None, None))
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The condition's name."""
        return self.result.condition

    def value(self, metric: str) -> Value | None:
        """The condition's value of a metric, if it has one."""
        return next((value for value in self.result.values if value.metric == metric), None)

    @property
    def measured(self) -> bool:
        """Whether anything was measured."""
        return any(value.measured is not None for value in self.result.values)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One collection with its conditions, in their order.

    Args:
        name, title, spec, split: of the collection.
        conditions: what was done on it.
        notes: what a reader must know, such as that the collection is not here.
    """

    name: str
    title: str
    spec: str
    split: str | None
    conditions: tuple[Condition, ...]
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of its conditions, in the order in which they are named; the first one is the main one."""
        return tuple(dict.fromkeys(value.metric for one in self.conditions for value in one.result.values))

    @property
    def topics(self) -> int | None:
        """How many topics are judged, where that is known."""
        return next((one.result.topics for one in self.conditions if one.result.topics is not None), None)

    def condition(self, name: str | None) -> Condition | None:
        """The condition of this name, if there is one."""
        return next((one for one in self.conditions if one.name == name), None)

    def best(self, metric: str) -> frozenset[str]:
        """The conditions with the highest measured value at the metric's precision; none where there is no choice."""
        found = {one.name: rounded(value) for one in self.conditions if (value := one.value(metric))}
        known = {name: value for name, value in found.items() if value is not None}
        if len(known) < 2:
            return frozenset()
        return frozenset(name for name, value in known.items() if value == max(known.values()))


@dataclass(frozen=True, slots=True)
class Study:
    """All collections of one folder of runs.

    Args:
        chapters: one for each collection.
        versions: of Python, this package, and what it stands on.
        date: when the runs were judged, ISO 8601.
    """

    chapters: tuple[Chapter, ...]
    versions: Mapping[str, str]
    date: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, in the order in which the collections name them."""
        return tuple(dict.fromkeys(metric for chapter in self.chapters for metric in chapter.metrics))

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of all conditions, in the order in which the collections name them."""
        return tuple(dict.fromkeys(one.name for chapter in self.chapters for one in chapter.conditions))

    @property
    def results(self) -> Results:
        """The results that this study is of."""
        results = tuple(one.result for chapter in self.chapters for one in chapter.conditions)
        return Results(results, self.versions, self.date)

    def only(self, collections: Sequence[str]) -> Study:
        """The study of these collections alone; of all of them where none is named.

        Raises:
            InputError: there is no such collection.
        """
        known = [chapter.name for chapter in self.chapters]
        for name in collections:
            if name not in known:
                raise unknown_name("collection of this report", name, known)
        return replace(self, chapters=tuple(one for one in self.chapters if not collections or one.name in collections))


def study_of(results: Results) -> Study:
    """The study of results alone: differences of means, without tests, and costs as the results hold them."""
    chapters: dict[str, list[Result]] = {}
    for result in results.results:
        chapters.setdefault(result.collection, []).append(result)
    return Study(tuple(map(_chapter, chapters.values())), dict(results.versions), results.date)


def rounded(value: Value) -> float | None:
    """What was measured, at the precision of its metric."""
    return None if value.measured is None else round(value.measured, value.precision)


def _chapter(results: list[Result]) -> Chapter:
    first = results[0]
    by_name = {result.condition: result for result in results}
    conditions = tuple(Condition(one, _differences(one, by_name), _cost(one)) for one in results)
    return Chapter(first.collection, first.title, first.spec, first.split, conditions)


def _differences(result: Result, by_name: Mapping[str, Result]) -> dict[str, Contrast]:
    baseline = by_name.get(result.baseline or "")
    if baseline is None:
        return {}
    before = {value.metric: value.measured for value in baseline.values}
    pairs = {value.metric: (value.measured, before.get(value.metric)) for value in result.values}
    return {name: Contrast(new - old) for name, (new, old) in pairs.items() if new is not None and old is not None}


def _cost(result: Result) -> Cost:
    if not result.topics:
        return Cost(None, None)
    tokens = [count for count in (result.prompt_tokens, result.completion_tokens) if count is not None]
    return Cost(
        seconds=None if result.seconds is None else result.seconds / result.topics,
        tokens=sum(tokens) / result.topics if tokens else None,
    )
