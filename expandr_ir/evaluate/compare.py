"""Runs against a baseline: paired differences, tests of significance, and the topics that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expandr_ir.errors import InputError, check_number
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
        measures: names of ir_measures, or one; the first one chooses the topics shown.
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
    if not isinstance(runs, Mapping) or any(isinstance(run, Hits) for run in runs.values()):
        shown = type(runs).__name__
        raise InputError(f"the runs are of type {shown}", expected='runs by name, such as {"hyde": run}')
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
    """`compare` on scores, so that runs can be read and let go in turn; without `randomise`, no p_randomisation."""
    check_number("examples", examples, least=0)
    topics, expansions, manifests = topics or {}, expansions or {}, manifests or {}
    measures = tuple(base.means)
    # By topic id, so that the order of the qrels changes no random test.
    topic_ids = sorted(base.per_topic[measures[0]])
    differences = {
        (name, measure): [run.per_topic[measure][i] - base.per_topic[measure][i] for i in topic_ids]
        for name, run in scores.items()
        for measure in measures
    }
    t_tests = {pair: t_test(values) for pair, values in differences.items()}
    corrected = holm(t_tests)
    compared = []
    for name, run in scores.items():
        outcomes = []
        for measure in measures:
            before, after, changes = base.means[measure], run.means[measure], differences[name, measure]
            wins, losses = sum(change >= TIE for change in changes), sum(change <= -TIE for change in changes)
            outcomes.append(
                Outcome(
                    measure=measure,
                    baseline=before,
                    mean=after,
                    difference=after - before,
                    relative=(after - before) / before if before else None,
                    p_t_test=t_tests[name, measure],
                    p_randomisation=randomisation_test(changes, seed) if randomise else None,
                    p_holm=corrected[name, measure],
                    wins=wins,
                    ties=len(changes) - wins - losses,
                    losses=losses,
                )
            )
        changed = []
        for topic_id, difference in zip(topic_ids, differences[name, measures[0]], strict=True):
            text = topics[topic_id].text if topic_id in topics else None
            before, after = base.per_topic[measures[0]][topic_id], run.per_topic[measures[0]][topic_id]
            texts = tuple(expansions.get(name, {}).get(topic_id, ()))
            changed.append(TopicChange(topic_id, text, before, after, difference, texts))
        changed.sort(key=lambda change: -change.difference)
        helped = tuple([change for change in changed if change.difference >= TIE][:examples])
        hurt = tuple([change for change in reversed(changed) if change.difference <= -TIE][:examples])
        compared.append(ComparedRun(name, run, cost_of(manifests.get(name)), tuple(outcomes), helped, hurt))
    notes = ["one topic alone is judged: the tests cannot be computed"] if len(topic_ids) < 2 else []
    notes += coverage_notes({baseline_name: base, **scores})
    for result in compared:
        if all(outcome.ties == len(topic_ids) for outcome in result.outcomes):
            notes.append(f"{result.name}: scores as the baseline does, on every topic and measure")
    return Comparison(
        measures=measures,
        topics=base.topics,
        baseline_name=baseline_name,
        baseline=base,
        baseline_cost=cost_of(manifests.get(baseline_name)),
        runs=tuple(compared),
        family=sum(p is not None for p in t_tests.values()),
        resamples=RESAMPLES,
        seed=seed,
        notes=tuple(notes),
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
