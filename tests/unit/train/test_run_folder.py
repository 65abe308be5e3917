"""The checkpoint that a run goes on from, and its settings."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from expandr_ir.errors import InputError
from expandr_ir.train import run_folder
from expandr_ir.train.run_folder import (
    MARKER,
    SETTINGS,
    claim,
    last_checkpoint,
    mark_complete,
    step_of,
    train_steps,
    why_incomplete,
)


def checkpoint(folder, step, *, marked=True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"1234")
    (path / "trainer_state.json").write_text("{}")
    if marked:
        mark_complete(path)
    return path


def test_the_newest_whole_one_by_number_and_not_by_name(tmp_path, caplog):
    for step in (5, 90, 100):
        path = checkpoint(tmp_path, step)
    assert json.loads((path / MARKER).read_text()) == {"model.safetensors": 4, "trainer_state.json": 2}
    broken = checkpoint(tmp_path, 110, marked=False)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_checkpoint(tmp_path) == path
    assert step_of(path) == 100
    assert f"{broken} is passed over: no {MARKER}" in caplog.text
    assert last_checkpoint(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("model.safetensors", "12", "model.safetensors has 2 bytes of 4"),
        ("trainer_state.json", None, "trainer_state.json has 0 bytes of 2"),
        (MARKER, "{", "not readable"),
    ],
)
def test_one_that_lost_something_is_passed_over(tmp_path, file, content, reason):
    path = checkpoint(tmp_path, 5)
    assert why_incomplete(path) is None
    (path / file).unlink() if content is None else (path / file).write_text(content)
    assert reason in why_incomplete(path)
    assert last_checkpoint(tmp_path) is None


def test_other_settings_are_refused_once_there_is_something_to_go_on_from(tmp_path):
    claim(tmp_path, {"seed": 1, "lora": {"r": 8}}, begun=False)
    claim(tmp_path, {"seed": 1, "lora": {"r": 8}}, begun=True)
    with pytest.raises(InputError, match=r"other settings: lora \(lora was .*8.* and is .*16"):
        claim(tmp_path, {"seed": 1, "lora": {"r": 16}}, begun=True)
    claim(tmp_path, {"seed": 2}, begun=False)
    assert json.loads((tmp_path / SETTINGS).read_text()) == {"seed": 2}


@pytest.mark.parametrize(("is_first", "shows_none", "steps"), [(True, True, 2), (True, False, 0), (False, True, 0)])
def test_the_steps_that_are_left_are_shown_where_the_trainer_shows_none(monkeypatch, is_first, shows_none, steps):
    """A run that was taken up again at step 30 of 32."""
    events = []

    @contextmanager
    def progress(description, total):
        events.append((description, total))
        yield lambda: events.append("step")
        events.append("end")

    class Trainer:
        def add_callback(self, callback):
            self.callback = callback

        def train(self, resume_from_checkpoint):
            self.callback.on_train_begin(options, state, None)
            self.callback.on_step_end(options, state, None)
            self.callback.on_step_end(options, state, None)
            raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "progress", progress)
    state = SimpleNamespace(is_world_process_zero=is_first, max_steps=32, global_step=30)
    options = SimpleNamespace(disable_tqdm=shows_none)
    with pytest.raises(KeyboardInterrupt):
        train_steps(Trainer(), None)
    assert events == [("steps", 2), "step", "step"][: 1 + steps] * bool(steps)
