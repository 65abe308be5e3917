"""Recorded values, and how they come among the regressions."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from expandr_ir.errors import InputError
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.record import FORMAT, Record, promote, read_records, record
from expandr_ir.regress.results import Result, Results, Value

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


def write(path, *records):
    path.write_text(json.dumps({"format": FORMAT, "records": [asdict(one) for one in records]}))
    return path


def live(seed, value, generator="api:m@1"):
    values = {"nDCG@10": value, "R@100": value}
    return replace(RECORD, condition="hyde", tier="live", seed=seed, generator=generator, values=values)


def test_what_is_measured_is_recorded_and_replaced(tmp_path):
    def results(measured, condition="minilm"):
        values = (
            Value(
                metric="nDCG@10", precision=4, measured=measured, expected=None, tolerance=0, source=None,
                published=None, published_source=None, verdict="NEW",
            ),
        )  # fmt: skip
        one = Result(
            collection="toy", title="", spec="", split=None, condition=condition, family="dense", tier="near",
            baseline=None, run=None, expansions=None, command="", pyserini=(), topics=1, samples=None, seconds=None,
            prompt_tokens=None, completion_tokens=None, missing=0, empty=0, values=values,
        )  # fmt: skip
        return Results((one,), {"python": "3.11.7", "torch": "2.9", "rich": "1"}, "2026-01-02")

    path = tmp_path / "mine.json"
    assert record(path, results(0.1)) == 1
    assert record(path, results(None, "a.x")) == 1
    assert record(path, results(0.3, "a.x")) == 2
    assert record(path, results(0.2)) == 2
    first, second = read_records(path)
    assert (first.condition, first.values) == ("minilm", {"nDCG@10": 0.2})
    assert first.versions == {"python": "3.11.7", "torch": "2.9"}
    assert (second.condition, second.values) == ("a.x", {"nDCG@10": 0.3})


def test_promoted_values_are_expected_ones(tmp_path, folder):
    regressions = Regressions(folder)
    written = promote(write(tmp_path / "mine.json", RECORD), regressions)
    assert written == {"toy": folder / "recorded" / "toy.yaml"}
    found = Regressions(folder).load("toy").expected["minilm"]
    assert {name: one.value for name, one in found.items()} == {"nDCG@10": 0.1234, "R@100": 0.5}
    assert {one.tolerance for one in found.values()} == {0.002}
    assert {one.source for one in found.values()} == {"recorded on 2026-01-02 with python 3.11.7, torch 2.9"}


def test_promoting_again_replaces_and_keeps(tmp_path, folder):
    other = replace(RECORD, condition="a.x", tier="exact", values={"nDCG@10": 0.7, "R@100": 0.9})
    promote(write(tmp_path / "1.json", RECORD, other), Regressions(folder))
    promote(write(tmp_path / "2.json", replace(RECORD, values={"nDCG@10": 0.2})), Regressions(folder))
    expected = Regressions(folder).load("toy").expected
    assert {name: one.value for name, one in expected["minilm"].items()} == {"nDCG@10": 0.2}
    assert expected["a.x"]["nDCG@10"].value == 0.7


def test_published_values_stay(tmp_path, folder):
    own = replace(RECORD, condition="bm25-flat", tier="exact", values={"nDCG@10": 0.1, "R@100": 0.2})
    assert promote(write(tmp_path / "mine.json", own), Regressions(folder)) == {}
    assert Regressions(folder).load("toy").expected["bm25-flat"]["nDCG@10"].value == 0.5


def test_the_band_of_three_seeds(tmp_path, folder):
    # mean .52; the farthest of .5, .51, .55 is .03 away
    promote(write(tmp_path / "mine.json", live(0, 0.5), live(1, 0.51), live(2, 0.55)), Regressions(folder))
    found = Regressions(folder).load("toy").expected["hyde"]["nDCG@10"]
    assert (found.value, found.tolerance) == (0.52, 0.03)
    assert found.source.endswith("; api:m@1, seeds 0, 1, 2")


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
def test_what_is_not_promoted(tmp_path, folder, records, message):
    with pytest.raises(InputError, match=message):
        promote(write(tmp_path / "mine.json", *records), Regressions(folder))
    assert not (folder / "recorded").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "x"}', '{"format": "expandr-record/1", "records": [{}]}'])
def test_what_is_no_file_of_records(tmp_path, text):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(InputError, match=r"mine\.json"):
        read_records(tmp_path / "mine.json")
