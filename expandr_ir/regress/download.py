"""Recorded expansions and collections, downloaded once, checked, and made into what this package reads."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from expandr_ir.errors import ExpandrError, MissingResourceError, unknown_name
from expandr_ir.files import atomic_write, exclusive
from expandr_ir.regress.convert import query2doc_rows, querygym_rows, unzip_folder
from expandr_ir.regress.downloads import Item, items
from expandr_ir.regress.transfer import Patience, checksum, download

__all__ = ["Item", "Patience", "fetch", "items"]

log = logging.getLogger(__name__)

MIRROR = "EXPANDR_DOWNLOAD_MIRROR"
"""A folder, or an http address, with the files by name: `beir/scifact.zip`, `query2doc/dl19.jsonl`, ..."""

DOWNLOADS = "downloads"
"""The folder below the target that holds what is not complete yet."""


def fetch(
    names: Sequence[str],
    *,
    target: Path,
    timeout_s: float = Patience.timeout_s,
    attempts: int = Patience.attempts,
    on_progress: Callable[[str, int, int | None], None] | None = None,
) -> dict[str, Path]:
    """The file or folder of each name, downloaded where it is not there yet.

    Below the target stand `beir/NAME`, which `--data TARGET` finds, and `expansions/COLLECTION/METHOD.LLM.jsonl`, which
    `--expansions TARGET/expansions` finds. Beside each stands a note of what it was made from; as long as that is what
    is asked for, nothing is downloaded. Of two processes that want the same file, one waits for the other.

    Args:
        names: of `items()`.
        target: the folder.
        timeout_s: seconds without a byte until a server counts as hanging.
        attempts: tries in a row that bring no byte.
        on_progress: called with the name, the bytes that are there, and how many there will be where that is known.

    Raises:
        InputError: an unknown name, or a file that is not what its name says.
        MissingResourceError: the address has no such file, a web page in its place, or cannot be reached.
        ExpandrError: another size or checksum than expected; a file with another checksum is deleted.
        OSError: the disk is full, or the folder cannot be written.
    """
    known = items()
    for name in names:
        if name not in known:
            raise unknown_name("download", name, known)
    patience = Patience(timeout_s, attempts)
    found = {}
    for name in dict.fromkeys(names):
        tell = (lambda done, total, name=name: on_progress(name, done, total)) if on_progress else (lambda *_: None)
        found[name] = fetch_item(known[name], target, patience, tell)
    return found


def fetch_item(item: Item, target: Path, patience: Patience, on_progress: Callable[[int, int | None], None]) -> Path:
    """What `fetch` returns for one item."""
    result = target / item.file
    part = target / DOWNLOADS / f"{item.name}.part"
    with exclusive(part.with_suffix(".lock"), lambda: log.warning("another process downloads %s: waiting", item.name)):
        if result.exists() and _is_current(item, result):
            return result
        kept = _kept_sha256(result)
        sha256 = _bring(item, part, patience, on_progress, kept)
        _make(item, part, result)
        with atomic_write(_note(result)) as stream:
            json.dump({"name": item.name, "url": item.url, "sha256": sha256, "md5": item.md5}, stream, indent=2)
            stream.write("\n")
        part.unlink()
    return result


def _bring(
    item: Item, part: Path, patience: Patience, on_progress: Callable[[int, int | None], None], kept: str | None
) -> str:
    """The SHA-256 of the complete file, after its checksum was found right."""
    part.parent.mkdir(parents=True, exist_ok=True)
    algorithm, expected = ("md5", item.md5) if item.md5 else ("sha256", item.sha256 or kept)
    for last in (False, True):
        begun = part.exists()
        place = _mirrored(item)
        if isinstance(place, Path):
            shutil.copyfile(place, part)
            begun = False
        else:
            _check_room(item, part)
            download(place, part, item.size, patience, on_progress)
        found = checksum(part, algorithm)
        if expected in {None, found}:
            break
        part.unlink()
        if last or not begun:  # else the bytes of the earlier download may be at fault
            raise ExpandrError(
                f"{place}: the {algorithm} is {found}; the file is deleted",
                expected=f"{expected}",
                remedy="the same command again; if it comes out the same, the file has changed at its source",
            )
    sha256 = checksum(part, "sha256")
    if expected is None:
        log.warning("%s cannot be checked (%s): its sha256 is %s", item.name, item.unverified, sha256)
    return sha256


def _make(item: Item, part: Path, result: Path) -> None:
    """Makes the result, complete or not at all."""
    result.parent.mkdir(parents=True, exist_ok=True)
    if item.then == "unzip":
        unzip_folder(part, result)
        return
    rows = query2doc_rows(part) if item.then == "query2doc" else querygym_rows(part)
    with atomic_write(result) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _mirrored(item: Item) -> Path | str:
    """The file of a mirror folder, or the address."""
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return item.url
    if urlsplit(mirror).scheme in {"http", "https"}:
        return f"{mirror.rstrip('/')}/{quote(item.download_name)}"
    path = Path(mirror).expanduser() / item.download_name
    if not path.is_file():
        raise MissingResourceError(
            f"{path} is not there", expected=f"a copy of {item.url}", remedy=f"fetch it, or unset {MIRROR}"
        )
    return path


def _check_room(item: Item, part: Path) -> None:
    free = shutil.disk_usage(part.parent).free
    need = (item.size or 0) - (part.stat().st_size if part.exists() else 0)
    if need > free:
        raise ExpandrError(
            f"{part.parent}: {free:,} bytes are free, and {item.name} takes {need:,} more",
            remedy="make room there, or name another folder",
        )


def _note(result: Path) -> Path:
    return result.with_name(f"{result.name}.download.json")


def _kept_sha256(result: Path) -> str | None:
    """The SHA-256 of the file that an earlier download found, if there was one."""
    try:
        return str(json.loads(_note(result).read_text(encoding="utf-8"))["sha256"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _is_current(item: Item, result: Path) -> bool:
    """Whether the result was made from the file that the item names now."""
    try:
        note = json.loads(_note(result).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    if not isinstance(note, dict):
        return False
    if item.sha256 or item.md5:
        return bool(note.get("sha256") == item.sha256 if item.sha256 else note.get("md5") == item.md5)
    return bool(note.get("url") == item.url)
