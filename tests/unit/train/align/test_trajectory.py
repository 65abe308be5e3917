"""Residuals by hand, and the recorded trajectories as files."""

from __future__ import annotations

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


def test_residuals_by_hand():
    expected, measured = [1.0, 2.0], [1.0, 2.2]
    figure = compare(expected, measured, Tolerance(max=0.11, mean=0.06))
    assert (figure.max, figure.mean) == (pytest.approx(0.1), pytest.approx(0.05))
    assert figure.passed
    assert not compare(expected, measured, Tolerance(max=0.09, mean=0.06)).passed
    assert not compare(expected, measured, Tolerance(max=0.11, mean=0.04)).passed


def test_nan_is_a_failure():
    assert not compare([1.0], [float("nan")], Tolerance(max=1.0, mean=1.0)).passed


def test_other_numbers_of_steps_are_an_error():
    with pytest.raises(ExpandrError, match="1 steps, and 2"):
        compare([1.0, 2.0], [1.0], Tolerance(max=1.0, mean=1.0))


def test_recording_takes_the_place_of_the_reference(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: t\nabout: a\ncommand: [dpo]\nways: {one: {options: []}}\ntolerance: {max: 0.1, mean: 0.1}\n"
    )
    for value in (1.0, 2.0):
        record(path, "one", {"loss": [value], "grad_norm": [3.0]})
    found = load_trajectory(path)
    assert (found.recorded.loss, found.recorded.grad_norm, found.recorded.way) == ([2.0], [3.0], "one")
    assert path.read_text().count("recorded:") == 1
    assert "torch" in found.recorded.versions


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match="Try: dpo-tiny"):
        trajectory_path("dpo-tyny")


def test_an_input_that_nobody_makes_is_an_error(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: t\nabout: a\ncommand: [dpo, '--model={modle}']\nways: {one: {options: []}}\n"
        "tolerance: {max: 0.1, mean: 0.1}\n"
    )
    with pytest.raises(InputError, match="Try: model"):
        load_trajectory(path)
