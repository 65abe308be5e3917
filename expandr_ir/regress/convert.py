"""Files as others publish them -> what this package reads: rows for --expansions, folders in BEIR's layout."""

from __future__ import annotations

import csv
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.files import read_jsonl, text_field


def query2doc_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of `intfloat/query2doc_msmarco` (query_id, query, pseudo_doc) as --expansions reads them.

    Raises:
        InputError: a row that does not fit, with its line.
    """
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        yield {
            "topic_id": text_field(row, ("query_id",), where),
            "query": text_field(row, ("query",), where),
            "text": text_field(row, ("pseudo_doc",), where),
        }


def querygym_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of QueryGym's `*.queries.tsv` (topic_id, the string that was searched) as --expansions reads them.

    `searched` is that string. Where it begins with the topic several times, `query_repeats` says how often, and `text`
    is what follows; else `text` is all of it.

    Raises:
        InputError: a row that has not two columns, with its line, or text that is not UTF-8.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t", strict=True)
        try:
            for row in reader:
                if len(row) != 2 or not row[0]:
                    raise InputError(
                        f"{path}, line {reader.line_num}: {len(row)} columns", expected="topic_id<TAB>string"
                    )
                topic_id, searched = row
                repeats, text = split_repeats(searched)
                found: dict[str, Any] = {"topic_id": topic_id, "text": text, "searched": searched}
                yield found | ({"query_repeats": repeats} if repeats else {})
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}", expected="tab-separated UTF-8") from error


def split_repeats(text: str) -> tuple[int, str]:
    """How often a text begins with the same words, twice or more, and what follows; (0, text) where it does not.

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
    """Unpacks the one folder of a zip file as `folder`, which appears complete or not at all, in place of an old one.

    Raises:
        InputError: no zip file, a damaged one, another content than one folder, or a member that would leave it.
        ExpandrError: the disk has no room for it.
        OSError: the folder cannot be written.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        with ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.filename.startswith("__MACOSX/")]
            roots = {_checked(archive, member).parts[0] for member in members}
            if len(roots) != 1:
                raise InputError(f"{archive}: it holds {', '.join(sorted(roots)) or 'nothing'}", expected="one folder")
            need, free = sum(member.file_size for member in members), shutil.disk_usage(temporary).free
            if need > free:
                raise ExpandrError(
                    f"{folder.parent}: {free:,} bytes are free, and {folder.name} unpacked takes {need:,}",
                    remedy="make room there, or name another folder",
                )
            packed.extractall(temporary, members)
        root = temporary / roots.pop()
        if not root.is_dir():
            raise InputError(f"{archive}: it holds the file {root.name}", expected="one folder")
        if folder.exists():
            shutil.rmtree(folder)
        root.rename(folder)
    except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{archive} cannot be unpacked ({error})", expected="a complete zip file") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked(archive: Path, member: ZipInfo) -> PurePosixPath:
    """The member's path, which stays inside.

    Raises:
        InputError: it does not, or it is a link.
    """
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or not path.parts:
        raise InputError(f"{archive}: the member {member.filename!r} would leave the folder", expected="plain paths")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{archive}: the member {member.filename!r} is a link", expected="files and folders")
    return path
