"""Generators without an LLM: `replay` serves recorded texts, `echo` the prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from expandr_ir import __version__
from expandr_ir.config import GeneratorConfig
from expandr_ir.generators.base import failure
from expandr_ir.io.expansions import FAILED, add_expansions, check_topic_text
from expandr_ir.io.files import read_jsonl, sha256_file, text_field
from expandr_ir.records import Expansion, Generation, GenerationRequest, GeneratorId, Message


class EchoGenerator:
    """Writes each request's last user message and the sample's index; equal requests give equal texts."""

    def __init__(self, config: GeneratorConfig) -> None:
        self.id = GeneratorId("echo", config.model, config.revision, config.adapter)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields "MESSAGE (sample I)" for every sample, in order; tokens are words."""
        for request in requests:
            question = [message.content for message in request.messages if message.role == "user"][-1]
            tokens_in = self.count_tokens(request.messages)
            for sample in request.samples:
                text = f"{question} (sample {sample.sample})"
                yield Generation(sample.key, text, "stop", tokens_in, len(text.split()), 0.0, f"echo {__version__}")

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Returns the number of words."""
        return sum(len(message.content.split()) for message in messages)

    def close(self) -> None:
        """Nothing is held."""


class ReplayGenerator:
    """Serves an expansions file: JSON lines, plain or .gz, with `topic_id` and `text` or `texts`.

    Rows of one topic count its samples from 0 in the order of the file; a row's own `sample` goes first. A row may
    carry the topic's text as `query` or `topic_text`: it must then be the text of the request's topic.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a broken row, or two texts for one sample of a topic.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        path = Path(config.model)
        self._recorded: dict[str, dict[int, Expansion]] = defaultdict(dict)
        self._rows: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        for line, row in read_jsonl(path):
            where = f"{path}, line {line}"
            topic_id = text_field(row, ("topic_id",), where)
            self._rows[topic_id].append((where, row))
            if row.get("finish_reason") not in FAILED:
                add_expansions(self._recorded[topic_id], row, where)
        self.id = GeneratorId("replay", path.name, sha256_file(path))

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields the recorded text of every sample; one that is not in the file has finish_reason "error".

        Raises:
            InputError: the file was written for other topics; nothing is yielded before it.
        """
        for request in requests:
            for where, row in self._rows.get(request.topic.topic_id, ()):
                check_topic_text(row, request.topic, where)
        version = f"replay {__version__}"
        for request in requests:
            recorded = self._recorded.get(request.topic.topic_id, {})
            for sample in request.samples:
                if sample.sample in recorded:
                    yield Generation(sample.key, recorded[sample.sample].text, "stop", None, None, 0.0, version)
                else:
                    missing = f"{self.id.model} has no sample {sample.sample} of topic {request.topic.topic_id!r}"
                    yield failure(sample.key, missing, version)

    def count_tokens(self, messages: Sequence[Message]) -> int:  # noqa: ARG002
        """Returns 0: no LLM reads the prompt."""
        return 0

    def close(self) -> None:
        """Nothing is held."""
