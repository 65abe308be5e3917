"""Runs against a baseline: paired differences, tests of significance, and the topics that made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expandr_ir.errors import InputError
from expandr_ir.evaluate import DEFAULT_MEASURES, Scores, coverage_notes, score_run
from expandr_ir.evaluate.significance import RESAMPLES, holm, randomisation_test, t_test
from expandr_ir.io.manifest import Manifest
from expandr_ir.records import Hits, Qrels, Topic

if TYPE_CHECKING:
    import pandas as pd

TIE = 1e-9
"""Two values of a topic that differ by less are a tie."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean seconds (wall time of all stages) and LLM tokens of a topic; None where the manifest does not say."""

    seconds: float | None
    tokens: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run against the baseline on one measure.

    Args:
        measure: its name.
        baseline, mean: means of the baseline and of the run.
        difference: mean - baseline.
        relative: difference / baseline; None where the baseline's mean is 0.
        p_t_test: two-sided paired t-test; None where there is one topic only.
        p_randomisation: two-sided paired randomisation test of the mean difference; None as above.
        p_holm: `p_t_test` after Holm's correction over all runs and measures of the comparison.
        wins, ties, losses: topics on which the run is better, equal (less than TIE apart), worse.
    """

    measure: str
    baseline: float
    mean: float
    difference: float
    relative: float | None
    p_t_test: float | None
    p_randomisation: float | None
    p_holm: float | None
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class TopicChange:
    """A topic's change of score (difference: value - baseline), with the expansions that its run searched."""

    topic_id: str
    text: str | None
    baseline: float
    value: float
    difference: float
    expansions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run of a comparison; `helped` and `hurt` are on the first measure, the largest change first."""

    name: str
    scores: Scores
    cost: Cost
    outcomes: tuple[Outcome, ...]
    helped: tuple[TopicChange, ...]
    hurt: tuple[TopicChange, ...]


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs against a baseline.

    Args:
        measures: their names; the first one chooses the topics shown.
        topics: the number of judged topics behind all means and tests.
        baseline_name, baseline, baseline_cost: of the run that the others are compared with.
        runs: in the order they were given.
        family: the number of p-values in Holm's correction.
        resamples, seed: of the randomisation test.
        notes: remarks on these figures, such as topics that are missing from a run.
    """

    measures: tuple[str, ...]
    topics: int
    baseline_name: str
    baseline: Scores
    baseline_cost: Cost
    runs: tuple[ComparedRun, ...]
    family: int
    resamples: int
    seed: int
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row for the baseline and for each run; of each measure the mean, the difference and Holm's p."""
        import pandas as pd

        rows: dict[str, dict[str, float | None]] = {self.baseline_name: dict(self.baseline.means)}
        for run in self.runs:
            rows[run.name] = {}
            for row in run.outcomes:
                name = row.measure
                rows[run.name] |= {name: row.mean, f"{name} diff": row.difference, f"{name} p": row.p_holm}
        return pd.DataFrame.from_dict(rows, orient="index")

    def __str__(self) -> str:
        table = self.to_frame().to_string(float_format=lambda value: f"{value:.4f}", na_rep="")
        return "\n".join(
            [table, f"{self.topics} topics; p of paired t-tests after Holm over {self.family}", *self.notes]
        )

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.runs)} runs with {self.baseline_name}: {self.topics} topics>"

    def _repr_html_(self) -> str:
        return str(self.to_frame().style.format("{:.4f}", na_rep="").to_html())


def compare(
    baseline: Mapping[str, Hits],
    runs: Mapping[str, Mapping[str, Hits]],
    qrels: Qrels,
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    baseline_name: str = "baseline",
    topics: Mapping[str, Topic] | None = None,
    expansions: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    manifests: Mapping[str, Manifest] | None = None,
    examples: int = 3,
    seed: int = 0,
) -> Comparison:
    """The comparison of every run with the baseline, over all judged topics.

    Args:
        baseline: usually the plain run, without expansions.
        runs: by name.
        qrels: judgements.
        measures: names of ir_measures; the first one chooses the topics shown.
        baseline_name: the baseline's name.
        topics: by id, for the topics shown.
        expansions: run name -> topic_id -> texts that were searched with it, for the topics shown.
        manifests: by run name (the baseline's too), for seconds and tokens of a topic.
        examples: topics shown as helped, and as hurt, for each run.
        seed: of the randomisation test.

    Raises:
        InputError: no run, fewer than 0 examples, a run with the baseline's name, or as in `score_run`.
        NotInstalledError: a measure whose back end is not installed.
    """
    if not runs:
        raise InputError("there is no run to compare", expected="at least one run beside the baseline")
    if baseline_name in runs:
        raise InputError(f"{baseline_name!r} is the baseline and a run", expected="another name for the run")
    return compare_scores(
        score_run(baseline, qrels, measures, name=baseline_name),
        {name: score_run(run, qrels, measures, name=name) for name, run in runs.items()},
        baseline_name=baseline_name,
        topics=topics,
        expansions=expansions,
        manifests=manifests,
        examples=examples,
        seed=seed,
    )


def compare_scores(
    base: Scores,
    scores: Mapping[str, Scores],
    *,
    baseline_name: str = "baseline",
    topics: Mapping[str, Topic] | None = None,
    expansions: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    manifests: Mapping[str, Manifest] | None = None,
    examples: int = 3,
    seed: int = 0,
    randomise: bool = True,
) -> Comparison:
    """`compare` on scores, so that runs can be read and let go in turn; the randomisation test takes most of the time.

    Without `randomise`, p_randomisation is None.
    """
    if examples < 0:
        raise InputError(f"examples is {examples}", expected="0 or more")
    topics, expansions, manifests = topics or {}, expansions or {}, manifests or {}
    differences = {
        (name, measure): _differences(base, scores[name], measure) for name in scores for measure in base.means
    }
    t_tests = {pair: t_test(values) for pair, values in differences.items()}
    corrected = holm(t_tests)
    compared = []
    for name, run in scores.items():
        outcomes = []
        for measure in base.means:
            pair = name, measure
            p_randomisation = randomisation_test(differences[pair], seed) if randomise else None
            p_values = t_tests[pair], p_randomisation, corrected[pair]
            outcomes.append(_outcome(measure, base.means[measure], run.means[measure], differences[pair], p_values))
        changes = _changes(base, run, topics, expansions.get(name, {}))
        helped = tuple([change for change in changes if change.difference >= TIE][:examples])
        hurt = tuple([change for change in reversed(changes) if change.difference <= -TIE][:examples])
        compared.append(ComparedRun(name, run, cost_of(manifests.get(name)), tuple(outcomes), helped, hurt))
    return Comparison(
        measures=tuple(base.means),
        topics=base.topics,
        baseline_name=baseline_name,
        baseline=base,
        baseline_cost=cost_of(manifests.get(baseline_name)),
        runs=tuple(compared),
        family=sum(p is not None for p in t_tests.values()),
        resamples=RESAMPLES,
        seed=seed,
        notes=tuple(_notes({baseline_name: base, **scores}, compared)),
    )


def cost_of(manifest: Manifest | None) -> Cost:
    """The mean cost of a topic by a run's manifest."""
    topics = manifest.counts.get("topics") if manifest else None
    if not manifest or not topics:
        return Cost(None, None)
    return Cost(
        seconds=sum(manifest.seconds.values()) / topics if manifest.seconds else None,
        tokens=sum(manifest.tokens.values()) / topics if manifest.tokens else None,
    )


def _differences(base: Scores, run: Scores, measure: str) -> list[float]:
    """Run - baseline for each topic, by topic id, so that the order of the qrels changes no random test."""
    before, after = base.per_topic[measure], run.per_topic[measure]
    return [after[topic_id] - before[topic_id] for topic_id in sorted(before)]


def _outcome(
    measure: str,
    before: float,
    after: float,
    differences: list[float],
    p_values: tuple[float | None, float | None, float | None],
) -> Outcome:
    wins, losses = sum(value >= TIE for value in differences), sum(value <= -TIE for value in differences)
    relative = (after - before) / before if before else None
    ties = len(differences) - wins - losses
    return Outcome(measure, before, after, after - before, relative, *p_values, wins, ties, losses)


def _changes(
    base: Scores, run: Scores, topics: Mapping[str, Topic], expansions: Mapping[str, Sequence[str]]
) -> list[TopicChange]:
    """Every topic's change on the first measure, from the most helped to the most hurt."""
    measure = next(iter(base.means))
    before, after = base.per_topic[measure], run.per_topic[measure]
    changes = []
    for topic_id in sorted(before):
        text = topics[topic_id].text if topic_id in topics else None
        scores = before[topic_id], after[topic_id], after[topic_id] - before[topic_id]
        changes.append(TopicChange(topic_id, text, *scores, tuple(expansions.get(topic_id, ()))))
    return sorted(changes, key=lambda change: -change.difference)


def _notes(scores: Mapping[str, Scores], compared: Sequence[ComparedRun]) -> Iterator[str]:
    topics = compared[0].scores.topics
    if topics < 2:
        yield "one topic alone is judged: the tests cannot be computed"
    yield from coverage_notes(scores)
    for run in compared:
        if all(outcome.ties == topics for outcome in run.outcomes):
            yield f"{run.name}: scores as the baseline does, on every topic and measure"
