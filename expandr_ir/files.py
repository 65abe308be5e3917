"""Reading and writing files so that an error names its line and nothing is ever half-written."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from expandr_ir.errors import InputError, MissingResourceError


def home() -> Path:
    """The folder for caches, indexes and the expansion store: $EXPANDR_HOME, else ~/.cache/expandr_ir."""
    return Path(os.environ.get("EXPANDR_HOME") or "~/.cache/expandr_ir").expanduser()


def open_bytes(path: Path) -> BinaryIO | gzip.GzipFile:
    """A binary stream of a plain or gzipped file (by its .gz ending).

    Raises:
        MissingResourceError: there is no such file.
    """
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is not there"
        raise MissingResourceError(f"{path} {what}", expected="a readable file")
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line of a UTF-8 text file, plain or .gz, with its number from 1; blank lines are passed over.

    Raises:
        MissingResourceError: there is no such file.
        InputError: invalid UTF-8, a NUL byte, or a truncated or broken gzip stream, with the line's number.
    """
    number = 0
    with open_bytes(path) as stream:
        try:
            for number, raw in enumerate(stream, start=1):
                if b"\0" in raw:
                    raise InputError(
                        f"{path}, line {number}: a NUL byte at column {raw.index(0) + 1}",
                        expected="UTF-8 text",
                        remedy=f"remove it: tr -d '\\000' < {path.name} > clean-{path.name}",
                    )
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{path}, line {number}: invalid UTF-8 at byte {error.start + 1} of the line",
                        expected="UTF-8 text",
                        remedy=f"convert it: iconv -f latin1 -t utf-8 {path.name}",
                    ) from error
                if line.strip():
                    yield number, line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"{path}: unreadable gzip after line {number} ({error})",
                expected="a complete gzip file",
                remedy=f"check it with: gzip -t {path.name}; then fetch or write it again",
            ) from error


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each JSON object of a JSON-lines file, plain or .gz, with its line number from 1.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a line that is no JSON object, or any fault that `read_lines` names.
    """
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: malformed JSON ({error.msg} at column {error.colno})",
                expected="one JSON object a line",
                remedy=f"look at it: sed -n {number}p {path.name}",
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: a JSON {type(row).__name__}", expected="a JSON object")
        yield number, row


def text_field(row: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    """The first of the named fields that the row has, as a string; ids that are integers become their digits.

    Args:
        row: one JSON object.
        names: acceptable field names, best first.
        where: file and line, for the error.

    Raises:
        InputError: none of the fields is there, or its value is neither a string nor an integer.
    """
    for name in names:
        if name in row:
            value = row[name]
            if isinstance(value, str):
                return value
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
            raise InputError(f"{where}: {name!r} is a {type(value).__name__}", expected=f"{name!r} as a string")
    raise InputError(
        f"{where}: no field {' or '.join(repr(name) for name in names)}; it has {', '.join(sorted(row)) or 'none'}",
        expected=f"a field {names[0]!r}",
    )


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    r"""A stream to a temporary name in the same folder, renamed to `path` when the block ends without an error.

    Text is UTF-8 with "\n" line ends; a path that ends in .gz is compressed (with a fixed time stamp, so that equal
    content gives equal bytes).

    Raises:
        OSError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
                    yield from _as_mode(packed, mode)
            else:
                yield from _as_mode(raw, mode)
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename in {None, str(temporary)}:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _as_mode(raw: IO[bytes] | gzip.GzipFile, mode: str) -> Iterator[IO[Any]]:
    if "b" in mode:
        yield raw  # type: ignore[misc]
        return
    text = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock file `path`, after waiting for the process that holds it; the system ends a dead process's lock.

    The file is there only while the block runs.

    Args:
        path: the lock file.
        on_wait: called once where another process holds it.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_wait:
                    on_wait()
                    on_wait = None
                fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is_at(path, stream.fileno()):
                continue  # the process that held it has deleted it: this lock guards nothing
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at that path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON (sorted keys, no spaces, UTF-8), in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
