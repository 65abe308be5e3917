"""Fusion: formulas by hand, what Pyserini gives, and what must not matter."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.records import Hits, Rankings
from expandr_ir.retrievers.fusion import FusionOptions, exp4fuse, fuse, rrf, weighted

SPARSE: Rankings = {"007": Hits(["a", "b", "c"], [12.0, 9.0, 6.0])}
DENSE: Rankings = {"007": Hits(["c", "a"], [0.9, 0.1])}


def scores(run: Rankings, topic_id: str = "007") -> dict[str, float]:
    return dict(zip(run[topic_id].doc_ids, run[topic_id].scores, strict=True))


def test_rrf_adds_reciprocal_ranks() -> None:
    fused = rrf([SPARSE, DENSE])
    assert scores(fused) == pytest.approx({"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62})
    assert fused["007"].doc_ids == ["a", "c", "b"]
    assert scores(rrf([SPARSE, DENSE], k=0)) == pytest.approx({"a": 1.5, "c": 4 / 3, "b": 0.5})


def test_exp4fuse_rewards_documents_that_several_routes_found() -> None:
    fused = exp4fuse([SPARSE, DENSE])
    expected = {"a": 1.2 * (1 / 61 + 1 / 62), "c": 1.2 * (1 / 63 + 1 / 61), "b": 1.1 / 62}
    assert scores(fused) == pytest.approx(expected)
    assert scores(exp4fuse([SPARSE, DENSE], weights=[2, 0.5], k=10)) == pytest.approx(
        {"a": 1.2 * (2 / 11 + 0.5 / 12), "c": 1.2 * (2 / 13 + 0.5 / 11), "b": 1.1 * 2 / 12}
    )


def test_weighted_without_normalization_is_a_sum_of_scores() -> None:
    fused = weighted([SPARSE, DENSE], [0.1, 0.9], "none")
    assert scores(fused) == pytest.approx({"a": 1.2 + 0.09, "b": 0.9, "c": 0.6 + 0.81})
    assert fused["007"].doc_ids == ["c", "a", "b"]


def test_weighted_min_max_puts_each_list_between_0_and_1() -> None:
    fused = weighted([SPARSE, DENSE])
    assert scores(fused) == pytest.approx({"a": 0.5 * 1 + 0.5 * 0, "b": 0.5 * 0.5, "c": 0.5 * 0 + 0.5 * 1})
    assert fused["007"].doc_ids == ["a", "c", "b"], "ties by document id"


def test_weighted_z_score_gives_the_lowest_to_documents_that_a_list_lacks() -> None:
    # sparse: mean 9, deviation sqrt(6); dense: mean .5, deviation .4, lowest -1.
    high = 3 / math.sqrt(6)
    fused = weighted([SPARSE, DENSE], [1, 2], "z-score")
    assert scores(fused) == pytest.approx({"a": high - 2, "b": 0 - 2, "c": -high + 2})


@pytest.mark.parametrize("values", [[3.5], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_lists_without_a_spread_divide_by_nothing(values: list[float]) -> None:
    run = {"1": Hits(["x", "y", "z"][: len(values)], values)}
    assert set(weighted([run], [1], "min-max")["1"].scores) == {1.0}
    assert set(weighted([run], [1], "z-score")["1"].scores) == {0.0}


@pytest.mark.parametrize("method", ["rrf", "weighted", "exp4fuse"])
def test_fuse_keeps_every_topic_and_counts_the_incomplete_ones(method: str) -> None:
    first = {"2": Hits(["a"], [1.0]), "1": Hits(["a"], [1.0]), "empty": Hits([], [])}
    second = {"1": Hits(["b"], [1.0]), "007": Hits(["b"], [1.0]), "empty": Hits([], [])}
    fused = fuse(method, [first, second], FusionOptions(), hits=10)
    assert list(fused.run) == ["2", "1", "empty", "007"]
    assert fused.counts == {"topics": 4, "topics_without_hits_in_a_run": 3}
    assert fused.run["1"].doc_ids == ["a", "b"]
    assert not len(fused.run["empty"])


def test_fuse_cuts_at_hits_and_takes_alpha_as_two_weights() -> None:
    cut = fuse("rrf", [SPARSE, DENSE], FusionOptions(), hits=2).run
    assert cut["007"].doc_ids == ["a", "c"]
    options = FusionOptions(alpha=0.1, normalization="none")
    assert fuse("weighted", [SPARSE, DENSE], options, 9).run == weighted([SPARSE, DENSE], [0.1, 0.9], "none")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("rff", FusionOptions(), "unknown fusion 'rff'\n.*\nTry: rrf"),
        ("rrf", FusionOptions(alpha=0.5), "rrf has no weights"),
        ("rrf", FusionOptions(rrf_k=-1), "k = -1"),
        ("weighted", FusionOptions(weights=[1.0]), "1 weights for 2 runs"),
        ("weighted", FusionOptions(alpha=0.5, weights=[1.0, 1.0]), "alpha and weights together"),
        ("exp4fuse", FusionOptions(weights=[1.0, math.nan]), "finite"),
        ("weighted", FusionOptions(normalization="minmax"), "unknown normalization"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(method: str, options: FusionOptions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fuse(method, [SPARSE, DENSE], options, hits=10)


def test_fuse_wants_two_runs() -> None:
    with pytest.raises(InputError, match="two or more"):
        fuse("rrf", [SPARSE], FusionOptions(), hits=10)
    with pytest.raises(InputError, match="alpha with 3 runs"):
        fuse("weighted", [SPARSE, DENSE, DENSE], FusionOptions(alpha=0.3), hits=10)
    with pytest.raises(InputError, match="no runs"):
        rrf([])


@st.composite
def runs(draw: st.DrawFn, count: int | None = None) -> list[Rankings]:
    made: list[Rankings] = []
    for _ in range(count or draw(st.integers(1, 4))):
        run: Rankings = {}
        for topic_id in draw(st.lists(st.sampled_from(["007", "7", "t"]), unique=True)):
            docs = draw(st.lists(st.sampled_from([f"d{n}" for n in range(12)]), unique=True, min_size=1))
            # Whole numbers: sums are exact, so that ties are the same in whatever order they are added.
            values = sorted(draw(st.lists(st.integers(-9, 9), min_size=len(docs), max_size=len(docs))), reverse=True)
            run[topic_id] = Hits(docs, [float(value) for value in values])
        made.append(run)
    return made


@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_matter_to_rrf(made: list[Rankings], random: Any) -> None:
    shuffled = random.sample(made, len(made))
    assert rrf(made) == rrf(shuffled)


@given(runs(count=1))
def test_one_run_alone_keeps_its_order(made: list[Rankings]) -> None:
    for fused in (rrf(made), exp4fuse(made)):
        assert {topic_id: hits.doc_ids for topic_id, hits in fused.items()} == {
            topic_id: hits.doc_ids for topic_id, hits in made[0].items()
        }
    for normalization in ("none", "min-max", "z-score"):
        for topic_id, hits in weighted(made, None, normalization).items():
            old = scores(made[0], topic_id)
            assert [old[doc_id] for doc_id in hits.doc_ids] == made[0][topic_id].scores


@given(runs(count=3))
def test_topics_are_fused_each_by_itself(made: list[Rankings]) -> None:
    for topic_id in set().union(*made):
        alone = [{topic_id: run[topic_id]} if topic_id in run else {} for run in made]
        assert rrf(alone)[topic_id] == rrf(made)[topic_id]
        assert weighted(alone)[topic_id] == weighted(made)[topic_id]


@settings(deadline=None, max_examples=20)
@given(runs(count=2).filter(all))
def test_equal_to_pyserini_fusion(made: list[Rankings]) -> None:
    import pyserini.fusion
    from pyserini.trectools import TrecRun

    rows = [
        [(topic_id, "Q0", hit.doc_id, hit.rank, hit.score, "t") for topic_id, hits in run.items() for hit in hits]
        for run in made
    ]
    theirs = [TrecRun.from_list(lines) for lines in rows]
    for ours, fused in [
        (rrf(made), pyserini.fusion.reciprocal_rank_fusion(theirs)),
        (weighted(made, [0.25, 0.75], "none"), pyserini.fusion.interpolation(theirs, alpha=0.25)),
        (weighted(made, None, "none"), pyserini.fusion.average(theirs)),
        (weighted(made, [1, 1], "min-max"), pyserini.fusion.normalize(theirs)),
    ]:
        expected: dict[str, list[tuple[str, float]]] = {}
        for topic_id, _, doc_id, _, score, _ in fused.to_numpy():
            expected.setdefault(topic_id, []).append((doc_id, score))
        assert {topic_id: list(zip(hits.doc_ids, hits.scores, strict=True)) for topic_id, hits in ours.items()} == {
            topic_id: [(doc_id, pytest.approx(score, abs=1e-12)) for doc_id, score in pairs]
            for topic_id, pairs in expected.items()
        }
