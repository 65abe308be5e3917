"""No LLM at all: the prompt comes back, so that a pipeline can be tried without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from expandr_ir import __version__
from expandr_ir.config import GeneratorConfig
from expandr_ir.records import Generation, GenerationRequest, GeneratorId, Message


class EchoGenerator:
    """Writes each request's last user message and the sample's index; equal requests give equal texts."""

    def __init__(self, config: GeneratorConfig) -> None:
        self.id = GeneratorId("echo", config.model, config.revision, config.adapter)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields "MESSAGE (sample I)" for every sample, in order; tokens are words."""
        for request in requests:
            asked = [message.content for message in request.messages if message.role == "user"][-1]
            tokens_in = self.count_tokens(request.messages)
            for sample in request.samples:
                text = f"{asked} (sample {sample.sample})"
                yield Generation(sample.key, text, "stop", tokens_in, len(text.split()), 0.0, f"echo {__version__}")

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The number of words."""
        return sum(len(message.content.split()) for message in messages)

    def close(self) -> None:
        """Nothing is held."""
