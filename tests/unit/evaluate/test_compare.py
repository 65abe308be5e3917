"""A comparison whose every figure can be worked out by hand."""

from __future__ import annotations

import random

import pytest

from expandr_ir.errors import InputError
from expandr_ir.evaluate import score_run
from expandr_ir.evaluate.compare import Cost, compare
from expandr_ir.evaluate.significance import RESAMPLES, randomisation_test, t_test
from expandr_ir.io.manifest import InputFile, Manifest
from expandr_ir.records import Hits, Qrels, Rankings, Topic

QRELS: Qrels = {str(number): {"good": 1} for number in range(1, 6)}


def run(*ranks: int | None) -> Rankings:
    """Topic 1, 2, ... with its only relevant document at this rank (None: not found), so that RR is 1 / rank."""
    hits = {}
    for number, rank in enumerate(ranks, start=1):
        doc_ids = [f"bad{at}" for at in range(1, (rank or 5) + 1)]
        if rank:
            doc_ids[rank - 1] = "good"
        hits[str(number)] = Hits(doc_ids, [float(-at) for at in range(len(doc_ids))])
    return hits


BASELINE = run(1, 2, 4, None, 2)
BETTER = run(1, 1, 1, 2, 2)
"""Against BASELINE: 0, +1/2, +3/4, +1/2, 0."""
WORSE = run(2, 2, 5, None, 1)
"""Against BASELINE: -1/2, 0, -1/20, 0, +1/2."""


def test_means_differences_and_outcomes() -> None:
    comparison = compare(BASELINE, {"better": BETTER, "worse": WORSE}, QRELS, ["RR", "R@1"], baseline_name="plain")
    better = comparison.runs[0].outcomes[0]
    assert (better.measure, better.wins, better.ties, better.losses) == ("RR", 3, 2, 0)
    numbers = better.baseline, better.mean, better.difference, better.relative
    assert numbers == pytest.approx((2.25 / 5, 4 / 5, 1.75 / 5, 1.75 / 2.25))
    assert (better.p_t_test, better.p_randomisation) == (t_test([0, 0.5, 0.75, 0.5, 0]), 2 / 8)
    worse = comparison.runs[1].outcomes[0]
    assert (worse.wins, worse.ties, worse.losses) == (1, 2, 2)
    assert worse.p_randomisation == 1.0
    recall = comparison.runs[0].outcomes[1]
    assert (recall.baseline, recall.mean, recall.wins, recall.ties) == (1 / 5, 3 / 5, 2, 3)
    assert (comparison.topics, comparison.measures, comparison.baseline_name) == (5, ("RR", "R@1"), "plain")
    assert (comparison.resamples, comparison.seed, comparison.notes) == (RESAMPLES, 0, ())
    assert comparison.family == 4
    smallest = min((outcome for run in comparison.runs for outcome in run.outcomes), key=lambda o: o.p_t_test)
    assert smallest.p_holm == pytest.approx(4 * smallest.p_t_test)


def test_topics_helped_and_hurt_most_with_the_texts_that_did_it() -> None:
    shown = {"topics": {"3": Topic("3", "third")}, "expansions": {"better": {"3": ["one", "two"]}}, "examples": 2}
    comparison = compare(BASELINE, {"better": BETTER, "worse": WORSE}, QRELS, ["RR", "R@1"], **shown)
    better, worse = comparison.runs
    assert [change.topic_id for change in better.helped] == ["3", "2"]
    assert better.hurt == ()
    first = better.helped[0]
    assert (first.text, first.expansions) == ("third", ("one", "two"))
    assert (first.baseline, first.value, first.difference) == (0.25, 1.0, 0.75)
    assert (better.helped[1].text, better.helped[1].expansions) == (None, ())
    assert [change.topic_id for change in worse.helped] == ["5"]
    assert [(change.topic_id, change.expansions) for change in worse.hurt] == [("1", ()), ("3", ())]


def test_an_identical_run_has_p_1_and_is_named() -> None:
    comparison = compare(BASELINE, {"copy": BASELINE, "better": BETTER}, QRELS, ["RR", "AP"])
    for outcome in comparison.runs[0].outcomes:
        assert (outcome.difference, outcome.p_t_test, outcome.p_randomisation, outcome.p_holm) == (0, 1, 1, 1)
        assert (outcome.wins, outcome.ties, outcome.losses) == (0, 5, 0)
    assert (comparison.runs[0].helped, comparison.runs[0].hurt) == ((), ())
    assert comparison.notes == ("copy: scores as the baseline does, on every topic and measure",)


def test_one_topic_alone_has_no_tests_and_that_is_said() -> None:
    comparison = compare(run(2), {"better": run(1)}, {"1": {"good": 1}}, ["RR"])
    outcome = comparison.runs[0].outcomes[0]
    assert (outcome.p_t_test, outcome.p_randomisation, outcome.p_holm) == (None, None, None)
    assert (outcome.difference, outcome.wins, comparison.family) == (0.5, 1, 0)
    zero = compare(run(None), {"better": run(1)}, {"1": {"good": 1}}, ["RR"]).runs[0].outcomes[0]
    assert (zero.baseline, zero.relative) == (0.0, None)
    assert comparison.notes == ("one topic alone is judged: the tests cannot be computed",)


def test_topics_that_do_not_fit_are_counted_in_the_notes() -> None:
    shorter = {topic_id: hits for topic_id, hits in BETTER.items() if topic_id != "2"} | {"77": BETTER["1"]}
    comparison = compare(BASELINE, {"better": shorter}, QRELS, ["RR"])
    assert comparison.runs[0].outcomes[0].losses == 1
    assert comparison.notes == (
        "better: judged topics without a hit, counted as 0: 1 of 5",
        "better: topics without a judgement, not scored: 1",
    )


def manifest(**sums: dict[str, float]) -> Manifest:
    counts, seconds, tokens = (sums.get(name, {}) for name in ("counts", "seconds", "tokens"))
    return Manifest(InputFile("a.trec", None), [], {}, {}, {}, counts, seconds, tokens, {}, "", "")  # type: ignore[arg-type]


def test_costs_are_means_of_the_manifests_topics() -> None:
    manifests = {
        "plain": manifest(counts={"topics": 5}, seconds={"search": 0.5}),
        "better": manifest(
            counts={"topics": 4}, seconds={"search": 1.0, "expand": 7.0}, tokens={"in": 100, "out": 300}
        ),
        "worse": manifest(seconds={"search": 1.0}),
    }
    comparison = compare(
        BASELINE, {"better": BETTER, "worse": WORSE}, QRELS, ["RR"], baseline_name="plain", manifests=manifests
    )
    assert comparison.baseline_cost == Cost(0.1, None)
    assert [own.cost for own in comparison.runs] == [Cost(2.0, 100.0), Cost(None, None)]


def test_the_order_of_topics_changes_nothing() -> None:
    shuffled = random.Random(1)
    many = {str(number): {"good": 1} for number in range(40)}
    ranks = [shuffled.randint(1, 5) for _ in many]
    first = dict(zip(many, run(*ranks).values(), strict=True))
    second = dict(zip(many, run(*[max(1, rank - shuffled.randint(-1, 2)) for rank in ranks]).values(), strict=True))
    order = shuffled.sample(sorted(many), len(many))
    one = compare(first, {"x": second}, many, ["RR"], seed=3)
    two = compare({t: first[t] for t in order}, {"x": second}, {t: many[t] for t in order}, ["RR"], seed=3)
    assert one.runs[0].outcomes[0].p_randomisation == two.runs[0].outcomes[0].p_randomisation
    assert one.runs[0].helped == two.runs[0].helped
    values = score_run(first, many, ["RR"]).per_topic["RR"], score_run(second, many, ["RR"]).per_topic["RR"]
    differences = [values[1][topic_id] - values[0][topic_id] for topic_id in sorted(many)]
    assert one.runs[0].outcomes[0].p_randomisation == randomisation_test(differences, 3)


@pytest.mark.parametrize(
    ("runs", "measure", "message"),
    [
        ({}, "RR", "there is no run to compare"),
        ({"baseline": BETTER}, "RR", "'baseline' is the baseline and a run"),
        ({"other": {"x": BETTER["1"]}}, "RR", "no topic of other is judged"),
        ({"better": BETTER}, "mrr", r"unknown measure 'mrr'(?s:.*)Try: MRR"),
    ],
)
def test_bad_input(runs, measure, message) -> None:
    with pytest.raises(InputError, match=message):
        compare(BASELINE, runs, QRELS, [measure])
