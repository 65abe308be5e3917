"""What happens at evaluations and checkpoints: held-out scores, the gate, the marker of a whole checkpoint."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from expandr_ir.errors import ExpandrError
from expandr_ir.train.checkpoints import mark_complete
from expandr_ir.train.heldout import Heldout, Scores, gate

SHOWN = (
    *("loss", "grad_norm", "learning_rate", "rewards/margins", "rewards/accuracies"),
    *("heldout_reward", "heldout_mrr", "gate"),
)


class HeldoutScores(TrainerCallback):  # type: ignore[misc]
    """Adds eval_heldout_* and eval_gate to an evaluation's metrics, and logs them.

    Args:
        heldout: the topics; None only computes the gate.
        tokenizer: of the model.

    Attributes:
        trainer: whose evaluations they are; set before training.
    """

    def __init__(self, heldout: Heldout | None, tokenizer: Any) -> None:
        self._heldout, self._tokenizer = heldout, tokenizer
        self.trainer: Any = None

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:  # noqa: ARG002
        """Computes them on the main process and shares them, so that all processes keep the same checkpoint."""
        added = self._shared(metrics)
        metrics.update(added)
        if state.is_world_process_zero:
            self.trainer.log(added)

    def _shared(self, metrics: dict[str, float]) -> dict[str, float]:
        from accelerate.utils import broadcast_object_list

        accelerator = self.trainer.accelerator
        holder: list[dict[str, float] | None] = [None]
        if accelerator.is_main_process:
            scores = self._scores(accelerator)
            choice = self._heldout.options.score if self._heldout else "reward"
            own = {f"eval_heldout_{name}": value for name, value in asdict(scores).items()} if scores else {}
            holder = [own | {"eval_gate": gate(metrics, scores, choice)}]
        broadcast_object_list(holder)
        assert holder[0] is not None
        return holder[0]

    def _scores(self, accelerator: Any) -> Scores | None:
        if self._heldout is None:
            return None
        model = accelerator.unwrap_model(self.trainer.model)
        with accelerator.autocast():
            texts = self._heldout.texts(model, self._tokenizer)
        return self._heldout.scores(texts)


class WholeCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as whole once every process has written its part of it."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Waits for all processes, then writes the marker."""
        from accelerate import PartialState

        PartialState().wait_for_everyone()
        if args.should_save:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class Lines(TrainerCallback):  # type: ignore[misc]
    """One short line on stderr for each point that is logged, in place of a dictionary on stdout."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        """Prints the figures that people look at.

        Raises:
            ExpandrError: the loss is not a number any more.
        """
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ExpandrError(
                f"the loss is {logs['loss']} at step {state.global_step}",
                expected="a number",
                remedy="a lower learning_rate, or bf16 in place of fp16; then another --output",
            )
        shown = [
            (name.rpartition("/")[2], logs[f"{prefix}{name}"])
            for prefix in ("", "eval_")
            for name in SHOWN
            if f"{prefix}{name}" in logs
        ]
        if shown and state.is_world_process_zero:
            what = "held-out " if any(name.startswith("eval_") for name in logs) else ""
            figures = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown)
            sys.stderr.write(f"step {state.global_step}/{state.max_steps}: {what}{figures}\n")
