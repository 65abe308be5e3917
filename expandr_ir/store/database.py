"""One SQLite file, shared by threads and processes: made whole or not at all, and its errors in words."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from expandr_ir.errors import ExpandrError, InputError, MissingResourceError

BUSY_TIMEOUT_S = 30.0
SMALLEST_BYTES = 512
"""SQLite's smallest page: no database is smaller."""


class StoreCorruptError(MissingResourceError):
    """The file is damaged; it is never repaired or made anew without being asked."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} is damaged: {why}",
            expected="a whole SQLite database",
            remedy=f"expandr store verify --store {path}; save what can be read with "
            f"`expandr store export --rescue --store {path} --output rescued.jsonl` (or sqlite3's .recover), "
            "move the file away, and `expandr store import rescued.jsonl`; or put a backup in its place",
        )


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file must be.

    Args:
        name: what the file is, for errors.
        application_id: marks the file as ours (SQLite's application_id).
        version: of the tables (SQLite's user_version).
        tables: the SQL that makes them.
    """

    name: str
    application_id: int
    version: int
    tables: str


class Database:
    """One connection to one file, for the process that opened it; its threads take turns."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._process = os.getpid()
        self._turn = threading.RLock()

    @classmethod
    def open(cls, path: Path, schema: Schema, create: bool) -> Database:
        """The database of a file, checked to be whole at its head, ours, and of this schema.

        Args:
            path: the file.
            schema: what it must be.
            create: make the file where there is none.

        Raises:
            InputError: it is a folder.
            MissingResourceError: there is no such file and none is to be made.
            StoreCorruptError: the file is no database, is cut short, or has lost its head.
            ExpandrError: the file belongs to something else or to another version, or cannot be written.
        """
        if path.is_dir():
            raise InputError(f"{path} is a folder", expected=f"the file of an {schema.name}")
        log = path.with_name(f"{path.name}-wal")
        orphaned = log.exists()
        if not path.exists():
            if orphaned:
                raise StoreCorruptError(path, f"it is gone, but its log {log.name} is there")
            if not create:
                raise MissingResourceError(f"{path} is not there", expected=f"an {schema.name}")
            _make(path, schema)
        size = path.stat().st_size
        if path.is_file() and size < SMALLEST_BYTES:  # SQLite would take it for a new one
            raise StoreCorruptError(path, f"it is cut short ({size} bytes)")
        with _in_words(path):
            connection = _connect(path)
            try:
                _check(path, connection, schema)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone.

        Raises:
            StoreCorruptError: a damaged part of the file was met.
            ExpandrError: any other failure, in words.
        """
        if os.getpid() != self._process:
            raise ExpandrError(
                f"{self.path} was opened in process {self._process} and is used in {os.getpid()}",
                expected="one connection a process",
                remedy="open it after the fork",
            )
        with self._turn, _in_words(self.path):
            yield self._connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread and this process alone; all that is written is kept, or none of it.

        Raises:
            StoreCorruptError: a damaged part of the file was met.
            ExpandrError: any other failure (no space, read-only, locked for long), in words.
        """
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Closes the connection; the last one of all processes folds the log into the file."""
        with self._turn:
            self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    where = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(where, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogatepass")
    return connection


def _make(path: Path, schema: Schema) -> None:
    """Makes the file under another name and links it into place: no process ever sees half of it."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _in_words(path), closing(sqlite3.connect(draft)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {schema.application_id}")
            connection.execute(f"PRAGMA user_version = {schema.version}")
            connection.executescript(schema.tables)
        with suppress(FileExistsError):  # another process was faster
            os.link(draft, path)
        draft.unlink()
    except OSError as error:
        raise ExpandrError(
            f"{path}: {error.strerror}", expected="a folder that can be written", remedy=_ELSEWHERE
        ) from error


def _check(path: Path, connection: sqlite3.Connection, schema: Schema) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != schema.application_id:
        raise ExpandrError(f"{path} is a database of something else", expected=f"an {schema.name}")
    if version != schema.version:
        raise ExpandrError(
            f"{path} has tables of version {version}",
            expected=f"version {schema.version}",
            remedy="use the release of expandr-ir that wrote it, or name another file",
        )
    connection.execute("PRAGMA foreign_keys = ON")


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:  # a wrong call, not a state of the file
            raise
        raise _explained(path, error, code & 0xFF) from error
    except UnicodeDecodeError as error:
        raise StoreCorruptError(path, f"a text in it is no UTF-8 ({error.reason})") from error


_ELSEWHERE = "name another file with --store FILE or EXPANDR_STORE"


def _explained(path: Path, error: sqlite3.DatabaseError, code: int) -> ExpandrError:
    match code:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorruptError(path, str(error))
        case sqlite3.SQLITE_FULL:
            return ExpandrError(
                f"{path}: no space is left on the disk",
                remedy="free some and type the same command again: what was committed is kept",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return ExpandrError(
                f"{path} cannot be written ({error})",
                expected="a file, in a folder, that this user may write",
                remedy=_ELSEWHERE,
            )
        case sqlite3.SQLITE_BUSY:
            return ExpandrError(
                f"{path} was locked by another process for {BUSY_TIMEOUT_S:.0f} s",
                remedy="end what holds it, such as an open sqlite3 shell",
            )
        case _:
            return ExpandrError(f"{path}: {error}", remedy=f"expandr store verify --store {path}")
