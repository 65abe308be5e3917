"""A store as people handle it: listed, shown, exported, imported, verified."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.files import read_jsonl, sha256_json
from expandr_ir.store import Store
from expandr_ir.store.database import StoreCorruptError
from expandr_ir.store.rows import FIELDS, as_entry, as_row

_SMALLEST_ROW_BYTES = 192
"""Three hashes in hex."""


@dataclass(frozen=True, slots=True)
class StoreGroup:
    """What one generator wrote for one prompt with one decoding.

    Args:
        generator: engine, model, revision, adapter.
        decoding: how it sampled.
        prompt: the template, where known.
        texts: generations with a text, empty and truncated ones included.
        empty: texts without a character.
        truncated: texts cut at max_new_tokens.
        refused: generations a content filter stopped.
        errors: generations that failed.
        tokens_in: prompt tokens, where the engine said them.
        tokens_out: written tokens, where the engine said them.
        seconds: summed over the generations.
        last: when the newest was written, in UTC, ISO 8601.
    """

    generator: Mapping[str, Any]
    decoding: Mapping[str, Any]
    prompt: str | None
    texts: int
    empty: int
    truncated: int
    refused: int
    errors: int
    tokens_in: int
    tokens_out: int
    seconds: float
    last: str


@dataclass(frozen=True, slots=True)
class Imported:
    """How many rows an import wrote, and how many it passed over because the store had a text for them."""

    written: int
    kept: int


_GROUPS = """
    SELECT generator, decoding, prompt,
        sum(finish_reason IN ('stop', 'length')),
        sum(finish_reason IN ('stop', 'length') AND text = ''),
        sum(finish_reason = 'length'),
        sum(finish_reason = 'refused'),
        sum(finish_reason = 'error'),
        coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), total(seconds), max(created)
    FROM generations g JOIN messages m ON m.hash = g.messages JOIN settings s ON s.hash = g.settings
    GROUP BY g.settings, prompt
    ORDER BY min(g.rowid)
"""
_ROWS = f"""
    SELECT key, prompt, m.messages, {", ".join(FIELDS[3:])}, g.rowid
    FROM generations g JOIN messages m ON m.hash = g.messages JOIN settings s ON s.hash = g.settings
"""  # noqa: S608
_PAGE = f"""
    {_ROWS} WHERE g.rowid > :after
        AND (:model IS NULL OR json_extract(generator, '$.model') = :model)
        AND (:prompt IS NULL OR :prompt IN (prompt, substr(prompt, 1, instr(prompt, '@') - 1)))
    ORDER BY g.rowid LIMIT 500
"""
_AT = f"{_ROWS} WHERE g.rowid = ?"
_ONE = f"{_ROWS} WHERE substr(key, 1, length(:prefix)) = :prefix ORDER BY key LIMIT 6"


def groups(store: Store) -> list[StoreGroup]:
    """What the store holds: one group for each generator, decoding and prompt, in the order of first use."""
    with store.database.reading() as connection:
        return [StoreGroup(json.loads(row[0]), json.loads(row[1]), *row[2:]) for row in connection.execute(_GROUPS)]


def show(store: Store, prefix: str) -> dict[str, Any]:
    """The generation whose key begins with `prefix`, as a row of `export_rows`.

    Raises:
        InputError: no key begins so, or several do (they are named).
    """
    with store.database.reading() as connection:
        rows = [as_row(row) for row in connection.execute(_ONE, {"prefix": prefix.lower()})]
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise InputError(f"no key in the store begins with {prefix!r}", expected="a key, or the beginning of one")
    raise InputError(
        f"several keys begin with {prefix!r}: {', '.join(row['key'][: len(prefix) + 8] for row in rows)} ...",
        expected="the beginning of one key",
    )


def export_rows(store: Store, model: str | None = None, prompt: str | None = None) -> Iterator[dict[str, Any]]:
    """Each generation with all that its key stands for, as a JSON object, in the order they were written.

    Args:
        store: the store.
        model: only what this model wrote.
        prompt: only what this template asked for: an id, such as "passage", or one version of it, such as "passage@1".

    Raises:
        InputError: nothing in the store is of this model, or of this template.
    """
    held = groups(store)
    prompts = {group.prompt for group in held if group.prompt}
    _check_known("model", model, {group.generator["model"] for group in held})
    _check_known("prompt", prompt, prompts | {name.partition("@")[0] for name in prompts})
    return _pages(store, {"after": 0, "model": model, "prompt": prompt})


def _check_known(what: str, name: str | None, known: set[str]) -> None:
    if name is not None and name not in known:
        raise unknown_name(f"{what} in the store", name, sorted(known))


def _pages(store: Store, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while True:
        with store.database.reading() as connection:
            page = connection.execute(_PAGE, wanted).fetchall()
        if not page:
            return
        yield from map(as_row, page)
        wanted["after"] = page[-1][-1]


def rescue_rows(store: Store) -> Iterator[dict[str, Any]]:
    """The rows of a damaged store that can still be read, as `export_rows` gives them; the others are passed over."""
    for row in range(1, _last_row(store) + 1):
        readable: list[dict[str, Any]] = []
        with suppress(StoreCorruptError, ValueError), store.database.reading() as connection:
            readable = [as_row(found) for found in connection.execute(_AT, (row,))]
        yield from readable


def import_rows(store: Store, path: Path) -> Imported:
    """Writes the rows of a JSON-lines file, plain or .gz, in one commit: all of them or none.

    A row is what `export_rows` gives, and what that gave is the same again. Only `messages`, `generator`, `decoding`,
    `sample` and `text` must be there; a row that does not say `verbatim` comes from outside and is searched as it is.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a row is not of this form, or its key is not the hash of its parts; with file and line.
    """
    entries = [as_entry(row, f"{path}, line {number}") for number, row in read_jsonl(path)]
    written = store.add(entries)
    return Imported(written, len(entries) - written)


def verify(store: Store) -> list[str]:
    """What is wrong with the store, a sentence each; an empty list is a whole store.

    SQLite's own integrity check, then every hash is computed anew.

    Raises:
        StoreCorruptError: the damage keeps the file from being read to its end.
    """
    with store.database.reading() as connection:
        checks = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
        problems = [f"SQLite: {text}" for text in checks]
        problems += [f"row {row} of {table} refers to {parent} that are not there" for table, row, parent, _ in orphans]
        for key, messages in connection.execute("SELECT hash, messages FROM messages"):
            if not _is_hash(key, messages):
                problems.append(f"messages {key} are not what they were written as")
        for key, *parts in connection.execute("SELECT hash, generator, decoding FROM settings"):
            if not _is_hash(key, '{{"generator": {}, "decoding": {}}}'.format(*parts)):
                problems.append(f"settings {key} are not what they were written as")
        for key, *parts, _text in connection.execute("SELECT key, messages, settings, sample, text FROM generations"):
            if not _is_hash(key, json.dumps(parts)):
                problems.append(f"generation {key} does not stand under the hash of its parts")
    return problems


def _last_row(store: Store) -> int:
    try:
        with store.database.reading() as connection:
            return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM generations").fetchone()[0])
    except StoreCorruptError:  # as many rows as the file has room for
        return store.database.path.stat().st_size // _SMALLEST_ROW_BYTES


def _is_hash(key: str, text: str) -> bool:
    """Whether a key is the hash of a JSON text."""
    try:
        return sha256_json(json.loads(text)) == key
    except ValueError:
        return False
