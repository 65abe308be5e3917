"""What every generator is: requests in, generations out, in any order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from expandr_ir.records import Generation, GenerationRequest, GeneratorId, Message


class Generator(Protocol):
    """An LLM behind an engine."""

    id: GeneratorId

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields exactly one Generation for every sample of every request, in any order, as they are done.

        What goes wrong with one request is a Generation with finish_reason "error" or "refused"; an exception means
        that nothing more can come (no server, no memory, a wrong key) and loses nothing that was yielded before it.
        """
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """About how many tokens a rendered prompt has (exact where a tokenizer is at hand)."""
        ...

    def close(self) -> None:
        """Frees what the engine holds; a closed generator is not used again."""
        ...
