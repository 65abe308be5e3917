"""Expansions: the object, and its file of one JSON object a line, whoever wrote it."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.errors import InputError, some
from expandr_ir.io.files import read_jsonl, text_field, write_jsonl
from expandr_ir.io.manifest import write_manifest
from expandr_ir.io.topics import as_topics
from expandr_ir.records import ExpandedTopic, Expansion, Topic

if TYPE_CHECKING:
    import pandas as pd

    from expandr_ir.io.topics import Topics

FAILED = ("error", "refused")
"""Finish reasons of rows that hold no text to serve."""

_READ = frozenset({"topic_id", "query", "topic_text", "query_repeats", "text", "texts", "sample"})
_DETAILS: dict[str, tuple[type, ...]] = {
    "raw": (str,),
    "reasons": (list,),
    "key": (str,),
    "tokens_in": (int,),
    "tokens_out": (int,),
    "seconds": (int, float),
}
"""Fields with the origin of a row's one text, with their JSON types."""

_NAME_THE_SPLIT = "name the collection and split that the expansions were written for"


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample without a text; `refused` is a content filter's doing, which is not tried again unless told to."""

    topic_id: str
    sample: int
    refused: bool
    error: str


@dataclass(repr=False, eq=False)
class Expansions(dict[str, ExpandedTopic]):
    """Topics with their expansions, by topic_id; every topic has at least one expansion, maybe an empty one.

    Args:
        topics: topic_id -> topic with its expansions.
        missing: topics that have none.
        failures: the samples without a text, in the topics' order; unknown for a file.
        counts: "topics" (all of them), "stored", "generated", "failed", "refused", "empty", "truncated",
            "topics_missing", "topics_empty"; of a file "topics", "empty", "failed" and "other_rows".
        reasons: the cleaning steps that changed a text, with the number of texts.
        tokens: prompt tokens ("in") and new tokens ("out"), where known.
        seconds: wall time that the generation of all texts took, in this command or earlier ones, where known.
        details: the prompt, its hash, the generator, for the manifest.
        seed: the run's seed, where known.
    """

    topics: InitVar[Mapping[str, ExpandedTopic]]
    _: KW_ONLY
    missing: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self, topics: Mapping[str, ExpandedTopic]) -> None:
        super().__init__(topics)
        self.missing, self.failures = tuple(self.missing), tuple(self.failures)

    def rows(self) -> Iterator[dict[str, Any]]:
        """A JSON object for each expansion, as a file holds them; with `raw` where cleaning changed the text."""
        for expanded in self.values():
            for expansion in expanded.expansions:
                changed = expansion.raw is not None and expansion.raw != expansion.text
                yield {
                    "topic_id": expanded.topic.topic_id,
                    "sample": expansion.sample,
                    "topic_text": expanded.topic.text,
                    "text": expansion.text,
                    **({"raw": expansion.raw} if changed else {}),
                    "reasons": list(expansion.reasons),
                    "key": expansion.key,
                    **({"query_repeats": expanded.query_repeats} if expanded.query_repeats else {}),
                    **expansion.extra,
                    "tokens_in": expansion.tokens_in,
                    "tokens_out": expansion.tokens_out,
                    "seconds": expansion.seconds,
                }

    def save(
        self, path: str | Path, *, options: Any = None, inputs: Mapping[str, str | Path | None] | None = None
    ) -> Path:
        """Writes the expansions, JSON lines, and, last, the manifest beside them.

        Args:
            path: a name that ends in .gz is compressed.
            options: the options that made them, for the manifest.
            inputs: files by role, for the manifest.
        """
        path = Path(path)
        write_jsonl(path, self.rows())
        write_manifest(
            path,
            options=options,
            inputs=inputs,
            seeds={} if self.seed is None else {"decoding": self.seed},
            counts=self.counts,
            seconds={} if self.seconds is None else {"generate": self.seconds},
            tokens=self.tokens,
            details=self.details | {"cleaning": self.reasons},
        )
        return path

    def to_frame(self) -> pd.DataFrame:
        """One row an expansion: topic_id, topic_text, sample, text."""
        import pandas as pd

        columns = ["topic_id", "topic_text", "sample", "text"]
        return pd.DataFrame([[row[name] for name in columns] for row in self.rows()], columns=columns)

    def __repr__(self) -> str:
        texts = sum(len(topic.expansions) for topic in self.values())
        return f"<Expansions: {len(self):,} topics, {texts:,} texts, {len(self.missing):,} topics without one>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.to_frame().head(10).to_html(index=False)}"


def read_expansions(path: str | Path, topics: Topics, skip_missing: bool = False) -> Expansions:
    """The expansions of a JSONL file, plain or .gz, for these topics; texts are taken verbatim.

    A row has `topic_id` and `text`, or `texts` for several; it may have `sample` (the number of its first text; rows
    without it count up in the file's order), `query` or `topic_text` (the topic's text, which must be the topic's but
    for white space), `query_repeats`, of a single text `raw`, `reasons`, `key`, `tokens_in`, `tokens_out` and
    `seconds`, and further fields.

    Args:
        path: the file.
        topics: the topics to read expansions of, in any form of `as_topics`.
        skip_missing: leave out topics without an expansion, counted, where it would be an error.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a row that does not fit, one sample of a topic twice, a topic's text that differs, a topic without
            an expansion, or a file for other topics; the message names file and line.
    """
    path, topics = Path(path), as_topics(topics)
    samples: dict[str, dict[int, Expansion]] = {}
    repeats: dict[str, int] = {}
    other_ids: dict[str, None] = {}
    failed = other_rows = 0
    for line, row in read_jsonl(path):
        where = f"{path}, line {line}"
        topic_id = text_field(row, ("topic_id",), where)
        topic = topics.get(topic_id)
        if topic is None:
            other_ids[topic_id] = None
            other_rows += 1
            continue
        check_topic_text(row, topic, where)
        if row.get("finish_reason") in FAILED:
            failed += 1
            continue
        add_expansions(samples.setdefault(topic_id, {}), row, where)
        if row.get("query_repeats") is not None:
            number = _whole_number("query_repeats", row["query_repeats"], 1, where)
            if repeats.setdefault(topic_id, number) != number:
                raise InputError(
                    f"{where}: topic {topic_id!r} has query_repeats {number}, but {repeats[topic_id]} before",
                    expected="one number for a topic",
                )
    missing = tuple(topic_id for topic_id in topics if topic_id not in samples)
    if not samples or (missing and not skip_missing):
        raise _not_expanded(path, missing, list(other_ids), failed, len(topics))
    expanded = {
        topic_id: ExpandedTopic(topic, tuple(dict(sorted(samples[topic_id].items())).values()), repeats.get(topic_id))
        for topic_id, topic in topics.items()
        if topic_id in samples
    }
    empty = sum(not expansion.text.strip() for topic in expanded.values() for expansion in topic.expansions)
    counts = {"topics": len(topics), "empty": empty, "failed": failed, "other_rows": other_rows}
    return Expansions(expanded, missing=missing, counts=counts)


def check_topic_text(row: Mapping[str, Any], topic: Topic, where: str) -> None:
    """Refuses a row whose `query` or `topic_text` differs from the topic's text in more than white space."""
    for name in ("query", "topic_text"):
        text = row.get(name)
        if text is not None and str(text).split() != topic.text.split():
            raise InputError(
                f"{where}: {name!r} is {str(text)!r}, but topic {topic.topic_id!r} is {topic.text!r}",
                expected="expansions of these topics",
                remedy=_NAME_THE_SPLIT,
            )


def add_expansions(samples: dict[int, Expansion], row: dict[str, Any], where: str) -> None:
    """Adds a row's texts to the expansions of its topic, by sample; a repeated sample is an error."""
    field, form = ("text", '"..."') if "text" in row else ("texts", '["...", "..."], with one text or more')
    if ("text" in row) == ("texts" in row):
        fault = "both text and texts" if "text" in row else "neither text nor texts"
        raise InputError(f"{where}: {fault} among its fields {', '.join(sorted(row))}", expected="one of them")
    texts = [row["text"]] if field == "text" else row["texts"]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{where}: {field!r} is {json.dumps(row[field])[:40]}", expected=form)
    details: dict[str, Any] = {}
    if field == "text":
        details = {name: row[name] for name in _DETAILS if row.get(name) is not None}
    for name, value in details.items():
        if type(value) not in _DETAILS[name]:
            raise InputError(
                f"{where}: {name!r} is a {type(value).__name__}",
                expected=f"{name!r} as `expandr expand` writes it",
                remedy="give a field of another meaning another name",
            )
    if "reasons" in details:
        details["reasons"] = tuple(details["reasons"])
    read = _READ | _DETAILS.keys() if field == "text" else _READ
    extra = {name: value for name, value in row.items() if name not in read}
    first = _whole_number("sample", row.get("sample", len(samples)), 0, where)
    for sample, text in enumerate(texts, start=first):
        if sample in samples:
            fault = f"{where}: topic {row['topic_id']!r} has sample {sample} a second time"
            raise InputError(fault, expected="each sample of a topic once")
        samples[sample] = Expansion(sample, text, extra=extra, **details)


def _whole_number(name: str, value: Any, least: int, where: str) -> int:
    if type(value) is not int or value < least:
        raise InputError(f"{where}: {name!r} is {value!r}", expected=f"a whole number from {least}")
    return value


def _not_expanded(path: Path, missing: tuple[str, ...], other_ids: list[str], failed: int, topics: int) -> InputError:
    if other_ids and len(missing) == topics and not failed:
        return InputError(
            f"{path}: expansions of other topics; it has {some(other_ids)}, these are {some(missing)}",
            expected="a file for these topics",
            remedy=_NAME_THE_SPLIT,
        )
    return InputError(
        f"{path}: {len(missing)} of {topics} topics have no expansion: {some(missing)}"
        + (f"; {failed} rows say that no text came" if failed else ""),
        expected="a row for every topic; an empty text is a row",
        remedy="write the missing ones with `expandr expand`"
        + (", or leave these topics out: --skip-missing" if len(missing) < topics else ""),
    )
