"""Reads and writes files: an error names its line, outputs are checked before the work, and none is ever half there."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.parse import urlsplit

from expandr_ir.blocks import MOST_NESTED
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError

MOST_DIGITS = 300
"""Digits of a whole number in JSON: a float can hold no more than 308, and Python reads no more than 4,300."""


def home() -> Path:
    """The folder for caches, indexes and the expansion store: $EXPANDR_HOME, else ~/.cache/expandr_ir."""
    return Path(os.environ.get("EXPANDR_HOME") or "~/.cache/expandr_ir").expanduser()


def open_bytes(path: Path) -> BinaryIO | gzip.GzipFile:
    """Opens a plain or gzipped file (by its .gz ending) as a binary stream."""
    if not path.is_file():
        fault = "is a folder, not a file" if path.is_dir() else "is not there"
        raise MissingResourceError(f"{path} {fault}", expected="a readable file")
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line of a UTF-8 text file, plain or .gz, with its number from 1; blank lines are passed over."""
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


def parse_json(text: str | bytes, *, pairs: bool = False) -> Any:
    """The value of a JSON text within MOST_NESTED and MOST_DIGITS; a JSONDecodeError, a ValueError, for any other.

    With `pairs`, each object is a tuple of its (name, value), repeated names included.
    """
    text = text if isinstance(text, str) else text.decode("utf-8-sig")
    try:
        value = (_JSON_PAIRS if pairs else _JSON).decode(text)
        if text.count("[") + text.count("{") > MOST_NESTED:
            _check_depth(value)
    except RecursionError:
        raise json.JSONDecodeError(f"lists and objects nested more than {MOST_NESTED} deep", text, 0) from None
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MOST_NESTED + 1):
        nested = [part for part in level if isinstance(part, list | dict | tuple)]
        level = [item for part in nested for item in (part.values() if isinstance(part, dict) else part)]
    if nested:
        raise RecursionError


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise json.JSONDecodeError(f"a number of more than {MOST_DIGITS} digits", digits, 0)
    return int(digits)


_JSON = json.JSONDecoder(parse_int=_whole_number)
_JSON_PAIRS = json.JSONDecoder(parse_int=_whole_number, object_pairs_hook=tuple)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each JSON object of a JSON-lines file, plain or .gz, with its line number from 1."""
    for number, line in read_lines(path):
        try:
            row = parse_json(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: malformed JSON ({error.msg} at column {error.colno})",
                expected="one JSON object a line",
                remedy=f"look at it: sed -n {number}p {path.name}",
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: a JSON {type(row).__name__}", expected="a JSON object")
        yield number, row


def read_json(path: Path, remedy: str | None = None) -> Any:
    """The content of a JSON file."""
    try:
        with open_bytes(path) as stream:
            return parse_json(stream.read())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error})", expected="JSON", remedy=remedy) from error


def is_web_address(text: str) -> bool:
    """Reports an http or https address with a host and port that can exist."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:  # brackets, a port or characters that no address has
        return False


def text_field(row: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    """The first of the named fields that the row has, as a string; ids that are integers become their digits."""
    name = next((name for name in names if name in row), None)
    if name is None:
        raise InputError(
            f"{where}: no field {' or '.join(map(repr, names))}; it has {', '.join(sorted(row)) or 'none'}",
            expected=f"a field {names[0]!r}",
        )
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(
            f"{where}: {name!r} is a {type(value).__name__}", expected=f"{name!r} as a string or a whole number"
        )
    return str(value)


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    r"""A stream to a temporary name in the same folder, renamed to `path` when the block ends without an error.

    Text is UTF-8 with "\n" line ends; a path that ends in .gz is compressed. After an error nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with ExitStack() as open_streams:
            stream: Any = open_streams.enter_context(temporary.open("wb"))
            if path.suffix == ".gz":  # the fixed time stamp gives equal bytes to equal content
                stream = open_streams.enter_context(gzip.GzipFile("", "wb", 6, stream, mtime=0))
            if "b" not in mode:
                stream = open_streams.enter_context(io.TextIOWrapper(stream, encoding="utf-8", newline="\n"))
            yield stream
        with temporary.open("rb") as complete:
            os.fsync(complete.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename in {None, str(temporary)}:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text, whole; UTF-8 cannot hold a lone surrogate: its JSON escape stands for it."""
    with atomic_write(path, "wb") as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any, *, indent: int | None = 2, sort_keys: bool = False) -> None:
    """Writes a value as JSON, whole."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=sort_keys) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes rows as JSON lines, whole, one at a time, and returns their number."""
    count = 0
    with atomic_write(path, "wb") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            count += 1
    return count


def output_file(name: str, inputs: Iterable[str | None] = ()) -> Path:
    """The file to write, which must be none of the inputs; of a symbolic link, the file that it points to."""
    path = Path(name).expanduser()
    path = path.resolve() if path.is_symlink() else path
    if path.is_dir() or name.endswith(os.sep):
        raise InputError(f"--output {name} is a folder", expected="a file", remedy=f"--output {path / 'NAME'}")
    if path.exists() and not path.is_file():
        raise InputError(f"--output {name} is no plain file", expected="a file", remedy="--output NAME, then cat NAME")
    if any(path.resolve() == Path(other).expanduser().resolve() for other in inputs if other):
        raise InputError(f"--output {name} is also read", expected="a file of its own")
    _check_folder(path.parent)
    return path


def output_folder(name: str) -> Path:
    """The folder to write into."""
    path = Path(name).expanduser()
    if path.is_file():
        raise InputError(f"--output {name} is a file", expected="a folder")
    _check_folder(path)
    return path


def _check_folder(folder: Path) -> None:
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ExpandrError(f"{nearest} cannot be written", expected="a folder of yours", remedy="--output elsewhere")


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds a lock file, which exists only while the block runs; the system ends a dead process's lock.

    Where another process holds it, `on_wait` is called, and the block begins when that process is done.
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
