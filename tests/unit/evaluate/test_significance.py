"""Paired tests and Holm's correction against values by hand and against scipy.stats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.evaluate.significance import RESAMPLES, holm, randomisation_test, t_test


def test_t_test_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt(3), and with 2 degrees p = 1 - t / sqrt(t^2 + 2)."""
    t = 2 * math.sqrt(3)
    assert t_test([1, 2, 3]) == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert t_test([1, 2, 3]) == pytest.approx(0.0741799)


@given(st.lists(st.integers(-20, 20), min_size=3, max_size=30).filter(lambda values: len(set(values)) > 1))
def test_t_test_is_scipys(values: list[int]) -> None:
    assert t_test(values) == pytest.approx(scipy.stats.ttest_rel(values, [0] * len(values)).pvalue)


@pytest.mark.parametrize(
    ("differences", "p_t_test", "p_randomisation"),
    [([0.0] * 3, 1.0, 1.0), ([0.5], None, None), ([], None, None), ([0.5, 0.5], 0.0, 0.5), ([-1.0, 1.0], 1.0, 1.0)],
)
def test_edges(differences: list[float], p_t_test: float | None, p_randomisation: float | None) -> None:
    assert t_test(differences) == p_t_test
    assert randomisation_test(differences, seed=0) == p_randomisation


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 1], 2 / 4),
        ([1, 2, 3], 2 / 8),
        ([3, -1], 4 / 4),
        ([4, 3, -1], 4 / 8),
        ([1, 2, 3, 0, 0], 2 / 8),
        ([0.1, 0.2, 0.3, -0.3, -0.2, -0.1], 1.0),
    ],
)
def test_every_flip_of_few_topics_by_hand(differences: list[float], p: float) -> None:
    assert randomisation_test(differences, seed=0) == p


def test_random_flips_come_near_the_exact_p() -> None:
    differences = list(np.random.default_rng(1).normal(0.1, 0.2, 13))
    exact = randomisation_test(differences, seed=0)
    options = {"permutation_type": "samples", "n_resamples": np.inf, "vectorized": True}
    doubled = scipy.stats.permutation_test((np.array([*differences, 1e-12]),), np.mean, **options).pvalue
    sampled = randomisation_test([*differences, 1e-12], seed=0)
    assert exact == pytest.approx(doubled, abs=1e-3)
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / RESAMPLES))


def test_the_seed_decides_and_the_smallest_p_is_one_in_resamples() -> None:
    differences = [0.1 + 0.001 * at for at in range(60)]
    assert randomisation_test(differences, seed=1) == 1 / (RESAMPLES + 1)
    noisy = [(-1) ** at * at / 50 + 0.05 for at in range(60)]
    assert randomisation_test(noisy, seed=1) == randomisation_test(noisy, seed=1)
    assert randomisation_test(noisy, seed=1) != randomisation_test(noisy, seed=2)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.5, "b": None, "c": 0.9}) == {"a": 1.0, "b": None, "c": 1.0}
    assert holm({"a": 0.04}) == {"a": 0.04}
    assert holm({}) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_lowers_a_p(values: list[float]) -> None:
    corrected = [p for p in holm(dict(enumerate(values))).values() if p is not None]
    assert all(before <= after <= 1 for before, after in zip(values, corrected, strict=True))
    order = np.argsort(values, kind="stable")
    assert all(np.diff(np.array(corrected)[order]) >= 0)
