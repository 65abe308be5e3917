"""LoRA adapters in an encoder while it is trained; merged into its weights when it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expandr_ir.config import fitted_options
from expandr_ir.errors import InputError
from expandr_ir.generators.base import require


def adapted(model: Any, given: Mapping[str, Any] | None) -> Any:
    """The adapters, put into the model's network in place; `.merge_and_unload()` makes them part of its weights.

    None where all weights are trained. All other weights are frozen.

    Args:
        model: a sentence-transformers model.
        given: peft's LoraConfig by its own names; None is no LoRA.

    Raises:
        InputError: an unknown option, or modules that the network does not have.
        NotInstalledError: peft is missing.
    """
    if given is None:
        return None
    peft = require("peft", "train")
    first = model[0]
    network = first.network if hasattr(first, "network") else first.model
    options = fitted_options(peft.LoraConfig, given, "--lora")
    try:
        return peft.get_peft_model(network, peft.LoraConfig(**options))
    except (ValueError, TypeError) as error:
        named = sorted(
            {name.rpartition(".")[2] for name, one in network.named_modules() if type(one).__name__ == "Linear"}
        )
        raise InputError(f"--lora: {error}", expected=f"target_modules among {', '.join(named)}") from error
