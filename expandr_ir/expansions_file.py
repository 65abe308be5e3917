"""Expansions in a file: one JSON object a line, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write, read_jsonl, text_field
from expandr_ir.records import ExpandedTopic, Expansion, Topic

FAILED = ("error", "refused")
"""Finish reasons of rows that hold no text to serve."""

_READ = frozenset({"topic_id", "query", "topic_text", "query_repeats", "text", "texts", "sample"})
_DETAILS: dict[str, type | tuple[type, ...]] = {
    "raw": str,
    "reasons": list,
    "key": str,
    "tokens_in": int,
    "tokens_out": int,
    "seconds": (int, float),
}
"""Fields of a row with one text that say how it came about, with their JSON types."""


@dataclass(frozen=True)
class ExpansionSet:
    """The expansions that a file has for some topics, and what did not fit.

    Args:
        topics: topic_id -> topic with its expansions, in the order of the topics that were asked for.
        missing: topics that were asked for and have no expansion.
        empty: expansions that were written and are blank: their topics are searched with what is left.
        failed: rows of these topics that say that no text came ("finish_reason": "error" or "refused").
        other_rows: rows for topics that were not asked for.
    """

    topics: dict[str, ExpandedTopic]
    missing: tuple[str, ...]
    empty: int
    failed: int
    other_rows: int


def read_expansions(path: str | Path, topics: Mapping[str, Topic], skip_missing: bool = False) -> ExpansionSet:
    """The expansions of a JSONL file, plain or .gz, for the topics that are asked for; texts are taken verbatim.

    A row has `topic_id` and `text`, or `texts` for several; it may have `sample` (the number of its first text; rows
    without one count up in the file's order), `query` or `topic_text` (the topic's text, which must be the topic's but
    for white space), `query_repeats`, and anything else. What it says of the making of its one text (`raw`, `reasons`,
    `key`, `tokens_in`, `tokens_out`, `seconds`) is read where it is there.

    Args:
        path: the file.
        topics: the topics that are asked for.
        skip_missing: leave out topics without an expansion, counted, where it would be an error.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a row that does not fit, one sample of a topic twice, a topic's text that differs, a topic without
            an expansion, or a file for other topics altogether; the message names file and line.
    """
    path = Path(path)
    found: dict[str, dict[int, Expansion]] = {}
    repeats: dict[str, int] = {}
    others: dict[str, None] = {}
    failed = other_rows = 0
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        topic_id = text_field(row, ("topic_id",), where)
        topic = topics.get(topic_id)
        if topic is None:
            others[topic_id] = None
            other_rows += 1
            continue
        check_topic_text(row, topic, where)
        if row.get("finish_reason") in FAILED:
            failed += 1
            continue
        add_expansions(found.setdefault(topic_id, {}), row, where)
        _add_repeats(repeats, topic_id, row, where)
    missing = tuple(topic_id for topic_id in topics if topic_id not in found)
    if not found or (missing and not skip_missing):
        raise _not_expanded(path, missing, list(others), failed, len(topics))
    expanded = {
        topic_id: ExpandedTopic(
            topic, tuple(found[topic_id][sample] for sample in sorted(found[topic_id])), repeats.get(topic_id)
        )
        for topic_id, topic in topics.items()
        if topic_id in found
    }
    empty = sum(not expansion.text.strip() for samples in found.values() for expansion in samples.values())
    return ExpansionSet(expanded, missing, empty, failed, other_rows)


def write_expansions(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    r"""Writes rows as JSON lines and returns their number; the file appears only when it is complete.

    A lone surrogate, which UTF-8 cannot hold, is written as its JSON escape ("\\ud83d"), so that any text an LLM wrote
    comes back as it was.

    Args:
        path: a name that ends in .gz is compressed.
        rows: JSON objects, such as `expandr_ir.expand.rows` gives.
    """
    count = 0
    with atomic_write(Path(path), "wb") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            count += 1
    return count


def check_topic_text(row: Mapping[str, Any], topic: Topic, where: str) -> None:
    """Refuses a row that was written for another topic.

    Args:
        row: one row; it may have the topic's text as `query` or `topic_text`.
        topic: the topic with the row's id.
        where: file and line, for the error.

    Raises:
        InputError: the texts differ in more than white space.
    """
    for name in ("query", "topic_text"):
        text = row.get(name)
        if text is not None and str(text).split() != topic.text.split():
            raise InputError(
                f"{where}: {name!r} is {str(text)!r}, but topic {topic.topic_id!r} is {topic.text!r}",
                expected="expansions of these topics",
                remedy="name the collection and split that the expansions were written for",
            )


def add_expansions(samples: dict[int, Expansion], row: dict[str, Any], where: str) -> None:
    """Adds a row's texts to those of its topic.

    Args:
        samples: the topic's expansions so far, by sample.
        row: one row.
        where: file and line, for the error.

    Raises:
        InputError: the row has no texts, a field that does not fit, or a sample that the topic has already.
    """
    texts = _texts(row, where)
    details = _details(row, where) if "text" in row else {}
    first = row.get("sample", len(samples))
    if not isinstance(first, int) or isinstance(first, bool) or first < 0:
        raise InputError(f"{where}: 'sample' is {first!r}", expected="a whole number from 0")
    read = _READ | _DETAILS.keys() if "text" in row else _READ
    extra = {name: value for name, value in row.items() if name not in read}
    for sample, text in enumerate(texts, start=first):
        if sample in samples:
            raise InputError(
                f"{where}: topic {row['topic_id']!r} has sample {sample} a second time",
                expected="each sample of a topic once",
            )
        samples[sample] = Expansion(sample, text, extra=extra, **details)


def _texts(row: dict[str, Any], where: str) -> list[str]:
    if ("text" in row) == ("texts" in row):
        raise InputError(
            f"{where}: {'both text and texts' if 'text' in row else 'neither text nor texts'} among its fields "
            f"{', '.join(sorted(row))}",
            expected="one of them",
        )
    texts = [row["text"]] if "text" in row else row["texts"]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        field, form = ("text", '"..."') if "text" in row else ("texts", '["...", "..."], with one text or more')
        raise InputError(f"{where}: {field!r} is {json.dumps(row[field])[:40]}", expected=form)
    return texts


def _details(row: dict[str, Any], where: str) -> dict[str, Any]:
    details = {name: row[name] for name in _DETAILS if row.get(name) is not None}
    for name, value in details.items():
        if not isinstance(value, _DETAILS[name]) or isinstance(value, bool):
            raise InputError(
                f"{where}: {name!r} is a {type(value).__name__}",
                expected=f"{name!r} as `expandr expand` writes it",
                remedy="give a field of another meaning another name",
            )
    if "reasons" in details:
        details["reasons"] = tuple(details["reasons"])
    return details


def _add_repeats(repeats: dict[str, int], topic_id: str, row: dict[str, Any], where: str) -> None:
    value = row.get("query_repeats")
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{where}: 'query_repeats' is {value!r}", expected="a whole number from 1")
    if repeats.setdefault(topic_id, value) != value:
        raise InputError(
            f"{where}: topic {topic_id!r} has query_repeats {value}, but {repeats[topic_id]} before",
            expected="one number for a topic",
        )


def _not_expanded(path: Path, missing: tuple[str, ...], others: list[str], failed: int, n_topics: int) -> InputError:
    """The error that topics have no expansion: all of them, or some."""
    if others and len(missing) == n_topics and not failed:
        return InputError(
            f"{path}: expansions of other topics; it has {_some(others)}, these are {_some(missing)}",
            expected="a file for these topics",
            remedy="name the collection and split that the expansions were written for",
        )
    return InputError(
        f"{path}: {len(missing)} of {n_topics} topics have no expansion: {_some(missing)}"
        + (f"; {failed} rows say that no text came" if failed else ""),
        expected="a row for every topic; an empty text is a row",
        remedy="write the missing ones with `expandr expand`"
        + (", or leave these topics out: --skip-missing" if len(missing) < n_topics else ""),
    )


def _some(ids: list[str] | tuple[str, ...]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
