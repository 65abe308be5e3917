"""`expandr store verify`: damage and secrets in a store's file, found and, as far as can be, redacted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from expandr_ir.errors import ExpandrError
from expandr_ir.io.files import parse_json, sha256_json
from expandr_ir.masking import known_secrets, mask, mask_key_shapes
from expandr_ir.store.archive import StoreOptions
from expandr_ir.store.fields import FIELDS, FLAGS, field_fault
from expandr_ir.store.keys import sample_key
from expandr_ir.store.store import Store, StoreCorruptError

COLUMNS = [name for name in FIELDS if name not in {"prompt", "messages", "generator", "decoding"}]
MASKS = {"text": mask_key_shapes, "error": mask, "engine_version": mask}
"""The columns that no hash covers, and what masks each: what an LLM wrote may speak of a Bearer."""
MASKED = f"SELECT key, {', '.join(MASKS)} FROM generations"  # noqa: S608
HASHED = f"SELECT messages, settings, {', '.join(COLUMNS)} FROM generations"  # noqa: S608


@dataclass(frozen=True)
class VerifyOptions(StoreOptions):
    """Options of `expandr store verify`.

    Args:
        redact: put *** in place of what looks like a key, in texts, errors and versions.
    """

    redact: bool = False


@dataclass(frozen=True, slots=True)
class Verification:
    """The number of generations in a store (None: it cannot be counted), and a sentence for each fault in it."""

    generations: int | None
    faults: list[str]
    redacted: int | None = None

    @property
    def exit_code(self) -> int:
        """0 for a whole store without secrets."""
        return ExpandrError.exit_code if self.faults else 0

    def __str__(self) -> str:
        count = "an unknown number of" if self.generations is None else f"{self.generations:,}"
        redacted = "" if self.redacted is None else f", {self.redacted:,} redacted"
        return "\n".join([*self.faults, f"{count} generations{redacted}, {len(self.faults)} faults"])


def verify_store(options: VerifyOptions) -> Verification:
    """Checks the file, computes every hash anew, looks for keys of servers, and redacts them if asked to."""
    with options.open() as store:
        redacted = redact(store) if options.redact else None
        faults = verify(store)
        try:
            return Verification(len(store), faults, redacted)
        except StoreCorruptError:
            return Verification(None, faults, redacted)


def verify(store: Store) -> list[str]:
    """Returns a sentence for each fault: SQLite's own check, every hash computed anew, what looks like a secret."""
    faults = []
    for check in (_structure, _messages, _settings, _generations):
        try:
            with store.reading() as connection:
                for fault in check(connection):
                    faults.append(fault)  # noqa: PERF402  those before a damaged page count
        except StoreCorruptError as error:
            faults.append(error.found)
    return list(dict.fromkeys(faults))


def redact(store: Store) -> int:
    """Masks secrets in the columns that no hash covers, free pages of the file included; returns the rows changed."""
    changes, known = [], known_secrets()
    with store.transaction() as connection:
        for key, *values in connection.execute(MASKED):
            row = {name: value for name, value in zip(MASKS, values, strict=True) if isinstance(value, str)}
            masked = {name: MASKS[name](value, known) for name, value in row.items()}
            if masked != row:
                changes.append((key, {name: masked[name] for name in row if masked[name] != row[name]}))
        for key, masked in changes:
            for name, value in masked.items():
                update = f"UPDATE generations SET {name} = CAST(? AS TEXT) WHERE key = ?"  # noqa: S608
                connection.execute(update, (value.encode("utf-8", "surrogatepass"), key))
    store.wipe()
    return len(changes)


def _structure(connection: sqlite3.Connection) -> Iterator[str]:
    for (text,) in connection.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield f"SQLite: {text}"
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} refers to {parent} that are not there"


def _messages(connection: sqlite3.Connection) -> Iterator[str]:
    known = known_secrets()
    for key, messages, prompt in connection.execute("SELECT hash, messages, prompt FROM messages"):
        if not _is_hash(key, messages):
            yield f"messages {key} are not what they were written as; {_remedy(connection, 'messages', key)}"
        elif mask_key_shapes(messages, known) != messages:
            yield f"messages {key} hold something like a key; {_remedy(connection, 'messages', key)}"
        if fault := field_fault({"prompt": prompt}):
            yield f"messages {key}: {fault}"


def _settings(connection: sqlite3.Connection) -> Iterator[str]:
    known = known_secrets()
    for key, *parts in connection.execute("SELECT hash, generator, decoding FROM settings"):
        settings = '{{"generator": {}, "decoding": {}}}'.format(*parts)
        if not _is_hash(key, settings):
            yield f"settings {key} are not what they were written as; {_remedy(connection, 'settings', key)}"
        elif mask(settings, known) != settings:
            yield f"settings {key} hold something like a key; {_remedy(connection, 'settings', key)}"


def _remedy(connection: sqlite3.Connection, column: str, value: object) -> str:
    """The generations whose keys are made of a value, which cannot be mended or masked, and what removes them."""
    query = f"SELECT key FROM generations WHERE {column} = ? ORDER BY rowid"  # noqa: S608
    keys = [str(key)[:16] for (key,) in connection.execute(query, (value,))]
    remedy = f": expandr store forget {' '.join(keys[:5])}{' ...' if len(keys) > 5 else ''}" if keys else ""
    return f"the keys of {len(keys)} generations are made of them{remedy}"


def _generations(connection: sqlite3.Connection) -> Iterator[str]:
    known = known_secrets()
    for messages, settings, *values in connection.execute(HASHED):
        row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
        row["verbatim"] = FLAGS.get(row["verbatim"], row["verbatim"])
        if fault := field_fault(row):
            yield f"generation {row['key']}: {fault}"
        elif {type(messages), type(settings)} != {str} or sample_key(messages, settings, row["sample"]) != row["key"]:
            yield f"generation {row['key']} does not stand under the hash of its parts"
        else:
            for name, masked in MASKS.items():
                if row[name] and masked(row[name], known) != row[name]:
                    yield f"generation {row['key']}: its {name} holds something like a key; --redact masks it"


def _is_hash(key: object, text: object) -> bool:
    try:
        return isinstance(text, str) and sha256_json(parse_json(text)) == key
    except ValueError:
        return False
