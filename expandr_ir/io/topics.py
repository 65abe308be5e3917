"""Topics in a file of their own: TSV, JSON lines or Pyserini's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from expandr_ir.errors import InputError
from expandr_ir.io.files import parse_json, read_jsonl, read_lines, text_field, write_json
from expandr_ir.records import Topic

if TYPE_CHECKING:
    import pandas as pd

Topics: TypeAlias = "Mapping[str, Topic] | Mapping[str, str] | list[str] | str | Path | pd.DataFrame"
"""Topics as a user may give them, see `as_topics`."""

ID_FIELDS = ("topic_id", "_id", "id", "qid", "query_id", "row_id")
TEXT_FIELDS = ("text", "query", "title")

Row: TypeAlias = tuple[str, str, str]
"""File and line, topic_id, text."""

_NOT_IN_IDS = re.compile("[\x00-\x20\x7f\ud800-\udfff]")


def as_topics(topics: Topics) -> dict[str, Topic]:
    """Topics by topic_id.

    They come as a mapping to Topics or texts, a list of texts (ids count from 1), one text (id "1"), a file (a Path, or
    a text that ends like one), or a DataFrame with one of ID_FIELDS and one of TEXT_FIELDS.
    """
    if isinstance(topics, Path):
        return read_topics(topics)
    if isinstance(topics, str):
        named = "\n" not in topics and Path(topics.removesuffix(".gz")).suffix in _READERS
        return read_topics(topics) if named else as_topics([topics])
    if isinstance(topics, list | tuple):
        topics = {str(number): text for number, text in enumerate(topics, start=1)}
    by_id: dict[str, Topic] = {}
    if isinstance(topics, Mapping):
        for topic_id, topic in topics.items():
            text = topic.text if isinstance(topic, Topic) else topic
            if not isinstance(topic_id, str):
                fault = f"the topic id {topic_id!r} is of type {type(topic_id).__name__}"
                raise InputError(fault, expected=f"a text, such as {str(topic_id)!r}")
            if not isinstance(text, str):
                fault = f"topic {topic_id!r} is of type {type(text).__name__}"
                raise InputError(fault, expected="topic_id -> text")
            add_topic(by_id, topic_id, text, "the topics given")
    elif hasattr(topics, "to_dict") and hasattr(topics, "columns"):
        for number, row in enumerate(topics.to_dict("records"), start=1):
            where = f"row {number} of the DataFrame"
            add_topic(by_id, text_field(row, ID_FIELDS, where), text_field(row, TEXT_FIELDS, where), where)
    else:
        expected = "a mapping, a list of texts, a text, a file or a DataFrame"
        raise InputError(f"topics are of type {type(topics).__name__}", expected=expected)
    if not by_id:
        raise InputError("no topics are given", expected="at least one topic")
    return by_id


def read_topics(path: str | Path, field: str | None = None) -> dict[str, Topic]:
    """The topics of a file by topic_id, in the file's order, texts verbatim.

    Args:
        path: plain or .gz; `.tsv` and `.txt` hold `topic_id<TAB>text`, `.jsonl` an object a line with one of ID_FIELDS
            and one of TEXT_FIELDS, `.json` Pyserini's {topic_id: {"title": text}}.
        field: the field that holds the text, where it is not the usual one.

    Raises:
        MissingResourceError: there is no such file.
        InputError: an unknown ending, a line that does not fit its format, an id or text that is missing or blank, an
            id twice, several fields that could hold the text, or no topic.
    """
    path = Path(path)
    ending = Path(path.name.removesuffix(".gz")).suffix
    if ending not in _READERS:
        raise InputError(
            f"{path}: topics in a file that ends in {ending or 'nothing'!r}",
            expected=f"a name that ends in {', '.join(_READERS)}, or one of these and .gz",
        )
    topics: dict[str, Topic] = {}
    for where, topic_id, text in _READERS[ending](path, field):
        add_topic(topics, topic_id, text, where)
    if not topics:
        raise InputError(f"{path}: no topics", expected="at least one topic")
    return topics


def add_topic(topics: dict[str, Topic], topic_id: str, text: str, where: str) -> None:
    """Adds a topic; a repeated id and a blank text are errors."""
    check_id(topic_id, "topic", where)
    if topic_id in topics:
        raise InputError(f"{where}: topic {topic_id!r} a second time", expected="each topic once")
    if not text.strip():
        raise InputError(f"{where}: topic {topic_id!r} has no text", expected="a text to search")
    topics[topic_id] = Topic(topic_id, text)


def check_id(identifier: str, noun: str, where: str) -> None:
    """Refuses an id that no TREC run could hold."""
    bad = _NOT_IN_IDS.search(identifier)
    if bad or not identifier:
        kind = "white space" if bad and bad[0].isspace() else "a control character or half a surrogate pair"
        fault = f"{kind} in the id {identifier!r}" if bad else "an empty id"
        raise InputError(f"{where}: {fault}", expected=f"a {noun} id without white space, as TREC runs need it")


def write_topics_json(path: str | Path, texts: Mapping[str, str]) -> None:
    """Writes Pyserini's JSON topics, {topic_id: {"title": text}}, the only one of its formats that loses nothing."""
    write_json(Path(path), {topic_id: {"title": text} for topic_id, text in texts.items()}, indent=1)


def _tsv_rows(path: Path, field: str | None) -> Iterator[Row]:
    if field is not None:
        raise InputError(f"{path}: a TSV file has no field {field!r}", expected="a .jsonl or .json file")
    for number, line in read_lines(path):
        columns = line.split("\t")
        where = f"{path}, line {number}"
        if len(columns) != 2:
            raise InputError(f"{where}: {len(columns)} columns", expected="2 columns: topic_id<TAB>text")
        yield where, columns[0], columns[1]


def _jsonl_rows(path: Path, field: str | None) -> Iterator[Row]:
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        names = [name for name in TEXT_FIELDS if name in row]
        if field is None and len(names) > 1:
            raise InputError(
                f"{where}: the fields {' and '.join(map(repr, names))} could each be the topic's text",
                expected="one of them",
                remedy=f"name the one to search: --topics-field {names[0]}",
            )
        yield where, text_field(row, ID_FIELDS, where), text_field(row, (field,) if field else TEXT_FIELDS, where)


def _json_rows(path: Path, field: str | None) -> Iterator[Row]:
    for topic_id, row in _json_pairs(path):
        where = f"{path}, topic {topic_id!r}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: a JSON {type(row).__name__}", expected='an object such as {"title": "..."}')
        yield where, topic_id, text_field(row, (field or "title",), where)


def _json_pairs(path: Path) -> list[tuple[str, Any]]:
    """The members of the file's one JSON object in order: a dict would hide ids that stand there twice."""
    lines = list(read_lines(path))
    try:
        pairs = parse_json("\n".join(line for _, line in lines), pairs=True)
    except json.JSONDecodeError as error:
        number = lines[error.lineno - 1][0] if lines else 1
        raise InputError(
            f"{path}, line {number}: malformed JSON ({error.msg} at column {error.colno})",
            expected='one object: {"topic_id": {"title": "..."}, ...}',
            remedy="name a file with one object a line .jsonl",
        ) from error
    if not isinstance(pairs, tuple):
        raise InputError(f"{path}: a JSON {type(pairs).__name__}", expected='{"topic_id": {"title": "..."}, ...}')
    return [(key, dict(value) if isinstance(value, tuple) else value) for key, value in pairs]


_READERS: dict[str, Callable[[Path, str | None], Iterator[Row]]] = {
    ".tsv": _tsv_rows,
    ".txt": _tsv_rows,
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
}
