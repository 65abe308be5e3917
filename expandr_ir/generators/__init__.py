"""LLMs behind engines: requests in, texts out. Imports config, io, records, registry and runtime."""

from __future__ import annotations

from expandr_ir.config import ENGINE_GROUP, ENGINES, GeneratorConfig, generator_config
from expandr_ir.errors import check_fields
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
    check_fields(config.decoding, "temperature", prefix="decoding.", least=0)
    check_fields(config.decoding, "top_p", prefix="decoding.", above=0, most=1)
    check_fields(config.decoding, "max_new_tokens", prefix="decoding.", least=1)
    check_fields(config.decoding, "repetition_penalty", prefix="decoding.", above=0)
    check_fields(config.local, "batch_size", "threads", prefix="local.", least=1)
    check_fields(config.api, "max_in_flight", "max_attempts", "samples_per_request", prefix="api.", least=1)
    check_fields(config.api, "timeout_s", prefix="api.", above=0)
    created: Generator = make(config)
    return created
