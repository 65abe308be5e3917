"""Texts that were recorded before, served again as if they were written now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from expandr_ir import __version__
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError
from expandr_ir.files import read_jsonl, sha256_file, text_field
from expandr_ir.generators.base import failure
from expandr_ir.records import Generation, GenerationRequest, GeneratorId, Message, Topic

TOPIC_TEXT = ("query", "topic_text")


class ReplayGenerator:
    """Serves an expansions file: JSON lines, plain or .gz, with `topic_id` and `text` or `texts`.

    Rows of one topic count its samples from 0 in the order of the file; a row's own `sample` goes first. A row may
    carry the topic's text as `query` or `topic_text`: it must then be the text that is asked for.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a broken row, or two texts for one sample of a topic.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        self._path = Path(config.model)
        self._texts: dict[str, dict[int, str]] = defaultdict(dict)
        self._topic_texts: dict[str, tuple[int, str]] = {}
        for line, row in read_jsonl(self._path):
            self._read(line, row)
        self.id = GeneratorId("replay", self._path.name, sha256_file(self._path))

    def _read(self, line: int, row: dict[str, Any]) -> None:
        where = f"{self._path}, line {line}"
        topic_id = text_field(row, ("topic_id",), where)
        samples = self._texts[topic_id]
        texts = row["texts"] if "texts" in row else [text_field(row, ("text",), where)]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{where}: 'texts' is not a list of strings", expected='"texts": ["...", "..."]')
        first = row.get("sample", len(samples))
        if not isinstance(first, int) or isinstance(first, bool) or first < 0:
            raise InputError(f"{where}: 'sample' is {first!r}", expected="an integer from 0")
        for sample, text in enumerate(texts, start=first):
            if sample in samples:
                raise InputError(
                    f"{where}: a second text for sample {sample} of topic {topic_id!r}",
                    expected="one text for each sample of a topic",
                    remedy="number the rows with 'sample', or leave 'sample' out of all of them",
                )
            samples[sample] = text
        if any(name in row for name in TOPIC_TEXT):
            self._topic_texts[topic_id] = (line, text_field(row, TOPIC_TEXT, where))

    def _check(self, topic: Topic) -> None:
        line, recorded = self._topic_texts.get(topic.topic_id, (0, topic.text))
        if recorded.split() != topic.text.split():
            raise InputError(
                f"{self._path}, line {line}: topic {topic.topic_id!r} is {recorded!r} there, but {topic.text!r} here",
                expected="texts that were written for these topics",
                remedy="the expansions file of this collection and split",
            )

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields the recorded text of every sample; one that is not in the file has finish_reason "error".

        Raises:
            InputError: the file was written for other topics; nothing is yielded before it.
        """
        for request in requests:
            self._check(request.topic)
        version = f"replay {__version__}"
        for request in requests:
            recorded = self._texts.get(request.topic.topic_id, {})
            for sample in request.samples:
                if sample.sample in recorded:
                    yield Generation(sample.key, recorded[sample.sample], "stop", None, None, 0.0, version)
                else:
                    missing = f"{self._path.name} has no sample {sample.sample} of topic {request.topic.topic_id!r}"
                    yield failure(sample.key, missing, version)

    def count_tokens(self, messages: Sequence[Message]) -> int:  # noqa: ARG002
        """0: no LLM reads the prompt."""
        return 0

    def close(self) -> None:
        """Nothing is held."""
