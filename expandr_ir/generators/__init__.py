"""LLMs behind engines: `load_generator` is the one way in."""

from __future__ import annotations

import importlib

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import unknown_name
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
    module, name = ENGINES[config.engine]
    generator: Generator = getattr(importlib.import_module(module), name)(config)
    return generator
