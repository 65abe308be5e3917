"""Verdicts computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.regress.spec import Figure, Metric
from expandr_ir.regress.verdict import judge, rounded, skipped

NDCG = Metric("nDCG@10", 4, "-c -m ndcg_cut.10")


def figure(value, tolerance=0.0):
    return Figure(value, tolerance, "a paper")


@pytest.mark.parametrize(
    ("measured", "expected", "tolerance", "verdict", "reason"),
    [
        (0.67894, 0.6789, 0.0, "OK", ""),
        (0.67886, 0.6789, 0.0, "OK", ""),
        (0.67896, 0.6789, 0.0, "FAIL", "0.0001 higher than 0.6789"),
        (0.67884, 0.6789, 0.0, "FAIL", "0.0001 lower than 0.6789"),
        (0.7, 0.7, 0.0, "OK", ""),
        (0.6461, 0.6451, 0.001, "OK*", ""),
        (0.6441, 0.6451, 0.001, "OK*", ""),
        (0.64514, 0.6451, 0.001, "OK", ""),
        (0.64616, 0.6451, 0.001, "FAIL", "0.0011 higher than 0.6451, tolerance 0.001"),
        (0.64394, 0.6451, 0.001, "FAIL", "0.0012 lower than 0.6451, tolerance 0.001"),
        (1.0, 1.0, 0.0, "OK", ""),
        (0.0, 0.0, 0.0, "OK", ""),
    ],
)
def test_verdicts(measured, expected, tolerance, verdict, reason):
    found = judge(NDCG, measured, figure(expected, tolerance))
    assert (found.verdict, found.reason) == (verdict, reason)
    assert (found.measured, found.expected, found.source) == (measured, expected, "a paper")


def test_precision_is_the_metrics():
    assert judge(Metric("AP", 2, ""), 0.344, figure(0.34)).verdict == "OK"
    assert judge(Metric("AP", 3, ""), 0.344, figure(0.34)).verdict == "FAIL"


def test_without_a_figure_it_is_new():
    found = judge(NDCG, 0.5, None, figure(0.6))
    assert (found.verdict, found.expected, found.published, found.published_source) == ("NEW", None, 0.6, "a paper")


def test_a_published_figure_is_never_judged():
    assert judge(NDCG, 0.1, figure(0.1), figure(0.9)).verdict == "OK"


def test_skipped():
    found = skipped(NDCG, "data not here", figure(0.5))
    assert (found.verdict, found.reason, found.measured, found.expected) == ("SKIP", "data not here", None, 0.5)


@given(st.floats(0, 1))
def test_a_value_equals_itself_as_it_is_printed(value):
    printed = float(f"{value:.4f}")
    assert float(rounded(value, 4)) == printed
    assert judge(NDCG, value, figure(printed)).verdict == "OK"


@given(st.integers(0, 10_000), st.integers(-300, 300), st.integers(0, 300))
def test_the_tolerance_is_met_to_the_last_digit(expected, difference, tolerance):
    found = judge(NDCG, (expected + difference) / 10_000, figure(expected / 10_000, tolerance / 10_000))
    wanted = "OK" if difference == 0 else "OK*" if abs(difference) <= tolerance else "FAIL"
    assert found.verdict == wanted
