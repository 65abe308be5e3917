"""Published figures, to 4 decimals, through the commands that a user types."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from expandr_ir.regress.catalogue import Regressions

pytestmark = pytest.mark.java


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "expected.tsv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def scores(expandr, run, *options) -> dict[str, float]:
    """Measure -> mean, rounded as tables are."""
    told = json.loads(expandr("evaluate", *options, "--format", "json", run).out)
    (run,) = told.values()
    return {measure: round(value, 4) for measure, value in run["means"].items()}


def test_every_published_row_is_a_figure_of_the_regression(test_data):
    expected = Regressions().load("scifact").expected
    every = rows(test_data / "expansions" / "scifact")
    assert len(every) == 20
    for row in every:
        known = expected[row["file"].removesuffix(".jsonl.gz")]
        assert known["nDCG@10"].value == float(row["bm25_nDCG@10"])
        assert known["R@100"].value == float(row["bm25_R@100"])


@pytest.mark.parametrize("name", ["query2doc-zs.gpt-4.1", "query2doc-fs.Qwen2.5-7B-Instruct"])
def test_what_was_searched_is_the_topic_repeated_and_the_expansion(expandr, test_data, name):
    scifact, expansions = test_data / "beir" / "scifact", test_data / "expansions" / "scifact" / f"{name}.jsonl.gz"
    (row,) = [row for row in rows(expansions.parent) if row["file"] == expansions.name]
    published = {"nDCG@10": float(row["bm25_nDCG@10"]), "R@100": float(row["bm25_R@100"])}
    got = {}
    for kind, options in {
        "searched": ("--topics", expansions, "--topics-field", "searched"),
        "row": ("--expansions", expansions, "--aggregation", "repeat", "--repeats", "row"),
        "5": ("--expansions", expansions, "--aggregation", "repeat", "--repeats", "5"),
    }.items():
        expandr("search", "--collection", scifact, *options, "--output", f"{kind}.run")
        got[kind] = scores(expandr, f"{kind}.run", "--collection", scifact, "-m", "nDCG@10", "-m", "R@100")
    assert got["searched"] == got["row"] == published
    # A few rows were searched with the topic six times; one judged document more at rank 100 is .0033 of recall.
    assert got["5"] == pytest.approx(published, abs=0.0034)
    assert got["5"]["nDCG@10"] == pytest.approx(published["nDCG@10"], abs=0.001)


def test_one_command_compares_what_an_llm_wrote_with_the_baseline(expandr, test_data):
    scifact, expansions = test_data / "beir" / "scifact", test_data / "expansions" / "scifact" / "mugi.gpt-4.1.jsonl.gz"
    expandr("search", "--collection", scifact, "--output", "bm25.run")
    expandr("search", "--collection", scifact, "--expansions", expansions, "--output", "mugi.run")
    told = expandr("compare", "--collection", scifact, "--baseline", "bm25.run", "--format", "json", "mugi.run").out
    (run,) = json.loads(told)["runs"]
    outcome = run["outcomes"][0]
    assert outcome["difference"] > 0.04
    assert outcome["p_holm"] < 0.001
    assert len(run["helped"]) == len(run["hurt"]) == 3
    assert all(change["expansions"] for change in (*run["helped"], *run["hurt"]))
