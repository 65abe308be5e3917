"""results.json: written, read back, refused."""

from __future__ import annotations

import json

import pytest

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.regress.results import Result, Value, make_results, read_results, write_results


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
    results = make_results([result(value(), value("FAIL", reason="0.1 lower")), result(value("NEW"))], {"python": "3"})
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
    ],
)
def test_what_is_no_results_file(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_results(tmp_path)
