"""What can be downloaded: conf/downloads.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import yaml

from expandr_ir.config import conf_dir
from expandr_ir.errors import InputError, unknown_name

Then: TypeAlias = Literal["unzip", "query2doc", "querygym"]
"""What becomes of a file: a folder, or rows that `--expansions` reads."""

_GROUP = {"url", "file", "then", "licence", "source", "unverified", "items"}
_ITEM = {"path", "sha256", "md5", "size"}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to download.

    Args:
        name: group and name, such as "beir/scifact".
        url: where it is, at a fixed revision.
        file: where the result stands, below the target folder.
        then: what becomes of it.
        licence: under which it is published.
        source: where these facts stand.
        sha256, md5: of the file as it is downloaded; at most one is known.
        unverified: why neither is known.
        size: of the file, in bytes, where it is known.
    """

    name: str
    url: str
    file: str
    then: Then
    licence: str
    source: str
    sha256: str | None = None
    md5: str | None = None
    unverified: str | None = None
    size: int | None = None

    @property
    def download_name(self) -> str:
        """The file's own name below a mirror: the item's, with the ending of the address."""
        return self.name + Path(urlsplit(self.url).path).suffix


@cache
def items() -> MappingProxyType[str, Item]:
    """Everything that can be downloaded, by name."""
    return MappingProxyType(read_items(conf_dir() / "downloads.yaml"))


def read_items(path: Path) -> dict[str, Item]:
    """The items of such a file, by name.

    Raises:
        InputError: it does not fit: an unknown key, a missing one, no checksum and no reason, or a place outside.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    found: dict[str, Item] = {}
    for group, shared in data["groups"].items():
        _check_keys(f"{path}, {group}", shared, _GROUP)
        for name, own in shared["items"].items():
            where = f"{path}, {group}/{name}"
            _check_keys(where, own, _ITEM)
            given: dict[str, Any] = {key: shared[key] for key in _GROUP & shared.keys() - {"items"}}
            given |= {key: own[key] for key in _ITEM & own.keys() - {"path"}} | {"name": f"{group}/{name}"}
            if missing := {"url", "file", "then", "licence", "source"} - given.keys():
                raise InputError(f"{where}: no {', '.join(sorted(missing))}", expected="each of them")
            given["url"] = given["url"].format(path=own.get("path", name), name=name)
            given["file"] = given["file"].format(name=name)
            _check(where, given)
            found[f"{group}/{name}"] = Item(**given)
    return found


def _check_keys(where: str, given: dict[str, Any], known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise unknown_name(f"key of {where}", key, known)


def _check(where: str, given: dict[str, Any]) -> None:
    if given["then"] not in get_args(Then):
        raise unknown_name(f"`then` of {where}", given["then"], get_args(Then))
    known = [key for key in ("sha256", "md5", "unverified") if given.get(key)]
    if len(known) != 1:
        raise InputError(f"{where}: {' and '.join(known) or 'no checksum'}", expected="one of sha256, md5, unverified")
    for key, length in (("sha256", 64), ("md5", 32)):
        text = given.get(key)
        if text and (not isinstance(text, str) or len(text) != length or set(text) - set("0123456789abcdef")):
            raise InputError(f"{where}: {key} is {text!r}", expected=f"{length} hexadecimal digits")
    place = Path(given["file"])
    if place.is_absolute() or ".." in place.parts:
        raise InputError(f"{where}: file is {given['file']!r}", expected="a place below the target folder")
    if urlsplit(given["url"]).scheme not in {"http", "https"}:
        raise InputError(f"{where}: url is {given['url']!r}", expected="http or https")
