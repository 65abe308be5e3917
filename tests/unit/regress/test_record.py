"""Recorded values, and how they come among the regressions."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from report_runs import result, value

from expandr_ir.errors import InputError
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.record import FORMAT, Record, promote, read_records, record
from expandr_ir.regress.results import Results

RECORD = Record(
    collection="toy",
    condition="minilm",
    tier="near",
    python="3.11",
    date="2026-01-02T03:04:05+00:00",
    versions={"python": "3.11.7", "torch": "2.9"},
    generator=None,
    seed=None,
    values={"nDCG@10": 0.123449, "R@100": 0.5},
)


def live(seed, figure, generator="api:m@1"):
    values = {"nDCG@10": figure, "R@100": figure}
    return replace(RECORD, condition="hyde", tier="live", seed=seed, generator=generator, values=values)


@pytest.fixture
def promoted(tmp_path, folder):
    """Promotes records; returns the figures that are expected then, and the files written."""

    def run(*records):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"format": FORMAT, "records": [asdict(record) for record in records]}))
        written = promote(path, Regressions(folder))
        return Regressions(folder).load("toy").expected, written

    return run


def test_what_is_measured_is_recorded_and_replaced(tmp_path):
    def results(measured, condition="minilm"):
        row = result(condition, (value("nDCG@10", measured),), tmp_path, family="dense", tier="near", collection="toy")
        return Results((row,), {"python": "3.11.7", "torch": "2.9", "rich": "1"}, "2026-01-02")

    path = tmp_path / "mine.json"
    assert record(path, results(0.1)) == 1
    assert record(path, results(None, "a.x")) == 1
    assert record(path, results(0.3, "a.x")) == 2
    assert record(path, results(0.2)) == 2
    first, second = read_records(path)
    assert (first.condition, first.values) == ("minilm", {"nDCG@10": 0.2})
    assert first.versions == {"python": "3.11.7", "torch": "2.9"}
    assert (second.condition, second.values) == ("a.x", {"nDCG@10": 0.3})


def test_promoted_values_are_expected_ones_until_others_are(promoted, folder):
    other = replace(RECORD, condition="a.x", tier="exact", values={"nDCG@10": 0.7, "R@100": 0.9})
    expected, written = promoted(RECORD, other)
    assert written == {"toy": folder / "recorded" / "toy.yaml"}
    source = "recorded on 2026-01-02 with python 3.11.7, torch 2.9"
    figures = {metric: (figure.value, figure.tolerance, figure.source) for metric, figure in expected["minilm"].items()}
    assert figures == {"nDCG@10": (0.1234, 0.002, source), "R@100": (0.5, 0.002, source)}
    expected, _ = promoted(replace(RECORD, values={"nDCG@10": 0.2}))
    assert {metric: figure.value for metric, figure in expected["minilm"].items()} == {"nDCG@10": 0.2}
    assert expected["a.x"]["nDCG@10"].value == 0.7


def test_published_values_stay(promoted):
    expected, written = promoted(replace(RECORD, condition="bm25-flat", tier="exact"))
    assert (written, expected["bm25-flat"]["nDCG@10"].value) == ({}, 0.5)


def test_the_band_of_three_seeds(promoted):
    # mean .52; the farthest of .5, .51, .55 is .03 away
    figure = promoted(live(0, 0.5), live(1, 0.51), live(2, 0.55))[0]["hyde"]["nDCG@10"]
    assert (figure.value, figure.tolerance) == (0.52, 0.03)
    assert figure.source.endswith("; api:m@1, seeds 0, 1, 2")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([live(0, 0.5), live(1, 0.5)], "2 seeds of 1 generators"),
        ([live(0, 0.5), live(1, 0.5), live(2, 0.5, "api:other")], "3 seeds of 2 generators"),
        ([replace(RECORD, collection="tou")], "unknown collection 'tou'"),
        ([replace(RECORD, condition="minilmm")], "unknown condition of toy 'minilmm'"),
        ([replace(RECORD, values={"MAP": 0.1})], "unknown metric of toy 'MAP'"),
    ],
)
def test_what_is_not_promoted(promoted, folder, records, message):
    with pytest.raises(InputError, match=message):
        promoted(*records)
    assert not (folder / "recorded").exists()


@pytest.mark.parametrize("text", ["{", '{"format": "x"}', '{"format": "expandr-record/1", "records": [{}]}'])
def test_what_is_no_file_of_records(tmp_path, text):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(InputError, match=r"mine\.json"):
        read_records(tmp_path / "mine.json")
