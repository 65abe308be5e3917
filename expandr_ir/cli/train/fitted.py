"""What `train sft` and `train dpo` say: before, what it would take; afterwards, what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.sources import say
from expandr_ir.errors import InputError

if TYPE_CHECKING:
    from expandr_ir.train.fit import Fitted

SHOWN = ("loss", "rewards/margins", "rewards/accuracies", "heldout_reward", "heldout_mrr", "heldout_mrr_topic", "gate")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What both verbs have.

    Args:
        output: the run's folder: checkpoints, and at the end the adapter (or the model) and its card.
        dry_run: say how many rows, tokens and steps there would be, and stop.
    """

    output: str | None = None
    dry_run: bool = False


def run_folder(output: str | None) -> Path:
    """The run's folder.

    Raises:
        InputError: none is named, or it is a file.
    """
    if output is None:
        raise InputError("--output is missing", expected="--output DIR, or --dry-run")
    return output_folder(output)


def forecast(kind: Literal["dpo", "sft"], given: Mapping[str, Any], counts: Mapping[str, int]) -> int:
    """Prints rows, tokens and steps; returns 0."""
    from expandr_ir.train.trainer_arguments import trl_option

    def option(name: str) -> Any:
        return trl_option(kind, given, name)

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batch = option("per_device_train_batch_size") * option("gradient_accumulation_steps") * processes
    steps = option("max_steps")
    if steps < 1:
        steps = int(-(-counts["rows"] // batch) * option("num_train_epochs"))
    for name, value in counts.items():
        print(f"{name.replace('_', ' '):<28} {value:,}")
    print(f"{'rows a step':<28} {batch:,}\n{'steps':<28} {steps:,}")
    print(f"{'tokens in all, about':<28} {counts['tokens'] * steps * batch // max(counts['rows'], 1):,}")
    return 0


def show(fitted: Fitted) -> int:
    """Prints what came of a run, on the main process; returns 0."""
    if fitted.weights is None:
        return 0
    for name, value in fitted.counts.items():
        if value:
            print(f"{name.replace('_', ' '):<28} {value:,}")
    columns = {"before": fitted.start, f"step {fitted.best_step}": fitted.best, f"step {fitted.steps}": fitted.last}
    names = [name for name in SHOWN if name in fitted.best]
    if names:
        print(f"{'':<28} " + " ".join(f"{title:>12}" for title in columns))
    for name in names:
        values = " ".join(f"{point[name]:>12.4f}" if name in point else f"{'':>12}" for point in columns.values())
        print(f"{name:<28} {values}")
    if "gate" in fitted.best and fitted.best["gate"] <= fitted.start.get("gate", float("-inf")):
        say("no checkpoint is better than the model was before training, by the gate: do not use this one unseen")
    if not names:
        say("nothing was held out, so the last checkpoint was kept unseen")
    if fitted.already:
        say("the run was complete before; nothing was trained")
    print(f"{fitted.weights}: {fitted.steps} steps", file=sys.stderr)
    print(fitted.weights.parent)
    return 0
