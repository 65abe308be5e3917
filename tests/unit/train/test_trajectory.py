"""Residuals by hand, and the recorded trajectories as files."""

from __future__ import annotations

import pytest

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.regress.files import TRAINING, collection_files, regressions_dir
from expandr_ir.train.trajectory import QUANTITIES, Tolerance, load_trajectory, record, residuals

FILES = sorted((regressions_dir() / TRAINING).glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_and_has_a_reference(path):
    found = load_trajectory(path.stem)
    assert found.tier == "training"
    assert len(found.recorded.loss) == len(found.recorded.grad_norm) >= 10
    assert found.recorded.way in found.ways
    reference = {name: getattr(found.recorded, name) for name in QUANTITIES}
    assert residuals(reference, reference, found.tolerance).passed


def test_there_are_some_and_they_are_no_collections():
    assert FILES
    assert not {path.stem for path in FILES} & collection_files(regressions_dir()).keys()


def test_residuals_by_hand():
    found, reference = {"loss": [1.0, 2.2]}, {"loss": [1.0, 2.0]}
    result = residuals(found, reference, Tolerance(max=0.11, mean=0.06))
    assert result.max["loss"] == pytest.approx(0.1)
    assert result.mean["loss"] == pytest.approx(0.05)
    assert result.passed
    assert not residuals(found, reference, Tolerance(max=0.09, mean=0.06)).passed
    assert not residuals(found, reference, Tolerance(max=0.11, mean=0.04)).passed


def test_nan_is_a_failure():
    assert not residuals({"loss": [float("nan")]}, {"loss": [1.0]}, Tolerance(max=1.0, mean=1.0)).passed


def test_other_numbers_of_steps_are_an_error():
    with pytest.raises(ExpandrError, match="1 steps of loss, and 2"):
        residuals({"loss": [1.0]}, {"loss": [1.0, 2.0]}, Tolerance(max=1.0, mean=1.0))


def test_recording_takes_the_place_of_the_reference(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: t\nabout: a\ncommand: [dpo]\nways: {one: {options: []}}\ntolerance: {max: 0.1, mean: 0.1}\n"
    )
    for value in (1.0, 2.0):
        record(str(path), "one", {"loss": [value], "grad_norm": [3.0]})
    found = load_trajectory(str(path))
    assert (found.recorded.loss, found.recorded.grad_norm, found.recorded.way) == ([2.0], [3.0], "one")
    assert path.read_text().count("recorded:") == 1
    assert "torch" in found.recorded.versions


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match="Try: dpo-tiny"):
        load_trajectory("dpo-tyny")


def test_an_input_that_nobody_makes_is_an_error(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: t\nabout: a\ncommand: [dpo, '--model={modle}']\nways: {one: {options: []}}\n"
        "tolerance: {max: 0.1, mean: 0.1}\n"
    )
    with pytest.raises(InputError, match="Try: model"):
        load_trajectory(str(path))
