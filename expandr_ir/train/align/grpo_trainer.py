"""TRL's GRPOTrainer on prompts as inference has them; its groups of texts, checked and counted."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from trl import GRPOTrainer

from expandr_ir.errors import InputError
from expandr_ir.generators.chat import prompt_ids
from expandr_ir.records import Message

logger = logging.getLogger(__name__)

CONSTANT = "frac_reward_zero_std"
"""TRL's name for the share of groups whose rewards are all equal: such a group teaches nothing."""

MANY_CONSTANT = 0.5
"""The share of such groups in a run from which a warning says what to try."""


class RewardedTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer with prompts tokenized and cut as in the other trainings, and the share of the rewards in a step."""

    def __init__(self, *, max_prompt_length: int | None, **arguments: Any) -> None:
        self._max_prompt_length = max_prompt_length
        super().__init__(**arguments)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        most = self._max_prompt_length or 0  # ids[-0:] are all
        chats = [[Message(**message) for message in prompt] for prompt in prompts]
        return [prompt_ids(self.processing_class, chat)[-most:] for chat in chats], None, {}

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """Samples with the same random numbers every time, and leaves those of the training as they are."""
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.args.seed + self.args.process_index)
            metrics: dict[str, float] = super().evaluate(*args, **options)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the rewards' share of the steps' time."""
        seconds = self._metrics["train"]
        if self.model.training and seconds["step_time"]:
            logs["reward_share"] = sum(seconds["reward_seconds"]) / sum(seconds["step_time"])
        super().log(logs, start_time)


def check_groups(config: Any, rows: int) -> None:
    """Refuses groups that no process has as a whole, checkpoints within a batch of texts, and too few rows for one."""
    batches = {
        "train": (config.generation_batch_size // config.world_size, config.num_generations),
        "eval": (config.per_device_eval_batch_size, config.num_generations_eval or config.num_generations),
    }
    for name, (batch, group) in batches.items():
        if batch % group:
            raise InputError(
                f"a process writes {batch} texts at a time, in groups of {group}",
                expected="whole groups, which rewards compare",
                remedy=f"--grpo.per_device_{name}_batch_size {group}",
            )
    backward_passes = config.steps_per_generation * config.num_iterations
    period = backward_passes // math.gcd(backward_passes, config.gradient_accumulation_steps)
    if config.save_strategy == "steps" and config.save_steps >= 1 and config.save_steps % period:
        raise InputError(
            f"checkpoints every {config.save_steps:g} steps, and texts for {period} steps at a time",
            expected="checkpoints between them: a run that is taken up again writes new texts",
            remedy=f"--grpo.save_steps {period * max(1, round(config.save_steps / period))}",
        )
    prompts = config.generation_batch_size // config.num_generations
    if rows < prompts:
        raise InputError(
            f"{rows} rows, and texts for {prompts} rows at a time",
            expected=f"at least {prompts} rows",
            remedy=f"--grpo.gradient_accumulation_steps 1 --grpo.per_device_train_batch_size {config.num_generations}",
        )


def count_groups(history: Sequence[Mapping[str, Any]], config: Any) -> dict[str, int]:
    """The groups of texts of a run, of its logged points, and those whose rewards were all equal; warns of many."""
    batches_a_step = config.gradient_accumulation_steps / (config.steps_per_generation * config.num_iterations)
    groups_a_step = batches_a_step * config.generation_batch_size / config.num_generations
    step, constant = 0, 0.0
    for point in history:
        if CONSTANT in point:
            constant += point[CONSTANT] * (point["step"] - step) * groups_a_step
            step = point["step"]
    counts = {"groups": round(step * groups_a_step), "constant_groups": round(constant)}
    if constant > MANY_CONSTANT * step * groups_a_step:
        logger.warning(
            "%d of %d groups had equal rewards, which teach nothing: try --corpus.smoothing .05 --reward.cutoff 1000,"
            " more --grpo.num_generations, a higher --grpo.temperature, or expandr train sft first",
            counts["constant_groups"], counts["groups"],
        )  # fmt: skip
    return counts
