"""Which checkpoint a run goes on from."""

from __future__ import annotations

import json

import pytest

from expandr_ir.train.checkpoints import MARKER, find_checkpoints, mark_complete, step_of, why_incomplete


def checkpoint(folder, step, *, marked=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"1234")
    (path / "trainer_state.json").write_text("{}")
    if marked:
        mark_complete(path)
    return path


def test_the_newest_whole_one_by_number_and_not_by_name(tmp_path):
    for step in (5, 90, 100):
        checkpoint(tmp_path, step)
    found = find_checkpoints(tmp_path)
    assert found.last == tmp_path / "checkpoint-100"
    assert step_of(found.last) == 100
    assert found.skipped == ()


def test_one_that_was_not_written_to_its_end_is_passed_over(tmp_path):
    whole, broken = checkpoint(tmp_path, 5), checkpoint(tmp_path, 10, marked=False)
    found = find_checkpoints(tmp_path)
    assert found.last == whole
    assert [path for path, _ in found.skipped] == [broken]
    assert MARKER in found.skipped[0][1]


@pytest.mark.parametrize("fault", ["shorter", "missing", "marker"])
def test_one_that_lost_something_is_passed_over(tmp_path, fault):
    path = checkpoint(tmp_path, 5)
    if fault == "shorter":
        (path / "model.safetensors").write_bytes(b"12")
    elif fault == "missing":
        (path / "trainer_state.json").unlink()
    else:
        (path / MARKER).write_text("{")
    reason = why_incomplete(path)
    expected = {
        "shorter": "has 2 bytes and not 4",
        "missing": "trainer_state.json is missing",
        "marker": "not readable",
    }
    assert expected[fault] in reason
    assert find_checkpoints(tmp_path).last is None


def test_the_marker_lists_every_file_with_its_size(tmp_path):
    path = checkpoint(tmp_path, 5)
    assert json.loads((path / MARKER).read_text()) == {"model.safetensors": 4, "trainer_state.json": 2}
    assert why_incomplete(path) is None


def test_other_folders_are_no_checkpoints(tmp_path):
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "prepared").mkdir()
    assert find_checkpoints(tmp_path).last is None
    assert find_checkpoints(tmp_path / "nothing").last is None
