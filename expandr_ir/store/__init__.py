"""The expansion store: what LLMs wrote, raw, each text under the hash of everything that went into it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from expandr_ir.errors import ExpandrError
from expandr_ir.files import home, sha256_json
from expandr_ir.records import Decoding, Generation, GenerationRequest, GeneratorId, Message
from expandr_ir.store.database import Database, Schema
from expandr_ir.store.keys import messages_json, sample_key, settings_json

_SCHEMA = Schema(
    name="expansion store",
    application_id=0x65787064,
    version=1,
    tables="""
        CREATE TABLE messages (hash TEXT PRIMARY KEY, messages TEXT NOT NULL, prompt TEXT);
        CREATE TABLE settings (hash TEXT PRIMARY KEY, generator TEXT NOT NULL, decoding TEXT NOT NULL);
        CREATE TABLE generations (
            key TEXT PRIMARY KEY,
            messages TEXT NOT NULL REFERENCES messages,
            settings TEXT NOT NULL REFERENCES settings,
            sample INTEGER NOT NULL,
            text TEXT NOT NULL,
            finish_reason TEXT NOT NULL CHECK (finish_reason IN ('stop', 'length', 'refused', 'error')),
            tokens_in INTEGER,
            tokens_out INTEGER,
            seconds REAL NOT NULL,
            engine_version TEXT NOT NULL,
            error TEXT,
            created TEXT NOT NULL,
            verbatim INTEGER NOT NULL
        );
        CREATE TABLE leases (batch TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL);
    """,
)
_GENERATION = tuple(field.name for field in fields(Generation))
_SELECT = f"SELECT created, verbatim, {', '.join(_GENERATION)} FROM generations WHERE key IN "  # noqa: S608
_INSERT_MESSAGES = "INSERT INTO messages VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_INSERT_SETTINGS = "INSERT INTO settings VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_DELETE_FAILURE = """
    DELETE FROM generations
    WHERE key = :key AND finish_reason IN ('error', 'refused')
        AND (:finish_reason NOT IN ('error', 'refused') OR created < :created)
"""
_INSERT_GENERATION = """
    INSERT INTO generations VALUES (
        :key, :messages, :settings, :sample, CAST(:text AS TEXT), :finish_reason, :tokens_in, :tokens_out, :seconds,
        :engine_version, CAST(:error AS TEXT), :created, :verbatim
    ) ON CONFLICT DO NOTHING
"""
_KEYS_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class StoredGeneration:
    """A generation as the store holds it.

    Args:
        generation: what the LLM answered, or why it did not.
        created: when, in UTC, ISO 8601.
        verbatim: the text came from outside and is searched as it stands, without cleaning.
    """

    generation: Generation
    created: str
    verbatim: bool


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """A stored generation with all that its key stands for.

    Args:
        messages: the rendered prompt.
        generator: what wrote the text.
        decoding: how it was sampled.
        sample: its index, from 0.
        stored: the generation.
        prompt: the template that the messages were rendered from, where known; not part of the key.
    """

    messages: tuple[Message, ...]
    generator: GeneratorId
    decoding: Decoding
    sample: int
    stored: StoredGeneration
    prompt: str | None = None


def store_path(path: Path | None = None) -> Path:
    """The store's file: `path`, else $EXPANDR_STORE, else store.sqlite in `files.home()`."""
    return path or Path(os.environ.get("EXPANDR_STORE") or home() / "store.sqlite").expanduser()


def now() -> str:
    """The time in UTC, ISO 8601, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Store:
    """The store of one file; opened with `Store.open`, safe to share between threads, not between processes."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, path: Path | None = None, create: bool = True) -> Store:
        """The store of a file.

        Args:
            path: the file; None takes `store_path()`.
            create: make the file where there is none.

        Raises:
            MissingResourceError: there is no such file and none is to be made.
            StoreCorruptError: the file is damaged.
            ExpandrError: the file is no store, or of another version, or cannot be written.
        """
        return cls(Database.open(store_path(path), _SCHEMA, create))

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """How many generations there are, failed ones included."""
        with self.database.reading() as connection:
            (rows,) = connection.execute("SELECT count(*) FROM generations").fetchone()
            return int(rows)

    def get(self, keys: Iterable[str]) -> dict[str, StoredGeneration]:
        """Those of the keys that the store has, by key; failed and refused generations are among them.

        Raises:
            StoreCorruptError: the file is damaged.
        """
        wanted = list(keys)
        found: dict[str, StoredGeneration] = {}
        with self.database.reading() as connection:
            for start in range(0, len(wanted), _KEYS_PER_QUERY):
                some = wanted[start : start + _KEYS_PER_QUERY]
                marks = ", ".join("?" * len(some))
                for created, verbatim, *columns in connection.execute(f"{_SELECT}({marks})", some):
                    generation = Generation(*columns)
                    found[generation.key] = StoredGeneration(generation, created, bool(verbatim))
        return found

    def put(
        self,
        generations: Iterable[Generation],
        requests: Iterable[GenerationRequest],
        generator: GeneratorId,
        prompt: str | None = None,
    ) -> int:
        """Keeps what a generator answered, in one commit; how many rows were written.

        Args:
            generations: the answers.
            requests: the requests they answer.
            generator: what wrote them.
            prompt: the template the requests were rendered from.

        Raises:
            ExpandrError: a generation answers none of the requests, or the file cannot be written; nothing is kept.
        """
        asked = {sample.key: (request, sample.sample) for request in requests for sample in request.samples}
        entries = []
        for generation in generations:
            if generation.key not in asked:
                raise ExpandrError(
                    f"{generator.engine} {generator.model} answered {generation.key}, which nobody asked for",
                    expected="one generation for each sample of the requests",
                )
            request, sample = asked[generation.key]
            stored = StoredGeneration(generation, now(), verbatim=False)
            entries.append(StoreEntry(request.messages, generator, request.decoding, sample, stored, prompt))
        return self.add(entries)

    def add(self, entries: Iterable[StoreEntry]) -> int:
        """Keeps entries, in one commit; how many rows were written.

        A text is never replaced: the first that was written stays. A failure is replaced by a text, and by a failure
        that is newer.

        Raises:
            ExpandrError: a key is not the hash of its entry, or the file cannot be written; nothing is kept.
        """
        with self.database.transaction() as connection:
            return sum(_insert(connection, entry) for entry in entries)

    def close(self) -> None:
        """Closes the file; a closed store is not used again."""
        self.database.close()


def _insert(connection: sqlite3.Connection, entry: StoreEntry) -> int:
    generation, stored = entry.stored.generation, entry.stored
    asked, how = messages_json(entry.messages), settings_json(entry.generator, entry.decoding)
    messages, settings = sha256_json(asked), sha256_json(how)
    key = sample_key(messages, settings, entry.sample)
    if key != generation.key:
        raise ExpandrError(
            f"sample {entry.sample} of {entry.generator.model} is said to have the key {generation.key}",
            expected=f"{key}, the hash of its messages, generator, decoding and index",
        )
    connection.execute(_INSERT_MESSAGES, (messages, json.dumps(asked), entry.prompt))
    connection.execute(_INSERT_SETTINGS, (settings, json.dumps(how["generator"]), json.dumps(how["decoding"])))
    row = {name: getattr(generation, name) for name in _GENERATION}
    row |= {"text": _utf8(generation.text), "error": None if generation.error is None else _utf8(generation.error)}
    row |= {"messages": messages, "settings": settings, "sample": entry.sample}
    row |= {"created": stored.created, "verbatim": stored.verbatim}
    connection.execute(_DELETE_FAILURE, row)
    return connection.execute(_INSERT_GENERATION, row).rowcount


def _utf8(text: str) -> bytes:
    """A text as SQLite keeps it: half a surrogate pair, which an LLM's server may send, is kept too."""
    return text.encode("utf-8", "surrogatepass")
