"""Collections and recorded expansions of conf/downloads.yaml: fetched once, checked, and converted."""

from __future__ import annotations

import csv
import errno
import itertools
import logging
import lzma
import os
import re
import shutil
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit
from zipfile import BadZipFile, ZipFile

from expandr_ir.blocks import load_block, where
from expandr_ir.config import conf_dir
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError, unknown_name
from expandr_ir.io.files import (
    exclusive,
    is_web_address,
    parse_json,
    read_jsonl,
    sha256_file,
    text_field,
    write_json,
    write_jsonl,
)
from expandr_ir.masking import printable
from expandr_ir.progress import progress

logger = logging.getLogger(__name__)

MIRROR = "EXPANDR_DOWNLOAD_MIRROR"
"""A folder, or an http address, with the files by name: `beir/scifact.zip`, `query2doc/dl19.jsonl`, ..."""

Names: TypeAlias = list[str]  # `list` is an option below

RETRIES = 3
TIMEOUT_S = 60.0
BUSY = {408, 425, 429, 500, 502, 503, 504}

ZIP_FAULTS = (BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError)
"""The exceptions of zipfile for a damaged archive; a RuntimeError for a password or an unknown way to pack."""

NAME_FAULTS = {None, errno.EINVAL, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
"""Errors of the system that are an archive's fault (None: of bz2); of others, such as a full disk, it is not."""


@dataclass(frozen=True)
class Entry:
    """One file of a group."""

    path: str | None = None  # its own part of the address
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None  # in bytes


@dataclass(frozen=True)
class Group:
    """The settings that the files of one publisher share."""

    url: str  # at a fixed revision, with {path} and {name}
    file: str  # what it becomes, below the target folder
    then: Literal["unzip", "query2doc", "querygym"]
    licence: str
    source: str
    items: dict[str, Entry]
    unverified: str | None = None  # why no checksum is known


@dataclass(frozen=True)
class Groups:
    """conf/downloads.yaml."""

    groups: dict[str, Group]


@dataclass(frozen=True)
class Item:
    """One thing to download, by group and name, such as "beir/scifact"."""

    name: str
    group: Group
    entry: Entry
    url: str
    file: str

    @property
    def download_name(self) -> str:
        """Its name below a mirror: the item's, with the ending of the address."""
        return self.name + PurePosixPath(urlsplit(self.url).path).suffix


def items(path: Path | None = None) -> dict[str, Item]:
    """Everything that can be downloaded, by name: of conf/downloads.yaml, or of a file like it."""
    known: dict[str, Item] = {}
    for group_name, group in load_block(Groups, path or conf_dir() / "downloads.yaml").groups.items():
        for name, entry in group.items.items():
            url = group.url.replace("{path}", entry.path or name).replace("{name}", name)
            file = group.file.replace("{name}", name)
            item = Item(f"{group_name}/{name}", group, entry, url, file)
            known[item.name] = item
            checks = sum(map(bool, (entry.sha256, entry.md5, group.unverified)))
            places = PurePosixPath(file), PurePosixPath(item.name)
            outside = any(place.is_absolute() or ".." in place.parts for place in places) or printable(file) != file
            for wrong, found, expected in (
                (checks != 1, f"{checks} of sha256, md5 and unverified", "one of them"),
                (not re.fullmatch("([0-9a-f]{64})?", entry.sha256 or ""), f"sha256 {entry.sha256!r}", "64 hex digits"),
                (not re.fullmatch("([0-9a-f]{32})?", entry.md5 or ""), f"md5 {entry.md5!r}", "32 hex digits"),
                ("{" in url + file, f"url is {url!r}, file is {file!r}", "no braces but {path} (of url) and {name}"),
                (outside, f"file is {file!r}", "a place below the target folder"),
                (not is_web_address(url), f"url is {url!r}", "http or https"),
            ):
                if wrong:
                    raise InputError(f"{where(name)}: {item.name}: {found}", expected=expected)
    return known


@dataclass(frozen=True)
class DownloadOptions:
    """Options of `expandr download`.

    Args:
        names: what to fetch, such as beir/scifact, or patterns such as "querygym/scifact/*".
        output: the folder that it comes to, below which --collection and --expansions name it.
        list: print all names with size and licence, and stop.
    """

    names: Names = field(default_factory=Names)
    output: str = "."
    list: bool = False


def download(options: DownloadOptions) -> str:
    """A line for each file or folder that is there now, or for each that can be fetched."""
    known = items()
    wanted: dict[str, Item] = {}
    for pattern in options.names or ["*"] * options.list:
        matches = {name: item for name, item in known.items() if fnmatchcase(name, pattern)}
        if not matches:
            raise unknown_name("download", pattern, known)
        wanted |= matches
    if options.list:
        return "\n".join(f"{name:<36} {_size(item):>10}  {item.group.licence}" for name, item in wanted.items())
    if not wanted:
        raise InputError("nothing is named", expected="expandr download NAME ...", remedy="expandr download --list")
    paths = fetch(list(wanted), target=Path(options.output))
    return "\n".join(f"{name}: {path}" for name, path in paths.items())


def _size(item: Item) -> str:
    return f"{item.entry.size / 1e6:,.1f} MB" if item.entry.size else "?"


def fetch(names: Sequence[str], *, target: Path) -> dict[str, Path]:
    """The file or folder of each name, downloaded where it is not there yet.

    Below the target, `--data TARGET` finds collections and `--expansions TARGET/expansions` expansions. Beside each
    stands a note of the file that it was made from; as long as that is the one of conf/downloads.yaml, nothing is
    downloaded. Of two processes that want one file, one waits.
    """
    known = items()
    if unknown := [name for name in names if name not in known]:
        raise unknown_name("download", unknown[0], known)
    return {name: _fetch(known[name], target) for name in dict.fromkeys(names)}


def _fetch(item: Item, target: Path) -> Path:
    result, folder = target / item.file, target / ".downloads"
    note, entry = result.with_name(f"{result.name}.download.json"), item.entry
    lock = folder / f"{item.name}.lock"
    with exclusive(lock, lambda: logger.warning("another process downloads %s: waiting", item.name)):
        origin = _read_note(note)
        same = origin.get("md5") == entry.md5 if entry.md5 else origin.get("sha256") == entry.sha256
        if result.exists() and (origin.get("url") == item.url if item.group.unverified else same):
            return result
        digits = entry.md5 or entry.sha256 or origin.get("sha256")  # a file without a checksum keeps its first one
        file = _download(item, folder, digits and f"{'md5' if entry.md5 else 'sha256'}:{digits}")
        sha256 = sha256_file(file)
        if digits is None:
            logger.warning("%s cannot be checked (%s): its sha256 is %s", item.name, item.group.unverified, sha256)
        if item.group.then == "unzip":
            unzip_folder(file, result)
        else:
            write_jsonl(result, query2doc_rows(file) if item.group.then == "query2doc" else querygym_rows(file))
        write_json(note, {"name": item.name, "url": item.url, "sha256": sha256, "md5": entry.md5})
        file.unlink()
    return result


def _read_note(path: Path) -> dict[str, Any]:
    """The note of an earlier download; {} where there is none that can be read."""
    with suppress(FileNotFoundError, ValueError):
        note = parse_json(path.read_bytes())
        return note if isinstance(note, dict) else {}
    return {}


def _download(item: Item, folder: Path, checksum: str | None) -> Path:
    """The downloaded file, complete and checked."""
    import pooch
    import requests

    mirror = os.environ.get(MIRROR)
    place = f"{mirror.rstrip('/')}/{item.download_name}" if mirror else item.url
    logger.warning("downloading %s", place)
    pooch.get_logger().setLevel(logging.ERROR)
    files = pooch.create(folder, "", registry={item.name: checksum}, urls={item.name: place}, retry_if_failed=RETRIES)
    try:
        return Path(files.fetch(item.name, downloader=_bring))
    except requests.RequestException as error:
        found = f"{place} could not be downloaded: {error} ({RETRIES + 1} tries)"
        remedy = f"the same command again, or {MIRROR}=FOLDER with a copy of the file"
        raise MissingResourceError(found, expected="a network that reaches it", remedy=remedy) from error
    except ValueError as error:
        remedy = "the same command again; if it comes out the same, the file has changed at its source"
        raise ExpandrError(f"{place}: {error}", expected=str(checksum), remedy=remedy) from error


def _bring(place: str, output: str, _: Any) -> None:
    """Writes the file of an address or of a mirror folder; pooch tries again after a RequestException."""
    import requests

    if urlsplit(place).scheme not in {"http", "https"}:
        path = Path(place).expanduser()
        if not path.is_file():
            raise MissingResourceError(f"{path} is not there", expected="a copy", remedy=f"fetch it, or unset {MIRROR}")
        shutil.copyfile(path, output)
        return
    headers = {"Accept-Encoding": "identity"}
    with requests.get(place, stream=True, timeout=TIMEOUT_S, headers=headers) as response:
        if response.status_code in BUSY:
            response.raise_for_status()
        chunks = response.iter_content(1 << 16)
        first = next(chunks, b"")
        page = first.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))
        if response.status_code != 200 or page:
            fault = "a web page came in its place" if response.ok else f"the server says {response.status_code}"
            raise MissingResourceError(
                f"{place}: {fault}", expected="the file", remedy=f"look at it; a copy can stand in {MIRROR}=FOLDER"
            )
        size = response.headers.get("Content-Length", "")
        with Path(output).open("wb") as file, progress("bytes", int(size) if size.isdigit() else None) as advance:
            for chunk in itertools.chain([first], chunks):
                file.write(chunk)
                advance(len(chunk))


def query2doc_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of `intfloat/query2doc_msmarco` (query_id, query, pseudo_doc) as --expansions reads them."""
    names = {"topic_id": "query_id", "query": "query", "text": "pseudo_doc"}
    for number, row in read_jsonl(path):
        yield {name: text_field(row, (given,), f"{path}, line {number}") for name, given in names.items()}


def querygym_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of QueryGym's `*.queries.tsv` (topic_id, the string that was searched) as --expansions reads them.

    `searched` is that string, `query_repeats` how often it begins with the topic, and `text` what follows.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t", strict=True)
        try:
            for row in reader:
                if len(row) != 2 or not row[0]:
                    found = f"{path}, line {reader.line_num}: {len(row)} columns"
                    raise InputError(found, expected="topic_id<TAB>string")
                repeats, text = split_repeats(row[1])
                counted = {"query_repeats": repeats} if repeats else {}
                yield {"topic_id": row[0], "text": text, "searched": row[1]} | counted
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}", expected="tab-separated UTF-8") from error


def split_repeats(text: str) -> tuple[int, str]:
    """The times that a text begins with the same words, 2 or more, and the rest; (0, text) where it does not.

    "a b a b a b c" is (3, "c"). Of several such beginnings it is the one that reaches farthest, the shortest of these.
    """
    best, reach, length = 0, 0, 0
    end = text.find(" ")
    while 0 < end <= len(text) // 2:
        unit = text[: end + 1]
        count = 1
        while text.startswith(unit, count * len(unit)):
            count += 1
        if text[count * len(unit) :] == unit[:-1]:
            count += 1
        if count > 1 and count * len(unit) > reach:
            best, reach, length = count, count * len(unit), len(unit)
        end = text.find(" ", end + 1)
    return (best, text[best * length :]) if best else (0, text)


def unzip_folder(archive: Path, folder: Path) -> None:
    """Unpacks the one folder of a zip file as `folder`, complete or not at all, in place of an old one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent) as temporary:
        try:
            with ZipFile(archive) as packed:
                members = [member for member in packed.infolist() if not member.filename.startswith("__MACOSX/")]
                for name, mode in ((member.filename, member.external_attr >> 16) for member in members):
                    path = PurePosixPath(name)
                    if not name or stat.S_ISLNK(mode) or path.is_absolute() or ".." in path.parts or "\\" in name:
                        found = f"{archive}: the member {name!r} has no name, is a link, or would leave the folder"
                        raise InputError(found, expected="files and folders with plain paths")
                packed.extractall(temporary, members)
        except (*ZIP_FAULTS, OSError) as error:
            if isinstance(error, OSError) and error.errno not in NAME_FAULTS:
                raise
            fault = f"{archive} cannot be unpacked ({str(error).replace(temporary, '')})"
            raise InputError(
                fault, expected="a complete zip file, not encrypted, of files with usable names"
            ) from error
        content = list(Path(temporary).iterdir())
        if len(content) != 1 or not content[0].is_dir():
            names = ", ".join(sorted(path.name for path in content)) or "nothing"
            raise InputError(f"{archive}: it holds {names}", expected="one folder")
        if folder.exists():
            shutil.rmtree(folder)
        content[0].rename(folder)
