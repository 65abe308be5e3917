"""Stored generations as JSON objects, out of a store and into one, without loss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.io.files import read_jsonl
from expandr_ir.records import Decoding, FinishReason, Generation, GeneratorId, Message
from expandr_ir.store.keys import messages_hash, sample_key, settings_hash
from expandr_ir.store.store import Store, StoreCorruptError, StoredGeneration, StoreEntry, now

SMALLEST_ROW_BYTES = 192  # three hashes in hex
NEEDED = object()
FIELDS: dict[str, tuple[tuple[type, ...], Any]] = {
    "key": ((str, NoneType), None),
    "prompt": ((str, NoneType), None),
    "messages": ((list,), NEEDED),
    "generator": ((dict,), NEEDED),
    "decoding": ((dict,), NEEDED),
    "sample": ((int,), NEEDED),
    "text": ((str,), NEEDED),
    "finish_reason": ((str,), "stop"),
    "tokens_in": ((int, NoneType), None),
    "tokens_out": ((int, NoneType), None),
    "seconds": ((float, int), 0.0),
    "engine_version": ((str,), ""),
    "error": ((str, NoneType), None),
    "created": ((str, NoneType), None),
    "verbatim": ((bool,), True),
}
"""The fields of a row, in their order: types of the JSON value, and the value of a field that is not there."""
JOINED = "generations g JOIN messages m ON m.hash = g.messages JOIN settings s ON s.hash = g.settings"
ROWS = f"SELECT key, prompt, m.messages, {', '.join([*FIELDS][3:])} FROM {JOINED}"  # noqa: S608
CHOSEN = f"""
    {ROWS} WHERE (:model IS NULL OR json_extract(generator, '$.model') = :model)
        AND (:prompt IS NULL OR :prompt IN (prompt, substr(prompt, 1, instr(prompt, '@') - 1)))
    ORDER BY g.rowid
"""


def find(store: Store, prefix: str) -> dict[str, Any]:
    """Returns the row of `export_rows` whose key begins with `prefix`."""
    matches = f"{ROWS} WHERE substr(key, 1, length(:prefix)) = :prefix ORDER BY key LIMIT 6"
    rows = list(_select(store, matches, {"prefix": prefix.lower()}))
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise InputError(f"no key in the store begins with {prefix!r}", expected="a key, or the beginning of one")
    keys = ", ".join(row["key"][: len(prefix) + 8] for row in rows)
    raise InputError(f"several keys begin with {prefix!r}: {keys} ...", expected="the beginning of one key")


def export_rows(store: Store, model: str | None = None, prompt: str | None = None) -> Iterator[dict[str, Any]]:
    """Returns each generation with all that its key stands for, as a JSON object, in the order they were written.

    Args:
        store: the store.
        model: only texts of this model.
        prompt: only texts of this template: an id, such as "passage", or one version of it, such as "passage@1".
    """
    with store.reading() as connection:
        models = {name for (name,) in connection.execute("SELECT json_extract(generator, '$.model') FROM settings")}
        prompts = {name for (name,) in connection.execute("SELECT prompt FROM messages WHERE prompt IS NOT NULL")}
    prompts |= {name.partition("@")[0] for name in prompts}
    for kind, name, known in (("model", model, models), ("prompt", prompt, prompts)):
        if name is not None and name not in known:
            raise unknown_name(f"{kind} in the store", name, known)
    return _select(store, CHOSEN, {"model": model, "prompt": prompt})


def rescue_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yields the rows of a damaged store that can still be read, as `export_rows` does."""
    try:
        with store.reading() as connection:
            last = int(connection.execute("SELECT coalesce(max(rowid), 0) FROM generations").fetchone()[0])
    except StoreCorruptError:  # as many rows as the file has room for
        last = store.path.stat().st_size // SMALLEST_ROW_BYTES
    for place in range(1, last + 1):
        with suppress(StoreCorruptError, ValueError):
            yield from list(_select(store, f"{ROWS} WHERE g.rowid = :place", {"place": place}))


def _select(store: Store, query: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with store.reading() as connection:
        for columns in connection.execute(query, values):
            row = dict(zip(FIELDS, columns, strict=True))
            parsed = {name: json.loads(row[name]) for name in ("messages", "generator", "decoding")}
            yield {**row, **parsed, "verbatim": bool(row["verbatim"])}


def import_rows(store: Store, path: Path) -> tuple[int, int]:
    """Writes the rows of a JSON-lines file, plain or .gz, in one commit: all of them or none.

    A row is a row of `export_rows`, which comes back unchanged. Only `messages`, `generator`, `decoding`, `sample` and
    `text` must be there; a row without `verbatim` comes from outside and is searched as it is.

    Returns:
        The numbers of rows that were written, and that were passed over because the store had a text for them.
    """
    entries = [_entry(row, f"{path}, line {number}") for number, row in read_jsonl(path)]
    n_new = store.add(entries)
    return n_new, len(entries) - n_new


def _entry(row: dict[str, Any], where: str) -> StoreEntry:
    """Returns the store's entry of a row, with its key computed anew."""
    form = "the fields, and their types, that `expandr store export` writes"
    row = {name: row.get(name, default) for name, (_, default) in FIELDS.items()}
    for name, (types, _) in FIELDS.items():
        if row[name] is NEEDED:
            raise InputError(f"{where}: no field {name!r}", expected=form)
        if type(row[name]) not in types:
            raise InputError(f"{where}: {name!r} is a {type(row[name]).__name__}", expected=form)
        if isinstance(row[name], int | float) and not 0 <= row[name] < 2**63:
            raise InputError(f"{where}: {name!r} is {row[name]}", expected="a number from 0")
    try:
        messages = tuple(Message(**message) for message in row["messages"])
        generator, stop = GeneratorId(**row["generator"]), row["decoding"].get("stop", [])
        if not isinstance(stop, list):
            raise TypeError(f"'stop' is a {type(stop).__name__}, not a list")
        decoding = Decoding(**{**row["decoding"], "stop": tuple(stop)})
        key = sample_key(messages_hash(messages), settings_hash(generator, decoding), row["sample"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}", expected=form) from error
    if row["finish_reason"] not in get_args(FinishReason):
        raise unknown_name(f"finish_reason in {where}:", row["finish_reason"], get_args(FinishReason))
    if row["key"] not in (None, key):
        raise InputError(f"{where}: the key is {row['key']}", expected=f"{key}, the hash of its parts; or no key")
    generation = Generation(**{name.name: row[name.name] for name in fields(Generation)} | {"key": key})
    stored = StoredGeneration(generation, row["created"] or now(), row["verbatim"])
    return StoreEntry(messages, generator, decoding, row["sample"], stored, row["prompt"])
