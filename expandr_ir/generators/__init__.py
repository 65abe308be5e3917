"""LLMs behind engines: `load_generator` is the one way in."""

from __future__ import annotations

import importlib

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.generators.base import Generator

__all__ = ["Generator", "load_generator"]

ENGINES = {
    "api": ("expandr_ir.generators.api", "ApiGenerator"),
    "echo": ("expandr_ir.generators.echo", "EchoGenerator"),
    "local": ("expandr_ir.generators.local", "LocalGenerator"),
    "replay": ("expandr_ir.generators.replay", "ReplayGenerator"),
    "vllm": ("expandr_ir.generators.vllm", "VllmGenerator"),
}
"""Engine -> the module and class behind it; a module is imported when its engine is asked for."""


def load_generator(config: GeneratorConfig) -> Generator:
    """The generator that a block of conf/generators describes; models are loaded when they are first needed.

    Raises:
        InputError: an unknown engine, or a configuration that does not fit its engine.
        NotInstalledError: the engine's package is missing; the message says what to type.
        MissingResourceError: a file, folder or key is not there.
    """
    if config.engine not in ENGINES:
        raise unknown_name("engine", config.engine, ENGINES)
    _check(config)
    module, name = ENGINES[config.engine]
    generator: Generator = getattr(importlib.import_module(module), name)(config)
    return generator


def _check(config: GeneratorConfig) -> None:
    """Refuses numbers that no engine can use."""
    decoding, local, api = config.decoding, config.local, config.api
    for name, value, fits, expected in (
        ("decoding.temperature", decoding.temperature, decoding.temperature >= 0, "0 (greedy) or more"),
        ("decoding.top_p", decoding.top_p, 0 < decoding.top_p <= 1, "more than 0, at most 1"),
        ("decoding.max_new_tokens", decoding.max_new_tokens, decoding.max_new_tokens >= 1, "1 or more"),
        ("decoding.repetition_penalty", decoding.repetition_penalty, decoding.repetition_penalty > 0, "more than 0"),
        ("local.batch_size", local.batch_size, local.batch_size >= 1, "1 or more"),
        ("api.max_in_flight", api.max_in_flight, api.max_in_flight >= 1, "1 or more"),
        ("api.max_attempts", api.max_attempts, api.max_attempts >= 1, "1 or more"),
        ("api.samples_per_request", api.samples_per_request, api.samples_per_request >= 1, "1 or more"),
        ("api.timeout_s", api.timeout_s, api.timeout_s > 0, "more than 0"),
    ):
        if not fits:
            raise InputError(f"{name} is {value}", expected=expected)
