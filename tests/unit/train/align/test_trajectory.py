"""Residuals by hand, and the recorded trajectories as files."""

from __future__ import annotations

import math

import pytest

from expandr_ir.config import TRAINING, regressions_dir
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.train.align.trajectory import Tolerance, compare, load_trajectory, record, trajectory_path

FILES = sorted((regressions_dir() / TRAINING).glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_and_has_a_reference(path):
    assert trajectory_path(path.stem) == path
    found = load_trajectory(path)
    assert found.tier == "training"
    assert len(found.recorded.loss) == len(found.recorded.grad_norm) >= 10
    assert found.recorded.way in found.ways
    assert compare(found.recorded.loss, found.recorded.loss, found.tolerance).passed


def test_there_are_some_and_they_are_no_collections():
    assert FILES
    assert not {path.stem for path in FILES} & Regressions().files.keys()


@pytest.mark.parametrize(
    ("measured", "tolerance", "passed"),
    [
        ([1.0, 2.2], Tolerance(max=0.11, mean=0.06), True),
        ([1.0, 2.2], Tolerance(max=0.09, mean=0.06), False),
        ([1.0, 2.2], Tolerance(max=0.11, mean=0.04), False),
        ([1.0, float("nan")], Tolerance(max=9.0, mean=9.0), False),
    ],
)
def test_residuals_by_hand(measured, tolerance, passed):
    figure = compare([1.0, 2.0], measured, tolerance)
    assert figure.passed is passed
    expected = (math.inf, math.inf) if math.isnan(measured[1]) else (pytest.approx(0.1), pytest.approx(0.05))
    assert (figure.max, figure.mean) == expected


def test_other_numbers_of_steps_are_an_error():
    with pytest.raises(ExpandrError, match="1 steps, and 2"):
        compare([1.0, 2.0], [1.0], Tolerance(max=1.0, mean=1.0))


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    text = "title: t\nabout: a\ncommand: [dpo]\nways: {one: {options: []}}\ntolerance: {max: 0.1, mean: 0.1}\n"
    path.write_text(text)
    return path


def test_recording_takes_the_place_of_the_reference(mine):
    for value in (1.0, 2.0):
        record(mine, "one", {"loss": [value], "grad_norm": [3.0]})
    recorded = load_trajectory(mine).recorded
    assert (recorded.loss, recorded.grad_norm, recorded.way) == ([2.0], [3.0], "one")
    assert mine.read_text().count("recorded:") == 1
    assert "torch" in recorded.versions


def test_unknown_names_suggest_the_nearest(mine):
    with pytest.raises(InputError, match="Try: dpo-tiny"):
        trajectory_path("dpo-tyny")
    mine.write_text(mine.read_text().replace("[dpo]", "[dpo, '--model={modle}']"))
    with pytest.raises(InputError, match=r"line 3: unknown placeholder(?s:.*)Try: \{model\}"):
        load_trajectory(mine)
