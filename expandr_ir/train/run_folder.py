"""A training run's folder: one set of settings, whole checkpoints, curves, weights complete with their manifest."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.io.files import parse_json, read_json, read_jsonl, write_json
from expandr_ir.io.manifest import manifest_path
from expandr_ir.progress import progress

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"
CURVES = "curves.jsonl"
WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")

NO_OUTCOME = (
    "report_to",
    "run_name",
    "project",
    "logging_dir",
    "disable_tqdm",
    "dataloader_num_workers",
    "log_level",
)
"""The trainers' options that change nothing that is trained: a run may be taken up again with others."""

MARKER = "complete.json"
"""In a checkpoint: its files and their sizes in bytes, written when all of them are there."""

SHOWN = (
    *("loss", "train_loss", "grad_norm", "learning_rate", "rewards/margins", "rewards/accuracies"),
    *("reward", "kl", "frac_reward_zero_std", "completions/mean_length", "completions/empty", "reward_share"),
    *("heldout_reward", "heldout_mrr", "gate"),
)
"""Logged figures that people look at, besides measures such as nDCG@10."""


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Marks whole checkpoints, shows each logged point in a line, and ends a run whose loss is no number any more."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Waits for all processes' parts of the checkpoint, then writes the marker."""
        from accelerate import PartialState

        PartialState().wait_for_everyone()
        if args.should_save:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        """Raises an ExpandrError where the loss is not finite."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ExpandrError(
                f"the loss is {logs['loss']} at step {state.global_step}",
                expected="a number",
                remedy="a lower learning_rate, or bf16 in place of fp16; then another --output",
            )
        if state.is_world_process_zero:
            shown = {name: value for name, value in logs.items() if name.removeprefix("eval_") in SHOWN or "@" in name}
            line = ", ".join(f"{name.replace('eval_', 'dev ')} {value:.4g}" for name, value in shown.items())
            if line:
                logger.warning("step %d of %d: %s", state.global_step, state.max_steps, line)


class StepCallback(TrainerCallback):  # type: ignore[misc]
    """Shows the steps that are left, until the stack is closed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._advance: Callable[..., None]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Begins to show them, in the first process, where the trainer shows no bar of its own."""
        is_shown = state.is_world_process_zero and args.disable_tqdm
        steps = progress("steps", state.max_steps - state.global_step)
        self._advance = self._stack.enter_context(steps) if is_shown else lambda: None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Counts a step."""
        self._advance()


def train_steps(trainer: Any, checkpoint: Path | None) -> Any:
    """The outcome of a training that begins anew or at a checkpoint; its steps are shown."""
    with ExitStack() as stack:
        trainer.add_callback(StepCallback(stack))
        return trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def mark_complete(checkpoint: Path) -> None:
    """Writes the marker into a checkpoint that is whole now."""
    write_json(checkpoint / MARKER, _sizes(checkpoint))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run's folder; newer ones that are not whole are passed over with a warning."""
    named = [path for path in folder.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdigit()]
    for checkpoint in sorted(named, key=step_of, reverse=True):
        fault = why_incomplete(checkpoint)
        if fault is None:
            return checkpoint
        logger.warning("%s is passed over: %s", checkpoint, fault)
    return None


def why_incomplete(checkpoint: Path) -> str | None:
    """The fault of a checkpoint; None where it is whole."""
    marker = checkpoint / MARKER
    if not marker.is_file():
        return f"no {MARKER}: it was not written to its end"
    try:
        expected = dict(parse_json(marker.read_bytes()))
    except (ValueError, TypeError):
        return f"{MARKER} is not readable"
    sizes = _sizes(checkpoint)
    wrong = [
        f"{name} has {sizes.get(name, 0)} bytes of {size}" for name, size in expected.items() if sizes.get(name) != size
    ]
    return ", ".join(wrong) or None


def _sizes(checkpoint: Path) -> dict[str, int]:
    return {
        path.relative_to(checkpoint).as_posix(): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MARKER and not path.name.endswith(".tmp")
    }


def claim(folder: Path, settings: Mapping[str, Any], *, begun: bool) -> None:
    """Writes the settings of a new run, or refuses others than those of a run that has begun."""
    file = folder / SETTINGS
    settings = json.loads(json.dumps(settings))
    before = read_json(file) if file.is_file() and begun else settings
    if differing := sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name)):
        first = differing[0]
        raise InputError(
            f"{folder} holds a run with other settings: {', '.join(differing)}"
            f" ({first} was {_short(before.get(first))} and is {_short(settings.get(first))})",
            expected="the settings that it was begun with, to go on with it",
            remedy="another --output, or delete the folder",
        )
    write_json(file, settings, sort_keys=True)


def outcome_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """A trainer's options without those that change nothing that is trained."""
    return {name: value for name, value in given.items() if name not in NO_OUTCOME}


def weights_file(folder: Path) -> Path | None:
    """The file of a run's weights that its manifest stands beside; None where there is none."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def weights_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run's weights as plain data; empty where there is none."""
    weights = weights_file(folder)
    manifest: dict[str, Any] = read_json(manifest_path(weights)) if weights and manifest_path(weights).is_file() else {}
    return manifest


def read_curves(path: Path) -> list[dict[str, Any]]:
    """The logged points of a complete run, oldest first; none where there is no such file."""
    return [point for _, point in read_jsonl(path)] if path.is_file() else []


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:57]}..."
