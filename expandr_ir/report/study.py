"""A study: results with their tests and costs, a chapter for each collection; read from and kept as results.json."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from expandr_ir.blocks import fit
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.evaluate import Scores
from expandr_ir.evaluate.compare import Cost, TopicChange
from expandr_ir.io.manifest import Manifest
from expandr_ir.records import Document, Qrels, Topic
from expandr_ir.regress.results import Result, Results, Value, read_results

_QUOTED_PATH = re.compile(r"(?<=')(?:/|~/)[^']*/([^'/]*)(?=')")
_PATH = re.compile(r"(?<![\w.:/-])(?:/|~/|\.\.?/)(?:[^\s/'\"`;,()]+/)*([^\s/'\"`;,()]+)")


@dataclass(frozen=True, slots=True)
class Contrast:
    """One metric of a condition less its baseline's, tested where runs were there: p is Holm's over `family` tests."""

    difference: float
    p_holm: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    family: int = 0


@dataclass(frozen=True, slots=True)
class TestRecord:
    """The part of results.json about a condition that is no figure."""

    contrasts: dict[str, Contrast]
    cost: Cost
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition on one collection; what only its run can tell is empty where that was not read."""

    result: Result  # its figures as they were recorded
    contrasts: Mapping[str, Contrast] = field(default_factory=dict)  # by metric; without what cannot be compared
    cost: Cost = field(default_factory=lambda: Cost(None, None))
    notes: tuple[str, ...] = ()
    scores: Scores | None = None  # of the run
    tops: Mapping[str, list[str]] = field(default_factory=dict)  # topic_id -> first documents, as trec_eval ranks them
    helped: tuple[TopicChange, ...] = ()  # topics that gained most on the chapter's first metric
    hurt: tuple[TopicChange, ...] = ()
    expansions: Path | None = None  # the file of the texts that were searched
    manifest: Manifest | None = None

    @property
    def name(self) -> str:
        """The condition's name."""
        return self.result.condition

    @property
    def measured(self) -> Mapping[str, float]:
        """Metric -> its measured value, rounded to the metric's precision."""
        values = self.result.values
        return {value.metric: round(value.measured, value.precision) for value in values if value.measured is not None}

    def value(self, metric: str) -> Value | None:
        """The condition's value of a metric, if it has one."""
        return next((value for value in self.result.values if value.metric == metric), None)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One collection: its conditions, at least one, and its topics, qrels and documents where they are at hand."""

    conditions: tuple[Condition, ...]
    notes: tuple[str, ...] = ()
    topics: Mapping[str, Topic] = field(default_factory=dict)
    qrels: Qrels = field(default_factory=dict)
    documents: Callable[[], Iterable[Document]] | None = None

    @property
    def first(self) -> Result:
        """The first condition's result: it names the collection, its title, spec and split."""
        return self.conditions[0].result

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of its conditions, in the order in which they are named; the first one is the main one."""
        return tuple(dict.fromkeys(value.metric for one in self.conditions for value in one.result.values))

    @property
    def judged(self) -> int | None:
        """The number of judged topics, where that is known."""
        return next((one.result.topics for one in self.conditions if one.result.topics is not None), None)

    def condition(self, name: str | None) -> Condition | None:
        """The condition of this name, if there is one."""
        return next((one for one in self.conditions if one.name == name), None)

    def best(self, metric: str) -> frozenset[str]:
        """The conditions with the highest measured value at the metric's precision; none where there is no choice."""
        known = {one.name: one.measured[metric] for one in self.conditions if metric in one.measured}
        return frozenset(name for name, value in known.items() if len(known) > 1 and value == max(known.values()))


@dataclass(frozen=True, slots=True)
class Study:
    """All collections of one folder of runs, with the versions of Python, this package and others, and the date."""

    chapters: tuple[Chapter, ...]
    versions: Mapping[str, str]
    date: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, in the order in which the collections name them."""
        return tuple(dict.fromkeys(metric for chapter in self.chapters for metric in chapter.metrics))

    @property
    def results(self) -> Results:
        """The results that this study is of."""
        results = tuple(one.result for chapter in self.chapters for one in chapter.conditions)
        return Results(results, dict(self.versions), self.date)

    def only(self, collections: Sequence[str]) -> Study:
        """The study of these collections alone, of all of them where none is named; InputError for an unknown one."""
        known = [chapter.first.collection for chapter in self.chapters]
        if unknown := set(collections) - set(known):
            raise unknown_name("collection of this report", min(unknown), known)
        wanted = collections or known
        return replace(self, chapters=tuple(one for one in self.chapters if one.first.collection in wanted))

    def remarks(self) -> Iterator[str]:
        """The notes of collections and conditions, for a terminal."""
        for chapter in self.chapters:
            name = chapter.first.collection
            yield from (f"{name}: {note}" for note in chapter.notes)
            yield from (f"{name}, {one.name}: {note}" for one in chapter.conditions for note in one.notes)


def study_of(results: Results) -> Study:
    """The study of results, with the tests and costs that `as_recorded` kept, else with differences of means."""
    means = {
        (result.collection, result.condition): {value.metric: value.measured for value in result.values}
        for result in results.results
    }
    tested = fit(dict[str, dict[str, TestRecord]], results.tested, "'tested'")
    chapters: dict[str, list[Condition]] = {}
    for result in results.results:
        if test := tested.get(result.collection, {}).get(result.condition):
            condition = Condition(result, test.contrasts, test.cost, test.notes)
        else:
            before = means.get((result.collection, result.baseline or ""), {})
            pairs = {value.metric: (value.measured, before.get(value.metric)) for value in result.values}
            contrasts = {name: Contrast(x - y) for name, (x, y) in pairs.items() if x is not None and y is not None}
            condition = Condition(result, contrasts, _cost(result))
        chapters.setdefault(result.collection, []).append(condition)
    return Study(tuple(Chapter(tuple(group)) for group in chapters.values()), dict(results.versions), results.date)


def load_study(path: Path) -> Study:
    """The study in a folder or its results.json."""
    results = read_results(path)
    try:
        return study_of(results)
    except InputError as error:
        raise InputError(f"{path}: {error.found}", expected=error.expected, remedy="expandr report again") from error


def as_recorded(study: Study) -> str:
    """The study as JSON without any path of this machine: a results.json with tests and costs, fit for a repository."""
    study = portable(study)
    tested = {
        chapter.first.collection: {
            condition.name: asdict(TestRecord(dict(condition.contrasts), condition.cost, condition.notes))
            for condition in chapter.conditions
        }
        for chapter in study.chapters
    }
    return json.dumps(replace(study.results, tested=tested).as_json(), indent=1, ensure_ascii=False) + "\n"


def portable(study: Study) -> Study:
    """The study without the paths of this machine: a collection is its folder's last two names, a file its name."""
    chapters = (
        Chapter(tuple(map(_portable, chapter.conditions)), tuple(map(_without_paths, chapter.notes)))
        for chapter in study.chapters
    )
    return replace(study, chapters=tuple(chapters))


def _portable(condition: Condition) -> Condition:
    result = condition.result
    spec = "/".join(Path(result.spec).parts[-2:]) if Path(result.spec).is_absolute() else result.spec

    def command(text: str) -> str:
        return _without_paths(re.sub(rf"(?<![\w/]){re.escape(result.spec)}(?![\w/.-])", spec, text))

    values = (
        replace(value, reason=_without_paths(value.reason), source=value.source and _without_paths(value.source))
        for value in result.values
    )
    result = replace(
        result,
        spec=spec,
        run=None,
        expansions=Path(result.expansions).name if result.expansions else None,
        command=command(result.command),
        pyserini=tuple(map(command, result.pyserini)),
        values=tuple(values),
    )
    return Condition(result, condition.contrasts, condition.cost, tuple(map(_without_paths, condition.notes)))


def _without_paths(text: str) -> str:
    return _PATH.sub(r"\1", _QUOTED_PATH.sub(r"\1", text))


def _cost(result: Result) -> Cost:
    topics, tokens = result.topics, [n for n in (result.prompt_tokens, result.completion_tokens) if n is not None]
    return Cost(
        seconds=result.seconds / topics if topics and result.seconds is not None else None,
        tokens=sum(tokens) / topics if topics and tokens else None,
    )
