"""One SQLite file, shared by threads and processes: texts are put and got by key, and its errors are put into words."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.io.files import home, sha256_json
from expandr_ir.masking import Known, known_secrets, mask, mask_text
from expandr_ir.records import Decoding, Generation, GenerationRequest, GeneratorId, Message
from expandr_ir.store.fields import field_fault
from expandr_ir.store.keys import messages_json, sample_key, settings_hash, settings_json

APPLICATION_ID = 0x65787064
VERSION = 1
SCHEMA = f"""
    PRAGMA journal_mode = WAL;
    PRAGMA application_id = {APPLICATION_ID};
    PRAGMA user_version = {VERSION};
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
"""
DELETE_EARLIER = """
    DELETE FROM generations
    WHERE key = :key AND CASE
        WHEN :finish_reason IN ('error', 'refused') THEN finish_reason IN ('error', 'refused') AND created < :created
        ELSE finish_reason IN ('error', 'refused') OR created = :replaces
    END
"""
GENERATION_FIELDS = [field.name for field in fields(Generation)]
SELECT = f"""
    SELECT created, verbatim, {", ".join(GENERATION_FIELDS)}
    FROM generations WHERE key IN (SELECT value FROM json_each(?))
"""  # noqa: S608
INSERT_GENERATION = """
    INSERT INTO generations VALUES (
        :key, :messages, :settings, :sample, CAST(:text AS TEXT), :finish_reason, :tokens_in, :tokens_out, :seconds,
        CAST(:engine_version AS TEXT), CAST(:error AS TEXT), :created, :verbatim
    ) ON CONFLICT DO NOTHING
"""
BUSY_TIMEOUT_S = 30.0
SMALLEST_PAGE_BYTES = 512  # of SQLite: no database is smaller
ELSEWHERE = "name another file with --store FILE or EXPANDR_STORE"


class StoreCorruptError(MissingResourceError):
    """The file is damaged; it is never repaired or made anew in silence."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} is damaged: {why}",
            expected="a whole SQLite database",
            remedy=f"expandr store verify --store {path}; save what can be read with "
            f"`expandr store export --rescue --store {path} --output rescued.jsonl` (or sqlite3's .recover), "
            "move the file away, and `expandr store import rescued.jsonl`; or put a backup in its place",
        )


@dataclass(frozen=True, slots=True)
class StoredGeneration:
    """A generation, the time (UTC, ISO 8601), and True for a text from outside, which is searched without cleaning."""

    generation: Generation
    created: str
    verbatim: bool


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """A stored generation with all that its key stands for, and, where known, the template of its messages."""

    messages: tuple[Message, ...]
    generator: GeneratorId
    decoding: Decoding
    sample: int
    stored: StoredGeneration
    prompt: str | None = None


def store_path(path: Path | None = None) -> Path:
    """Returns the store's file: `path`, else $EXPANDR_STORE, else store.sqlite in `files.home()`."""
    return path or Path(os.environ.get("EXPANDR_STORE") or home() / "store.sqlite").expanduser()


def now() -> str:
    """Returns the time in UTC, ISO 8601, to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Store:
    """The store of one file; opened with `Store.open`, safe to share between threads, not between processes."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection, self._process, self._turn = connection, os.getpid(), threading.RLock()

    @classmethod
    def open(cls, path: str | Path | None = None, create: bool = True) -> Store:
        """Returns the store of a file (None: `store_path()`), which is made where there is none if `create`.

        Raises:
            MissingResourceError: there is no such file and none is to be made.
            StoreCorruptError: the file is no database, is cut short, or has lost its head.
            ExpandrError: the file belongs to something else or to another version, or cannot be written.
        """
        path = store_path(None if path is None else Path(path))
        if path.is_dir():
            raise InputError(f"{path} is a folder", expected="the file of an expansion store")
        log = path.with_name(f"{path.name}-wal")
        has_log = log.exists()  # before the look at the file: another process may be making both
        if not path.exists():
            if has_log:
                raise StoreCorruptError(path, f"it is gone, but its log {log.name} is there")
            if not create:
                raise MissingResourceError(f"{path} is not there", expected="an expansion store")
            _create_file(path)
        if path.is_file() and (size := path.stat().st_size) < SMALLEST_PAGE_BYTES:  # SQLite would take it for a new one
            raise StoreCorruptError(path, f"it is cut short ({size} bytes)")
        how: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "check_same_thread": False}
        with _errors_in_words(path), ExitStack() as on_error:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, **how)
            on_error.callback(connection.close)
            connection.text_factory = _decode
            marks = ("application_id", "user_version")
            application, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in marks)
            if application != APPLICATION_ID:
                raise ExpandrError(f"{path} is a database of something else", expected="an expansion store")
            if version != VERSION:
                remedy = "use the release of expandr-ir that wrote it, or name another file"
                found, expected = f"{path} has tables of version {version}", f"version {VERSION}"
                raise ExpandrError(found, expected=expected, remedy=remedy)
            connection.execute("PRAGMA foreign_keys = ON")
            on_error.pop_all()
        return cls(path, connection)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection, for this thread alone; failures become StoreCorruptError or another ExpandrError."""
        if os.getpid() != self._process:
            found = f"{self.path} was opened in process {self._process} and is used in {os.getpid()}"
            raise ExpandrError(found, expected="one connection a process", remedy="open it after the fork")
        with self._turn, _errors_in_words(self.path):
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection, for this thread and process alone; all that is written is kept, or none of it."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def __len__(self) -> int:
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM generations").fetchone()[0])

    def get(self, keys: Iterable[str]) -> dict[str, StoredGeneration]:
        """Returns those of the keys that the store has, by key; failed and refused generations are among them."""
        with self.reading() as connection:
            rows = connection.execute(SELECT, [json.dumps(list(keys))]).fetchall()
        return {row[2]: stored_generation(self.path, *row) for row in rows}

    def put(
        self,
        generations: Iterable[Generation],
        requests: Iterable[GenerationRequest],
        generator: GeneratorId,
        prompt: str | None = None,
        *,
        replaces: Mapping[str, str | None] | None = None,
    ) -> int:
        """Keeps a generator's answers to requests, rendered from `prompt`, in one commit; returns the rows written.

        A text takes the place of the stored one that was `created` when `replaces` says, by key.

        Raises:
            ExpandrError: a generation answers none of the requests, or the file cannot be written; nothing is kept.
        """
        by_key = {sample.key: (request, sample.sample) for request in requests for sample in request.samples}
        entries = []
        for generation in generations:
            if generation.key not in by_key:
                raise ExpandrError(
                    f"{generator.engine} {generator.model} answered {generation.key}, which nobody asked for",
                    expected="one generation for each sample of the requests",
                )
            request, sample = by_key[generation.key]
            stored = StoredGeneration(generation, now(), verbatim=False)
            entries.append(StoreEntry(request.messages, generator, request.decoding, sample, stored, prompt))
        return self.add(entries, replaces)

    def add(self, entries: Iterable[StoreEntry], replaces: Mapping[str, str | None] | None = None) -> int:
        """Keeps entries, in one commit; returns the rows written.

        A text is replaced where `replaces` has its key and time alone: the first that was written stays. A failure is
        replaced by a text, and by a failure that is newer.

        Raises:
            ExpandrError: a key is not the hash of its entry, or the file cannot be written; nothing is kept.
        """
        known = known_secrets()
        with self.transaction() as connection:
            return sum(_insert(connection, entry, replaces or {}, known) for entry in entries)

    def wipe(self) -> None:
        """Takes out of the file, and its log, what was deleted or changed; both are written anew.

        Raises:
            ExpandrError: another process keeps the log from being written anew.
        """
        with self.reading() as connection:
            connection.execute("VACUUM")
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise ExpandrError(
                    f"{self.path} is in use: what was taken out of it still stands in its log",
                    remedy="end the other processes and type the same command again",
                )

    def close(self) -> None:
        """Closes the file; the last connection of all processes folds the log into it."""
        with self._turn:
            self._connection.close()


def _decode(raw: bytes) -> str | bytes:
    """The text; of one that is damaged its bytes, which is no text's type."""
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw


def stored_generation(path: Path, created: str, verbatim: int, *columns: Any) -> StoredGeneration:
    """Returns the generation of a row, `columns` being GENERATION_FIELDS; its error is masked.

    Raises:
        StoreCorruptError: a value is not what was written.
    """
    row = dict(zip(GENERATION_FIELDS, columns, strict=True))
    if fault := field_fault(row):
        raise StoreCorruptError(path, f"of the generation {row['key']}, {fault}")
    if row["error"]:
        row["error"] = mask(row["error"])
    return StoredGeneration(Generation(**row), created, bool(verbatim))


def _insert(connection: sqlite3.Connection, entry: StoreEntry, replaces: Mapping[str, str | None], known: Known) -> int:
    generation = entry.stored.generation
    prompt, how = messages_json(entry.messages), settings_json(entry.generator, entry.decoding)
    messages, settings = sha256_json(prompt), settings_hash(entry.generator, entry.decoding)
    key = sample_key(messages, settings, entry.sample)
    if key != generation.key:
        raise ExpandrError(
            f"sample {entry.sample} of {entry.generator.model} is said to have the key {generation.key}",
            expected=f"{key}, the hash of its messages, generator, decoding and index",
        )
    parts = messages, json.dumps(prompt), entry.prompt
    connection.execute("INSERT INTO messages VALUES (?, ?, ?) ON CONFLICT DO NOTHING", parts)
    parts = settings, json.dumps(how["generator"]), json.dumps(how["decoding"])
    connection.execute("INSERT INTO settings VALUES (?, ?, ?) ON CONFLICT DO NOTHING", parts)
    values = {name: getattr(generation, name) for name in GENERATION_FIELDS}  # asdict copies each value, slowly
    values |= {"messages": messages, "settings": settings, "sample": entry.sample}
    values |= {"created": entry.stored.created, "verbatim": entry.stored.verbatim}
    values["text"] = mask_text(generation.text, known)
    values["error"] = generation.error and mask(generation.error, known)
    values["engine_version"] = mask(generation.engine_version, known)
    for name in ("text", "error", "engine_version"):  # as bytes: SQLite keeps half a surrogate pair, too,
        values[name] = values[name] and values[name].encode("utf-8", "surrogatepass")  # which a server may send
    connection.execute(DELETE_EARLIER, values | {"replaces": replaces.get(key)})
    return connection.execute(INSERT_GENERATION, values).rowcount


def _create_file(path: Path) -> None:
    """Makes the file under another name and links it into place: no process ever sees half of it."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _errors_in_words(path), closing(sqlite3.connect(draft)) as connection:
            connection.executescript(SCHEMA)
        with suppress(FileExistsError):  # another process was faster
            os.link(draft, path)
        draft.unlink()
    except OSError as error:
        found, expected = f"{path}: {error.strerror}", "a folder that can be written"
        raise ExpandrError(found, expected=expected, remedy=ELSEWHERE) from error


@contextmanager
def _errors_in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:  # of SQLite's own message about a table's name
        raise StoreCorruptError(path, f"a name in it is no UTF-8 ({error})") from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:  # a wrong call, not a state of the file
            raise
        found, expected, remedy = f"{path}: {error}", None, f"expandr store verify --store {path}"
        match code & 0xFF:
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                raise StoreCorruptError(path, str(error)) from error
            case sqlite3.SQLITE_FULL:
                found = f"{path}: no space is left on the disk"
                remedy = "free some and type the same command again: what was committed is kept"
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                found, remedy = f"{path} cannot be written ({error})", ELSEWHERE
                expected = "a file, in a folder, that this user may write"
            case sqlite3.SQLITE_BUSY:
                found = f"{path} was locked by another process for {BUSY_TIMEOUT_S:.0f} s"
                remedy = "end what holds it, such as an open sqlite3 shell"
        raise ExpandrError(found, expected=expected, remedy=remedy) from error
