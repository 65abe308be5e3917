"""PEFT adapters over a causal language model: fetched, put in place, and refused where they do not fit their base."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError
from expandr_ir.generators.chat import model_errors
from expandr_ir.io.files import read_json
from expandr_ir.runtime import require

logger = logging.getLogger(__name__)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
SHOWN_NAMES = 3
INNER_FACTORS = ("lora_A", "lora_embedding_A")
"""Tensors that are random before training and change nothing while their other factor is zero."""


def adapter_folder(config: GeneratorConfig) -> Path | None:
    """Returns the folder of the LoRA adapter, fetched from the hub where it is a hub id; None without an adapter."""
    if config.adapter is None:
        return None
    folder = Path(config.adapter)
    if not os.path.isdir(folder):
        with model_errors(config.adapter):
            fetch = require("huggingface_hub").snapshot_download
            folder = Path(fetch(config.adapter, revision=config.adapter_revision, allow_patterns=[CONFIG, WEIGHTS]))
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            f"adapter {config.adapter} has no {WEIGHTS}",
            expected="a PEFT adapter saved as safetensors",
            remedy="load it once with peft and save it with save_pretrained(folder)",
        )
    return folder


def load_adapter(model: Any, adapter: Path, base: str) -> Any:
    """Returns the model `base` with its adapter in place; a base on the meta device serves to check the adapter alone.

    Raises:
        InputError: a tensor of the adapter has no place in the base, or another shape, or is lacking; one of its
            values is no number; or it changes nothing although it is not all zeros.
    """
    peft, safetensors = require("peft", "lora"), require("safetensors")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PEFT and torch tell of keys is an error below
            config = peft.PeftConfig.from_pretrained(str(adapter))
            if model.device.type == "meta" and hasattr(config, "init_lora_weights"):
                config.init_lora_weights = False  # some are computed from the base's weights
            adapted = peft.PeftModel.from_pretrained(model, str(adapter), config=config, torch_device="cpu")
            tensors = peft.load_peft_weights(str(adapter), device="cpu")
            keys = peft.set_peft_model_state_dict(adapted, tensors)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise _misfit(adapter, base, next((line for line in lines if "mismatch" in line), lines[0])) from error
    if not adapted.peft_config["default"].is_prompt_learning:  # PEFT itself is strict with those
        if keys.unexpected_keys:
            raise _misfit(adapter, base, f"{_names(keys.unexpected_keys)} of the adapter fit nothing in it")
        if lacking := [key for key in keys.missing_keys if "default" in key.split(".")]:
            raise _misfit(adapter, base, f"the adapter lacks {_names(lacking)}")
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise InputError(f"the adapter {adapter} is broken: {_names(broken)} hold values that are no numbers")
    if is_zero(adapter):
        logger.warning("the adapter %s is all zeros: with it, %s is what it is without", adapter, base)
    elif not _has_scale(adapted):
        raise InputError(
            f"the adapter {adapter} changes no weight of {base}: its lora_alpha is 0",
            expected="a trained adapter, with the lora_alpha of its training",
        )
    return adapted


def is_zero(adapter: Path) -> bool:
    """Reports an adapter that adds nothing: a factor of each of its products is zero."""
    tensors = require("peft", "lora").load_peft_weights(str(adapter), device="cpu")
    inner = {name for name in tensors if any(factor in name for factor in INNER_FACTORS)}
    sides = [side for side in (inner, tensors.keys() - inner) if side]
    return any(not any(tensors[name].any() for name in side) for side in sides)


def check_adapter(adapter: Path, base: str, *, revision: str | None, trust_remote_code: bool) -> None:
    """Refuses an adapter that does not fit its base, whose configuration alone is read; see `load_adapter`."""
    torch, transformers = require("torch"), require("transformers")
    where = {"trust_remote_code": trust_remote_code}
    with model_errors(base):
        config = transformers.AutoConfig.from_pretrained(base, revision=revision, **where)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, **where)
    load_adapter(model, adapter, base)


def check_model(model: str, *, trust_remote_code: bool) -> None:
    """Refuses a folder that is named as a model and is an adapter which does not fit the base that it names."""
    folder = Path(model)
    if (folder / CONFIG).is_file():
        settings = read_json(folder / CONFIG)
        base, revision = settings.get("base_model_name_or_path"), settings.get("revision")
        if not base:
            raise InputError(f"the adapter {folder} does not say what its base is", remedy="its base as the model")
        check_adapter(folder, base, revision=revision, trust_remote_code=trust_remote_code)


def _has_scale(adapted: Any) -> bool:
    """Reports that what the adapter adds is not multiplied by 0 everywhere."""
    replacement = require("peft.utils.other", "lora").AuxiliaryTrainingWrapper
    tuner_layer = require("peft.tuners.tuners_utils", "lora").BaseTunerLayer
    layers = [module for module in adapted.modules() if isinstance(module, tuner_layer)]
    scales = [layer.scaling["default"] for layer in layers if "default" in getattr(layer, "scaling", ())]
    return not scales or any(scales) or any(isinstance(module, replacement) for module in adapted.modules())


def _misfit(adapter: Path, base: str, why: str) -> InputError:
    return InputError(
        f"the adapter {adapter} does not fit {base}: {why}",
        expected="the base that it was trained over, and all of its tensors",
        remedy="the base that its card or its adapter_config.json names",
    )


def _names(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN_NAMES} more" if len(keys) > SHOWN_NAMES else ""
    return ", ".join(sorted(keys)[:SHOWN_NAMES]) + more
