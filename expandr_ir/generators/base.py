"""The protocol of all generators, and what they share: identity, addresses, failures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, MissingResourceError
from expandr_ir.generators import gguf
from expandr_ir.io.files import sha256_file, sha256_json
from expandr_ir.masking import mask
from expandr_ir.records import Generation, GenerationRequest, GeneratorId, Message


class Generator(Protocol):
    """An LLM behind an engine."""

    id: GeneratorId

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields exactly one Generation for every sample of every request, in any order, as they are done.

        A fault of one request is a Generation with finish_reason "error" or "refused"; an exception means that nothing
        more can come (no server, no memory, a wrong key) and loses nothing that was yielded before it.
        A caller may stop early: closing the iterator ends whatever is under way.
        """
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """About how many tokens a rendered prompt has (exact where a tokenizer is at hand)."""
        ...

    def close(self) -> None:
        """Frees what the engine holds; a closed generator is not used again."""
        ...


def identify(config: GeneratorConfig) -> GeneratorId:
    """Returns the part of a generation's key that names the LLM.

    A folder is known by its name and a digest of its files: new weights in an old folder are another model, and the
    same weights in another place are the same one. What was converted from a GGUF file is known by that file's name and
    digest. Hub ids and served names are taken as they are. A chat template, its arguments and extra fields of requests,
    which change the text, are hashed into the revision.
    """
    model, revision = _name(config.model, config.revision)
    options: dict[str, Any] = {}
    if config.engine == "api":
        extra_body = template_arguments(config) | config.api.extra_body
        options = {"extra_body": extra_body} if extra_body else {}
    else:
        template = chat_template(config)
        options = ({"chat_template": template} if template else {}) | template_arguments(config)
    if options:
        revision = f"{revision or ''}+{sha256_json(options)[:16]}"
    if config.adapter is None:
        return GeneratorId(config.engine, model, revision)
    adapter, digest = _name(config.adapter, config.adapter_revision)
    return GeneratorId(config.engine, model, revision, f"{adapter}@{digest}" if digest else adapter)


def _name(model: str, revision: str | None) -> tuple[str, str | None]:
    folder = Path(model)
    if not os.path.isdir(folder):
        return model, revision
    if origin := gguf.origin(folder):
        return origin.name, origin.sha256[:16]
    paths = {path for pattern in gguf.MODEL_FILES for path in folder.glob(pattern)}
    files = sorted(path for path in paths if not path.name.endswith(".manifest.json"))  # it has times in it
    return folder.resolve().name, sha256_json([[path.name, sha256_file(path)] for path in files])[:16]


def chat_template(config: GeneratorConfig) -> str | None:
    """Returns the text of the chat template that the engine's options name; None where they name none."""
    named = (config.vllm if config.engine == "vllm" else config.local).chat_template
    if named is None:
        return None
    if not os.path.isfile(named):
        raise MissingResourceError(f"{config.engine}.chat_template: {named} is not there", expected="a Jinja file")
    return Path(named).read_text(encoding="utf-8")


def template_arguments(config: GeneratorConfig) -> dict[str, Any]:
    """Returns the chat template's arguments under their name; a server gets them as a field of each request."""
    return {"chat_template_kwargs": config.chat_template_kwargs} if config.chat_template_kwargs else {}


class GeneratorChangedError(ExpandrError):
    """The generator has another id from here on, since what it does differs from what the requests' keys say."""


def failure(
    key: str,
    error: str,
    engine_version: str,
    *,
    finish_reason: Literal["refused", "error"] = "error",
    tokens_in: int | None = None,
    seconds: float = 0.0,
) -> Generation:
    """Returns the Generation of a sample that got no text; secrets in the error are masked."""
    return Generation(key, "", finish_reason, tokens_in, None, seconds, engine_version, mask(error))


_ADDRESS = re.compile(r" at (https?://[^\s,]+)")


def version_at(version: str, address: str) -> str:
    """Returns the engine version of texts from a server: its address is no part of the key, and kept for warnings."""
    return f"{version} at {mask(address)}"


def address_of(engine_version: str) -> str | None:
    """Returns the server's address in an engine version; None where there is none, as in stores of older releases."""
    match = _ADDRESS.search(engine_version)
    return match[1] if match else None
