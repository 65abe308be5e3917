"""What every generator is: requests in, generations out, in any order."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Literal, Protocol

from expandr_ir.errors import NotInstalledError
from expandr_ir.records import Generation, GenerationRequest, GeneratorId, Message


class Generator(Protocol):
    """An LLM behind an engine."""

    id: GeneratorId

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields exactly one Generation for every sample of every request, in any order, as they are done.

        What goes wrong with one request is a Generation with finish_reason "error" or "refused"; an exception means
        that nothing more can come (no server, no memory, a wrong key) and loses nothing that was yielded before it.
        A caller may stop early: closing the iterator ends whatever is under way.
        """
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """About how many tokens a rendered prompt has (exact where a tokenizer is at hand)."""
        ...

    def close(self) -> None:
        """Frees what the engine holds; a closed generator is not used again."""
        ...


def failure(
    key: str,
    error: str,
    engine_version: str,
    *,
    finish_reason: Literal["refused", "error"] = "error",
    tokens_in: int | None = None,
    seconds: float = 0.0,
) -> Generation:
    """The Generation of a sample that got no text.

    Args:
        key: the sample's key.
        error: why there is no text.
        engine_version: what failed.
        finish_reason: "refused" where a content filter said no.
        tokens_in: prompt tokens, where known.
        seconds: time spent on it.
    """
    return Generation(key, "", finish_reason, tokens_in, None, seconds, engine_version, error)


def require(package: str, extra: str | None = None) -> ModuleType:
    """The imported package.

    Args:
        package: its import name.
        extra: the extra of this distribution that brings it; None where it is a plain dependency.

    Raises:
        NotInstalledError: it is not installed; the message says what to type.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        wanted = f"expandr-ir[{extra}]" if extra else "expandr-ir"
        raise NotInstalledError(f"{package} is not installed", remedy=f"pip install '{wanted}'") from error


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop text in it; all of it where there is none."""
    return text[: min((at for at in map(text.find, stop) if at >= 0), default=len(text))]
