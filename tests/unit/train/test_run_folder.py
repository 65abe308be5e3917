"""The checkpoint that a run goes on from, and its settings."""

from __future__ import annotations

import json

import pytest

from expandr_ir.errors import InputError
from expandr_ir.train.run_folder import MARKER, SETTINGS, claim, last_checkpoint, mark_complete, step_of, why_incomplete


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
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    assert step_of(tmp_path / "checkpoint-100") == 100


def test_one_that_was_not_written_to_its_end_is_passed_over(tmp_path, caplog):
    whole, broken = checkpoint(tmp_path, 5), checkpoint(tmp_path, 10, marked=False)
    assert last_checkpoint(tmp_path) == whole
    assert f"{broken} is passed over: no {MARKER}" in caplog.text


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
        "shorter": "model.safetensors has 2 bytes of 4",
        "missing": "trainer_state.json has 0 bytes of 2",
        "marker": "not readable",
    }
    assert expected[fault] in reason
    assert last_checkpoint(tmp_path) is None


def test_the_marker_lists_every_file_with_its_size(tmp_path):
    path = checkpoint(tmp_path, 5)
    assert json.loads((path / MARKER).read_text()) == {"model.safetensors": 4, "trainer_state.json": 2}
    assert why_incomplete(path) is None


def test_other_folders_are_no_checkpoints(tmp_path):
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "prepared").mkdir()
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "nothing") is None


def test_other_settings_are_refused_once_there_is_something_to_go_on_from(tmp_path):
    claim(tmp_path, {"seed": 1, "lora": {"r": 8}}, begun=False)
    claim(tmp_path, {"seed": 1, "lora": {"r": 8}}, begun=True)
    with pytest.raises(InputError, match=r"other settings: lora \(lora was .*8.* and is .*16"):
        claim(tmp_path, {"seed": 1, "lora": {"r": 16}}, begun=True)
    claim(tmp_path, {"seed": 2}, begun=False)
    assert json.loads((tmp_path / SETTINGS).read_text()) == {"seed": 2}
