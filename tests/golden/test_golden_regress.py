"""What every regression that needs no encoder comes to: condition and metric -> verdict and figure."""

from __future__ import annotations

import json
import shlex

import pytest

pytestmark = [pytest.mark.java, pytest.mark.timeout(1800)]

QUICK = ("demo",)
SLOW = ("cacm", "cranfield", "scifact", "dl19-pool", "dl20-pool")


@pytest.fixture
def regress(expandr, test_data):
    def run(*argv):
        where = ["--data", test_data, "--expansions", test_data / "expansions", "--output", "out"]
        return expandr("regress", *argv, *where).out

    return run


@pytest.mark.parametrize("collection", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_verdicts(regress, golden, collection):
    some = ["--condition", "demo-bm25", "--condition", "demo-append"] if collection == "demo" else ["--tier", "exact"]
    told = json.loads(regress("--collection", collection, *some, "--format", "json"))
    got = {}
    for one in told["results"]:
        for value in one["values"]:
            # Each version of Python documents other modules: the demo's figures have a band.
            figure = None if value["measured"] is None or collection == "demo" else round(value["measured"], 4)
            got[f"{one['condition']} {value['metric']}"] = [value["verdict"], figure]
    golden.check("verdicts", collection, got)


def test_known_figures(expandr, golden):
    """Every condition of every collection, with the figures that are expected and published."""
    listed: dict[str, dict] = {}
    for one in json.loads(expandr("regress", "--list", "--format", "json").out):
        expected = {metric: [known["value"], known["tolerance"]] for metric, known in one["expected"].items()}
        published = {metric: known["value"] for metric, known in one["published"].items()}
        listed.setdefault(one["collection"], {})[one["condition"]] = [one["tier"], expected, published]
    for collection, conditions in listed.items():
        golden.check("figures", collection, conditions)
    if len(listed) < 30:
        raise AssertionError(sorted(listed))


def test_printed_commands(regress, golden, test_data):
    """The commands that give each run, Pyserini's too."""
    told = regress("--collection", "scifact", "--collection", "cacm", "--commands").replace(str(test_data), "DATA")
    lines = [line.split("#")[0].strip() for line in told.splitlines()]
    commands = [" ".join(word.rsplit("/", 1)[-1] for word in shlex.split(line)) for line in lines if line]
    golden.check("verdicts", "commands", commands)
