"""Runs against a baseline: paired differences, tests of significance, and the topics that made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from expandr_ir.errors import InputError
from expandr_ir.evaluate import Scores, coverage_notes, evaluate
from expandr_ir.evaluate.cost import Cost, cost_of
from expandr_ir.evaluate.significance import RESAMPLES, holm, randomisation_test, t_test
from expandr_ir.manifest import Manifest
from expandr_ir.records import Qrels, Run, Topic

TIE = 1e-9
"""Two values of a topic that differ by less are a tie."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run against the baseline on one measure.

    Args:
        measure: its name.
        baseline, mean: means of the baseline and of the run.
        difference: mean - baseline.
        relative: difference / baseline; None where the baseline's mean is 0.
        p_t_test: two-sided paired t-test; None where one topic is all there is.
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
    """What one topic gained or lost, with the expansions that did it.

    Args:
        topic_id, text: the topic; text is None where the topics were not given.
        baseline, value: what baseline and run score on it.
        difference: value - baseline.
        expansions: the texts that the run searched with the topic; empty where they were not given.
    """

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


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs against a baseline.

    Args:
        measures: their names; the first one chooses the topics shown.
        topics: how many judged topics all means and tests are over.
        baseline_name, baseline, baseline_cost: what the runs are compared with.
        runs: in the order they were given.
        family: how many p-values Holm's correction is over.
        resamples, seed: of the randomisation test.
        notes: what a reader must know of these figures, such as topics that are missing from a run.
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


def compare(
    baseline: Run,
    runs: Mapping[str, Run],
    qrels: Qrels,
    measures: Sequence[str],
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
        baseline_name: how the baseline is called.
        topics: by id, for the topics shown.
        expansions: run name -> topic_id -> texts that were searched with it, for the topics shown.
        manifests: by run name (the baseline's too), for seconds and tokens of a topic.
        examples: how many topics are shown as helped, and as hurt, for each run.
        seed: of the randomisation test.

    Raises:
        InputError: no run, fewer than 0 examples, a run that has the baseline's name, or what `evaluate` refuses.
        NotInstalledError: a measure whose back end is not installed.
    """
    if not runs:
        raise InputError("there is no run to compare", expected="at least one run beside the baseline")
    if baseline_name in runs:
        raise InputError(f"{baseline_name!r} is the baseline and a run", expected="another name for the run")
    return compare_scores(
        evaluate(baseline, qrels, measures, name=baseline_name),
        {name: evaluate(run, qrels, measures, name=name) for name, run in runs.items()},
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
    """`compare` on scores that are there already, so that runs can be read and let go one by one.

    Args:
        base: the baseline's scores.
        scores: by name, at least one, of the same qrels and measures as the baseline's.
        baseline_name: as in `compare`, and so are topics, expansions, manifests, examples and seed.
        topics: by id.
        expansions: run name -> topic_id -> texts.
        manifests: by run name.
        examples: topics shown.
        seed: of the randomisation test.
        randomise: compute the randomisation test, which takes most of the time; p_randomisation is None without it.

    Raises:
        InputError: fewer than 0 examples.
    """
    if examples < 0:
        raise InputError(f"examples is {examples}", expected="0 or more")
    pairs = {(name, measure): _differences(base, scores[name], measure) for name in scores for measure in base.means}
    t_tests = {pair: t_test(differences) for pair, differences in pairs.items()}
    corrected = holm(t_tests)
    outcomes = {
        (name, measure): _outcome(
            base,
            scores[name],
            measure,
            differences=pairs[name, measure],
            p_t_test=t_tests[name, measure],
            p_holm=corrected[name, measure],
            seed=seed if randomise else None,
        )
        for name, measure in pairs
    }
    compared = []
    for name, own in scores.items():
        rows = tuple(outcomes[name, measure] for measure in base.means)
        changes = _changes(base, own, topics or {}, (expansions or {}).get(name, {}))
        helped = [change for change in changes if change.difference >= TIE][:examples]
        hurt = [change for change in reversed(changes) if change.difference <= -TIE][:examples]
        cost = cost_of((manifests or {}).get(name))
        compared.append(ComparedRun(name, own, cost, rows, tuple(helped), tuple(hurt)))
    return Comparison(
        measures=tuple(base.means),
        topics=base.topics,
        baseline_name=baseline_name,
        baseline=base,
        baseline_cost=cost_of((manifests or {}).get(baseline_name)),
        runs=tuple(compared),
        family=sum(p is not None for p in t_tests.values()),
        resamples=RESAMPLES,
        seed=seed,
        notes=tuple(_notes({baseline_name: base, **scores}, compared)),
    )


def _differences(base: Scores, own: Scores, measure: str) -> list[float]:
    """Run - baseline for each topic, by topic id, so that the order of the qrels changes no random test."""
    before, after = base.per_topic[measure], own.per_topic[measure]
    return [after[topic_id] - before[topic_id] for topic_id in sorted(before)]


def _outcome(
    base: Scores,
    own: Scores,
    measure: str,
    *,
    differences: list[float],
    p_t_test: float | None,
    p_holm: float | None,
    seed: int | None,
) -> Outcome:
    before, after = base.means[measure], own.means[measure]
    wins, losses = sum(value >= TIE for value in differences), sum(value <= -TIE for value in differences)
    return Outcome(
        measure=measure,
        baseline=before,
        mean=after,
        difference=after - before,
        relative=(after - before) / before if before else None,
        p_t_test=p_t_test,
        p_randomisation=None if seed is None else randomisation_test(differences, seed),
        p_holm=p_holm,
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
    )


def _changes(
    base: Scores, own: Scores, topics: Mapping[str, Topic], expansions: Mapping[str, Sequence[str]]
) -> list[TopicChange]:
    """Every topic's change on the first measure, from the most helped to the most hurt."""
    measure = next(iter(base.means))
    before, after = base.per_topic[measure], own.per_topic[measure]
    changes = [
        TopicChange(
            topic_id=topic_id,
            text=topics[topic_id].text if topic_id in topics else None,
            baseline=before[topic_id],
            value=after[topic_id],
            difference=after[topic_id] - before[topic_id],
            expansions=tuple(expansions.get(topic_id, ())),
        )
        for topic_id in sorted(before)
    ]
    return sorted(changes, key=lambda change: -change.difference)


def _notes(scores: Mapping[str, Scores], compared: Sequence[ComparedRun]) -> Iterator[str]:
    topics = compared[0].scores.topics
    if topics < 2:
        yield "one topic alone is judged: the tests cannot be computed"
    yield from coverage_notes(scores)
    for run in compared:
        if all(outcome.ties == topics for outcome in run.outcomes):
            yield f"{run.name}: scores as the baseline does, on every topic and measure"
