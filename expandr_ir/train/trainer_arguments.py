"""TRL's and PEFT's own configurations from the options of `dpo`, `sft` and `lora`, under their own names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expandr_ir.config import fitted_options
from expandr_ir.errors import InputError
from expandr_ir.generators.base import require

if TYPE_CHECKING:
    import torch

GATE = "eval_gate"
"""The metric by which the best checkpoint is kept; see `expandr_ir.train.heldout.gate`."""

NOT_HERE = {
    "output_dir": "--output DIR",
    "resume_from_checkpoint": "nothing: a run that was broken off goes on from its last complete checkpoint",
    "model_init_kwargs": "--model, --revision, --dtype, --attn-implementation",
    "trust_remote_code": "--trust-remote-code",
    "push_to_hub": "expandr train merge --push-to-hub REPOSITORY",
    "hub_model_id": "expandr train merge --push-to-hub REPOSITORY",
    "hub_token": "hf auth login",
    "max_prompt_length": "--max-prompt-length N, which this package applies itself",
    "max_completion_length": "max_length, of prompt and answer together",
    "dataset_kwargs": "nothing: rows are tokenized by this package",
    "chat_template_path": "--chat-template FILE",
    "do_train": "nothing",
    "do_eval": "nothing",
    "do_predict": "nothing",
}
"""Options of TRL's that have a place of their own here, or none, and what to type."""


def trl_arguments(
    kind: Literal["dpo", "sft"], given: Mapping[str, Any], output: Path, *, evaluates: bool, gated: bool
) -> Any:
    """A DPOConfig or SFTConfig: TRL's defaults, with what is given, and what follows from where it runs.

    Not given, `bf16` and `fp16` follow from the device, evaluation comes with each checkpoint, two checkpoints and the
    best one are kept, and nothing is reported to a service.

    Args:
        kind: which.
        given: options by TRL's names.
        output: the run's folder.
        evaluates: whether there is something to evaluate on.
        gated: whether the best checkpoint is to be loaded at the end.

    Raises:
        InputError: an unknown option, a value of another type, or one that has another place here.
        NotInstalledError: TRL is missing.
    """
    options = trl_options(kind, given)
    options.setdefault("use_cpu", not _accelerated())
    options |= _precision(options)
    options.setdefault("report_to", [])
    options.setdefault("ddp_find_unused_parameters", False)  # every weight that is trained is used in every step
    options.setdefault("logging_nan_inf_filter", False)  # it would show the loss before in place of a NaN
    options.setdefault("save_total_limit", 2)
    options.setdefault("disable_tqdm", not sys.stderr.isatty())
    if evaluates:
        options.setdefault("eval_strategy", "steps")
        options.setdefault("eval_steps", options.get("save_steps", 500))
        options.setdefault("eval_on_start", True)
    elif options.get("eval_strategy", "no") != "no":
        raise InputError(f"{kind}.eval_strategy without anything to evaluate on", remedy="--dev-share .1")
    if gated:
        options |= {"load_best_model_at_end": True, "metric_for_best_model": GATE, "greater_is_better": True}
    if kind == "sft":
        options["dataset_kwargs"] = {"skip_prepare_dataset": True}
    block = _block(kind)
    try:
        return block(output_dir=str(output), **options)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"--{kind}: {error}", expected=f"options that fit together, as {block.__name__} says"
        ) from error


def trl_option(kind: Literal["dpo", "sft"], given: Mapping[str, Any], name: str) -> Any:
    """The value of one of TRL's options: what is given, else its default.

    Raises:
        InputError: an unknown option, or a value of another type.
    """
    default = next(field.default for field in fields(_block(kind)) if field.name == name)
    return trl_options(kind, given).get(name, default)


def lora_config(given: Mapping[str, Any] | None) -> Any:
    """PEFT's LoraConfig; None where all weights are trained.

    Raises:
        InputError: an unknown option or a value of another type.
        NotInstalledError: PEFT is missing.
    """
    if given is None:
        return None
    peft = require("peft", "train")
    options = fitted_options(peft.LoraConfig, given, "--lora")
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM"} | options)


def training_device(arguments: Any) -> torch.device:
    """Where this process trains, as TRL's configuration resolved it."""
    device: torch.device = arguments.device
    return device


def trl_options(kind: Literal["dpo", "sft"], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of TRL's options, in their types; nothing is added.

    Raises:
        InputError: an unknown option, a value of another type, or one that has another place here.
    """
    for name in given:
        if name in NOT_HERE:
            raise InputError(f"{kind}.{name} is not an option here", remedy=NOT_HERE[name])
    return fitted_options(_block(kind), given, f"--{kind}")


def _block(kind: str) -> type[Any]:
    trl = require("trl", "train")
    block: type[Any] = trl.DPOConfig if kind == "dpo" else trl.SFTConfig
    return block


def _precision(options: Mapping[str, Any]) -> dict[str, bool]:
    """bf16 and fp16, where neither is given: bfloat16 where the device computes in it, else float16 on CUDA only."""
    if options.get("bf16") is not None or options.get("fp16"):
        return {}
    from expandr_ir.encoders import pick_device
    from expandr_ir.generators.local import pick_dtype

    torch = require("torch")
    device = torch.device("cpu") if options["use_cpu"] else pick_device("auto")
    bf16 = pick_dtype("auto", device) == torch.bfloat16
    return {"bf16": bf16, "fp16": not bf16 and device.type == "cuda"}


def _accelerated() -> bool:
    found = require("torch").accelerator.current_accelerator(check_available=True)
    return found is not None and found.type in {"cuda", "mps"}
