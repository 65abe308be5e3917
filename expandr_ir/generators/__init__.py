"""LLMs behind engines: requests in, texts out. Imports config, io, records, registry and runtime."""

from __future__ import annotations

from expandr_ir.config import ENGINE_GROUP, ENGINES, GeneratorConfig, generator_config
from expandr_ir.errors import InputError
from expandr_ir.generators.base import Generator
from expandr_ir.registry import find

__all__ = ["Generator", "load_generator"]


def load_generator(generator: str | GeneratorConfig) -> Generator:
    """Returns the generator of a configuration; models are loaded when they are first needed.

    Args:
        generator: a name of conf/generators, a YAML file, `engine:model`, or the configuration itself. An engine is
            one of `config.ENGINES` or an entry point of the group `expandr_ir.generators`: a class, or a function, that
            takes the GeneratorConfig.

    Raises:
        InputError: an unknown name or engine, or a configuration that does not fit its engine.
        NotInstalledError: the engine's package is missing; the message says what to type.
        MissingResourceError: a file, folder or key is not there.
    """
    config = generator_config(generator) if isinstance(generator, str) else generator
    make = find(ENGINE_GROUP, config.engine, ENGINES, kind="engine")
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
    created: Generator = make(config)
    return created
