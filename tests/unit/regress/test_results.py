"""Verdicts computed by hand; results.json: written, read back, refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.regress.catalogue import Figure
from expandr_ir.regress.results import Result, Results, Value, judge, read_results, rounded, write_results


def value(verdict="OK", **fields):
    known = {
        "metric": "nDCG@10", "precision": 4, "measured": 0.67892, "expected": 0.6789, "tolerance": 0.0,
        "source": "Pyserini", "published": None, "published_source": None,
    }  # fmt: skip
    return Value(**known | fields, verdict=verdict)


def result(*values, **fields):
    known = {
        "collection": "scifact", "title": "SciFact", "spec": "/data/scifact", "split": "test", "condition": "bm25-flat",
        "family": "bm25", "tier": "exact", "baseline": None, "run": "scifact/bm25-flat.run", "expansions": None,
        "command": "expandr search", "pyserini": ("python -m pyserini.search.lucene",), "topics": 300, "samples": None,
        "seconds": 0.5, "prompt_tokens": None, "completion_tokens": None, "missing": 0, "empty": 0,
    }  # fmt: skip
    return Result(**known | fields, values=values)


def test_what_is_written_reads_back(tmp_path):
    results = Results((result(value(), value("FAIL", reason="0.1 lower")), result(value("NEW"))), {"python": "3"})
    assert read_results(write_results(tmp_path, results)) == results
    assert read_results(tmp_path) == results
    assert results.counts() == {"OK": 1, "OK*": 0, "FAIL": 1, "SKIP": 0, "NEW": 1}


def test_a_folder_without_results(tmp_path):
    with pytest.raises(MissingResourceError, match=r"results\.json is not there"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "holds no results"),
        ("[]", "holds no results"),
        ('{"format": "expandr-results/9"}', "has the format 'expandr-results/9'"),
        ('{"format": "expandr-results/1", "results": [{}]}', "KeyError"),
        (json.dumps({"format": "expandr-results/1", "results": []}), "KeyError: 'versions'"),
        (json.dumps(Results((result(value("GOOD")),), {}).as_json()), "the verdict 'GOOD'"),
    ],
)
def test_what_is_no_results_file(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_results(tmp_path)


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
    found = judge("nDCG@10", 4, measured, figure(expected, tolerance))
    assert (found.verdict, found.reason) == (verdict, reason)
    assert (found.measured, found.expected, found.source) == (measured, expected, "a paper")


def test_precision_is_the_metrics():
    assert judge("AP", 2, 0.344, figure(0.34)).verdict == "OK"
    assert judge("AP", 3, 0.344, figure(0.34)).verdict == "FAIL"


def test_without_a_figure_it_is_new():
    found = judge("nDCG@10", 4, 0.5, None, figure(0.6))
    assert (found.verdict, found.expected, found.published, found.published_source) == ("NEW", None, 0.6, "a paper")


def test_a_published_figure_is_never_judged():
    assert judge("nDCG@10", 4, 0.1, figure(0.1), figure(0.9)).verdict == "OK"


def test_skipped():
    found = judge("nDCG@10", 4, None, figure(0.5), skip="data not here")
    assert (found.verdict, found.reason, found.measured, found.expected) == ("SKIP", "data not here", None, 0.5)


@given(st.floats(0, 1))
def test_a_value_equals_itself_as_it_is_printed(value):
    printed = float(f"{value:.4f}")
    assert float(rounded(value, 4)) == printed
    assert judge("nDCG@10", 4, value, figure(printed)).verdict == "OK"


@given(st.integers(0, 10_000), st.integers(-300, 300), st.integers(0, 300))
def test_the_tolerance_is_met_to_the_last_digit(expected, difference, tolerance):
    found = judge("nDCG@10", 4, (expected + difference) / 10_000, figure(expected / 10_000, tolerance / 10_000))
    wanted = "OK" if difference == 0 else "OK*" if abs(difference) <= tolerance else "FAIL"
    assert found.verdict == wanted
