"""Keys of generations: a SHA-256 over everything that went into one, and the seed that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from expandr_ir.io.files import sha256_json
from expandr_ir.records import Decoding, GeneratorId, Message


def messages_json(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Returns rendered messages as JSON: a list of {"role", "content"}."""
    return [{"role": message.role, "content": message.content} for message in messages]


@cache  # thousands of samples share one; nobody changes what it returns
def settings_json(generator: GeneratorId, decoding: Decoding) -> dict[str, dict[str, Any]]:
    """Returns a generator and its decoding as JSON; temperatures of 1 and 1.0 are the same."""
    floats = {name: float(getattr(decoding, name)) for name in ("temperature", "top_p", "repetition_penalty")}
    return {"generator": asdict(generator), "decoding": {**asdict(decoding), **floats, "stop": list(decoding.stop)}}


def messages_hash(messages: Sequence[Message]) -> str:
    """Returns the SHA-256 of rendered messages, in hex."""
    return sha256_json(messages_json(messages))


@cache
def settings_hash(generator: GeneratorId, decoding: Decoding) -> str:
    """Returns the SHA-256 of a generator with its decoding (the run's seed included), in hex."""
    return sha256_json(settings_json(generator, decoding))


def sample_key(messages: str, settings: str, sample: int) -> str:
    """Returns the SHA-256 of two hashes and a sample's index, in hex: a long prompt is hashed once for all samples."""
    return sha256_json([messages, settings, sample])


def sample_seed(key: str) -> int:
    """Returns the seed of the sample with this key, in [0, 2**31): every engine takes a seed of 31 bits."""
    return int(key[:8], 16) >> 1
