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
BOTH = [SPARSE, DENSE]
HIGH = 3 / math.sqrt(6)  # z-scores of SPARSE: mean 9, deviation sqrt(6); of DENSE: mean .5, deviation .4, lowest -1


def scores(run: Rankings, topic_id: str = "007") -> dict[str, float]:
    return dict(zip(run[topic_id].doc_ids, run[topic_id].scores, strict=True))


@pytest.mark.parametrize(
    ("fused", "expected"),
    [
        (rrf(BOTH), {"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62}),
        (rrf(BOTH, k=0), {"a": 1.5, "c": 4 / 3, "b": 0.5}),
        (exp4fuse(BOTH), {"a": 1.2 * (1 / 61 + 1 / 62), "c": 1.2 * (1 / 63 + 1 / 61), "b": 1.1 / 62}),
        (
            exp4fuse(BOTH, weights=[2, 0.5], k=10),
            {"a": 1.2 * (2 / 11 + 0.5 / 12), "c": 1.2 * (2 / 13 + 0.5 / 11), "b": 1.1 * 2 / 12},
        ),
        (weighted(BOTH, [0.1, 0.9], "none"), {"c": 0.6 + 0.81, "a": 1.2 + 0.09, "b": 0.9}),
        (weighted(BOTH), {"a": 0.5 * 1 + 0.5 * 0, "c": 0.5 * 0 + 0.5 * 1, "b": 0.5 * 0.5}),  # a tie by document id
        (weighted(BOTH, [1, 2], "z-score"), {"c": -HIGH + 2, "a": HIGH - 2, "b": 0 - 2}),
    ],
)
def test_by_hand(fused: Rankings, expected: dict[str, float]) -> None:
    assert scores(fused) == pytest.approx(expected)
    assert fused["007"].doc_ids == list(expected)


@pytest.mark.parametrize("values", [[3.5], [0.1, 0.1, 0.1], [0.0, 0.0]])
def test_lists_without_a_spread_divide_by_nothing(values: list[float]) -> None:
    run = {"1": Hits(["x", "y", "z"][: len(values)], values)}
    assert set(weighted([run], [1], "min-max")["1"].scores) == {1.0}
    assert set(weighted([run], [1], "z-score")["1"].scores) == {0.0}


@pytest.mark.parametrize("method", ["rrf", "weighted", "exp4fuse"])
def test_fuse_keeps_every_topic_and_cuts_at_hits(method: str) -> None:
    first = {"2": Hits(["a"], [1.0]), "1": Hits(["a"], [1.0]), "empty": Hits([], [])}
    second = {"1": Hits(["b"], [1.0]), "007": Hits(["b"], [1.0]), "empty": Hits([], [])}
    fused = fuse(method, [first, second], FusionOptions(), hits=10)
    assert [(topic_id, hits.doc_ids) for topic_id, hits in fused.items()] == [
        ("2", ["a"]), ("1", ["a", "b"]), ("empty", []), ("007", ["b"]),
    ]  # fmt: skip
    assert fuse(method, [first, second], FusionOptions(), hits=1)["1"].doc_ids == ["a"]


def test_alpha_is_two_weights() -> None:
    options = FusionOptions(alpha=0.1, normalization="none")
    assert fuse("weighted", BOTH, options, 9) == weighted(BOTH, [0.1, 0.9], "none")


@pytest.mark.parametrize(
    ("method", "options", "runs", "message"),
    [
        ("rff", FusionOptions(), 2, "unknown fusion 'rff'\n.*\nTry: rrf"),
        ("rrf", FusionOptions(alpha=0.5), 2, "rrf has no weights"),
        ("rrf", FusionOptions(rrf_k=-1), 2, "k = -1"),
        ("weighted", FusionOptions(weights=[1.0]), 2, "1 weights for 2 runs"),
        ("weighted", FusionOptions(alpha=0.5, weights=[1.0, 1.0]), 2, "alpha and weights together"),
        ("weighted", FusionOptions(alpha=0.3), 3, "alpha with 3 runs"),
        ("exp4fuse", FusionOptions(weights=[1.0, math.nan]), 2, "finite"),
        ("weighted", FusionOptions(normalization="minmax"), 2, "unknown normalization"),  # type: ignore[arg-type]
    ],
)
def test_options_that_make_no_sense(method: str, options: FusionOptions, runs: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fuse(method, [SPARSE] * runs, options, hits=10)


@st.composite
def made_runs(draw: st.DrawFn, count: int) -> list[Rankings]:
    runs: list[Rankings] = []
    for _ in range(count):
        run: Rankings = {}
        for topic_id in draw(st.lists(st.sampled_from(["007", "7", "t"]), unique=True)):
            docs = draw(st.lists(st.sampled_from([f"d{n}" for n in range(12)]), unique=True, min_size=1))
            # Whole numbers: sums are exact, so that ties are the same in whatever order they are added.
            values = sorted(draw(st.lists(st.integers(-9, 9), min_size=len(docs), max_size=len(docs))), reverse=True)
            run[topic_id] = Hits(docs, [float(value) for value in values])
        runs.append(run)
    return runs


@settings(max_examples=50)
@given(made_runs(3), st.randoms(use_true_random=False))
def test_neither_the_order_of_runs_nor_other_topics_matter(runs: list[Rankings], random: Any) -> None:
    fused = rrf(runs)
    assert fused == rrf(random.sample(runs, len(runs)))
    for topic_id in fused:
        alone = [{topic_id: run[topic_id]} if topic_id in run else {} for run in runs]
        assert rrf(alone)[topic_id] == fused[topic_id]
        assert weighted(alone)[topic_id] == weighted(runs)[topic_id]


@settings(max_examples=50)
@given(made_runs(1))
def test_one_run_alone_keeps_its_order(runs: list[Rankings]) -> None:
    for fused in (rrf(runs), exp4fuse(runs)):
        assert {key: hits.doc_ids for key, hits in fused.items()} == {
            key: hits.doc_ids for key, hits in runs[0].items()
        }
    for normalization in ("none", "min-max", "z-score"):
        for topic_id, hits in weighted(runs, None, normalization).items():
            before = scores(runs[0], topic_id)
            assert [before[doc_id] for doc_id in hits.doc_ids] == runs[0][topic_id].scores


@settings(deadline=None, max_examples=20)
@given(made_runs(2).filter(all))
def test_equal_to_pyserini_fusion(runs: list[Rankings]) -> None:
    import pyserini.fusion
    from pyserini.trectools import TrecRun

    theirs = [
        TrecRun.from_list(
            [(topic_id, "Q0", hit.doc_id, hit.rank, hit.score, "t") for topic_id, hits in run.items() for hit in hits]
        )
        for run in runs
    ]
    for ours, fused in [
        (rrf(runs), pyserini.fusion.reciprocal_rank_fusion(theirs)),
        (weighted(runs, [0.25, 0.75], "none"), pyserini.fusion.interpolation(theirs, alpha=0.25)),
        (weighted(runs, None, "none"), pyserini.fusion.average(theirs)),
        (weighted(runs, [1, 1], "min-max"), pyserini.fusion.normalize(theirs)),
    ]:
        expected: dict[str, list[tuple[str, float]]] = {}
        for topic_id, _, doc_id, _, score, _ in fused.to_numpy():
            expected.setdefault(topic_id, []).append((doc_id, pytest.approx(score, abs=1e-12)))
        assert {key: list(zip(hits.doc_ids, hits.scores, strict=True)) for key, hits in ours.items()} == expected
