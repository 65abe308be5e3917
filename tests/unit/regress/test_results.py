"""Verdicts computed by hand; results.json: written, read back, refused."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import result, value

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.regress.catalogue import Figure
from expandr_ir.regress.results import Results, judge, read_results, rounded, write_results


def results(*verdicts):
    values = tuple(value("nDCG@10", 0.67892, 0.6789, verdict=verdict, reason="why") for verdict in verdicts)
    return Results((result("bm25", values, "/data", pyserini=("python -m pyserini.search.lucene",)),), {"python": "3"})


def test_what_is_written_reads_back(tmp_path):
    with pytest.raises(MissingResourceError, match=r"results\.json is not there"):
        read_results(tmp_path)
    written = results("OK", "FAIL", "NEW")
    assert read_results(write_results(tmp_path, written)) == read_results(tmp_path) == written
    assert written.counts() == {"OK": 1, "OK*": 0, "FAIL": 1, "SKIP": 0, "NEW": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "names no format"),
        ('{"format": "expandr-results/9"}', "has the format 'expandr-results/9'"),
        ('{"format": "expandr-results/1", "results": [{}], "versions": {}}', "no key 'collection'"),
        (json.dumps({"format": "expandr-results/1", "results": []}), "no key 'versions'"),
        (json.dumps(results("GOOD").as_json()), "unknown verdict 'GOOD'"),
    ],
)
def test_what_is_no_results_file(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=rf"results\.json.*{message}"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("measured", '"high"', "'measured' is 'high'\nExpected: a number"),
        ("measured", "NaN", "'measured' is nan"),
        ("expected", "Infinity", "'expected' is inf"),
        ("precision", '"4"', "'precision' is '4'"),
        ("precision", "-1", "the precision of tiny/bm25's nDCG@10 is -1"),
        ("precision", "1000000000", "the precision of tiny/bm25's nDCG@10 is 1000000000"),
        ("tolerance", "true", "'tolerance' is True"),
        ("verdict", '["OK"]', "'verdict' is a list"),
        ("collection", '["tiny"]', "'collection' is a list\nExpected: text"),
        ("condition", "{}", "'condition' is a mapping"),
        ("topics", "1.5", "'topics' is 1.5"),
        ("seconds", '"1.0"', "'seconds' is '1.0'"),
        ("pyserini", "[1]", "'pyserini' is 1"),
        ("values", "[]", "tiny/bm25 has no values"),
        ("values", "{}", "'values' is a mapping"),
        ("versions", "[]", "'versions' is a list"),
        ("date", "2026", "'date' is 2026"),
        ("note", '""', "unknown key 'note'"),
    ],
)
def test_results_of_wrong_types(tmp_path, field, value, message):
    data = results("OK").as_json()
    row = data["results"][0]
    place = next((part for part in (row["values"][0], row, data) if field in part), row)
    place[field] = "HERE"
    (tmp_path / "results.json").write_text(json.dumps(data).replace('"HERE"', value))
    with pytest.raises(InputError, match=rf"results\.json: {re.escape(message)}"):
        read_results(tmp_path)


def test_a_condition_is_there_once_and_may_have_any_name(tmp_path):
    one = results("OK").results[0]
    odd = result("(", one.values, "/data")
    assert read_results(write_results(tmp_path, Results((one, odd), {}))).results[1].condition == "("
    write_results(tmp_path, Results((one, one), {}))
    with pytest.raises(InputError, match="tiny/bm25 is there a second time"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("precision", "measured", "expected", "tolerance", "verdict", "reason"),
    [
        (4, 0.67894, 0.6789, 0.0, "OK", ""),
        (4, 0.67886, 0.6789, 0.0, "OK", ""),
        (4, 0.67896, 0.6789, 0.0, "FAIL", "0.0001 higher than 0.6789"),
        (4, 0.67884, 0.6789, 0.0, "FAIL", "0.0001 lower than 0.6789"),
        (4, 0.6461, 0.6451, 0.001, "OK*", ""),
        (4, 0.6441, 0.6451, 0.001, "OK*", ""),
        (4, 0.64514, 0.6451, 0.001, "OK", ""),
        (4, 0.64616, 0.6451, 0.001, "FAIL", "0.0011 higher than 0.6451, tolerance 0.001"),
        (4, 0.64394, 0.6451, 0.001, "FAIL", "0.0012 lower than 0.6451, tolerance 0.001"),
        (4, 1.0, 1.0, 0.0, "OK", ""),
        (4, 0.0, 0.0, 0.0, "OK", ""),
        (2, 0.344, 0.34, 0.0, "OK", ""),
        (3, 0.344, 0.34, 0.0, "FAIL", "0.004 higher than 0.340"),
        (4, None, 0.5, 0.0, "SKIP", "data not here"),
        (4, 0.5, None, 0.0, "NEW", "no figure is known yet"),
    ],
)
def test_verdicts(precision, measured, expected, tolerance, verdict, reason):
    figure = None if expected is None else Figure(expected, tolerance, "a paper")
    judged = judge("nDCG@10", precision, measured, figure, Figure(0.99, 0.0, "another"), skip="data not here")
    assert (judged.verdict, judged.reason, judged.measured, judged.expected) == (verdict, reason, measured, expected)
    assert (judged.source, judged.published, judged.published_source) == (figure and "a paper", 0.99, "another")


@given(st.floats(0, 1))
def test_a_value_equals_itself_as_it_is_printed(measured):
    printed = float(f"{measured:.4f}")
    assert float(rounded(measured, 4)) == printed
    assert judge("nDCG@10", 4, measured, Figure(printed, 0.0, "")).verdict == "OK"


@given(st.integers(0, 10_000), st.integers(-300, 300), st.integers(0, 300))
def test_the_tolerance_is_met_to_the_last_digit(expected, difference, tolerance):
    figure = Figure(expected / 10_000, tolerance / 10_000, "")
    wanted = "OK" if difference == 0 else "OK*" if abs(difference) <= tolerance else "FAIL"
    assert judge("nDCG@10", 4, (expected + difference) / 10_000, figure).verdict == wanted
