"""One file over HTTP: streamed, gone on with where it was cut off, tried again, checked."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from expandr_ir.errors import ExpandrError, MissingResourceError

if TYPE_CHECKING:
    from requests import Response

log = logging.getLogger(__name__)

_CHUNK = 2**14
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT_S = 30.0
_HTML = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Args:
        timeout_s: seconds without a byte until a server counts as hanging.
        attempts: tries in a row that bring no byte.
        wait_s: seconds before the second try; each further wait is twice as long, 30 at most.
    """

    timeout_s: float = 60.0
    attempts: int = 5
    wait_s: float = 1.0


class _TryAgainError(Exception):
    """This try brought nothing more; the message says why."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def download(
    url: str, part: Path, size: int | None, patience: Patience, on_progress: Callable[[int, int | None], None]
) -> None:
    """Downloads a file into `part`, going on after the bytes that are there already.

    Args:
        url: http or https.
        part: where; what an interrupted download leaves there is used by the next one.
        size: bytes it must have, where that is known.
        patience: how long to try.
        on_progress: called with the bytes that are there, and how many there will be where that is known.

    Raises:
        MissingResourceError: the address has no such file, or a web page in its place, or cannot be reached.
        ExpandrError: the file has another size.
        OSError: the disk is full, or the folder cannot be written.
    """
    failures, wait_s = 0, patience.wait_s
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _attempt(url, part, size, patience.timeout_s, on_progress)
        except _TryAgainError as error:
            progress = part.exists() and part.stat().st_size > before
            failures, wait_s = (1, patience.wait_s) if progress else (failures + 1, wait_s)
            if failures >= patience.attempts:
                raise MissingResourceError(
                    f"{url} could not be downloaded: {error} ({failures} tries)",
                    expected="a network that reaches it",
                    remedy="the same command again goes on where this one stopped; "
                    "or EXPANDR_DOWNLOAD_MIRROR=FOLDER with a copy of the file",
                ) from error
            log.info("%s: %s; trying again", url, error)
            time.sleep(min(wait_s if error.wait_s is None else error.wait_s, _LONGEST_WAIT_S))
            wait_s *= 2
        else:
            return


def checksum(path: Path, algorithm: str) -> str:
    """The checksum of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _attempt(
    url: str, part: Path, size: int | None, timeout_s: float, on_progress: Callable[[int, int | None], None]
) -> None:
    import requests

    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    if size is not None and have == size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, stream=True, timeout=timeout_s, headers=headers) as response:
            _receive(response, url, part, size, have, on_progress)
    except requests.Timeout as error:
        raise _TryAgainError(f"no answer in {timeout_s:g} s") from error
    except requests.exceptions.InvalidURL as error:
        raise MissingResourceError(f"{url} is no address ({error})") from error
    except requests.RequestException as error:
        cause = str(error) if not isinstance(error, requests.exceptions.ChunkedEncodingError) else "it was cut off"
        raise _TryAgainError("no answer in time" if "timed out" in cause else cause) from error


def _receive(
    response: Response,
    url: str,
    part: Path,
    size: int | None,
    have: int,
    on_progress: Callable[[int, int | None], None],
) -> None:
    """Writes what the server sends; a server that does not know ranges sends all."""
    status = response.status_code
    if status in _RETRIED:
        after = response.headers.get("Retry-After", "")
        raise _TryAgainError(f"the server says {status}", float(after) if after.isdigit() else None)
    if status == 416:  # what is there is longer than the file, or as long, which only the checksum can tell
        if response.headers.get("Content-Range") == f"bytes */{have}" and size is None:
            return
        part.unlink()
        raise _TryAgainError("what was there did not fit the file", 0.0)
    if status not in {200, 206}:
        raise MissingResourceError(
            f"{url}: the server says {status} {response.reason}",
            expected="the file",
            remedy="look at the address; a copy of the file can stand in EXPANDR_DOWNLOAD_MIRROR=FOLDER",
        )
    if status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        part.unlink(missing_ok=True)
        raise _TryAgainError("the server sent another part of the file", 0.0)
    start = have if status == 206 else 0
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else size
    _check_page(response, url)
    if size is not None and total != size:
        raise ExpandrError(f"{url} has {total} bytes", expected=f"{size}", remedy="the file has changed: look at it")
    done = start
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        for chunk in response.iter_content(_CHUNK):
            if done == 0 and chunk.lstrip()[:14].lower().startswith(_HTML):
                raise _a_page(url)
            stream.write(chunk)
            done += len(chunk)
            on_progress(done, total)
    if total is not None and done != total:
        raise _TryAgainError(f"it was cut off after {done} of {total} bytes")


def _check_page(response: Response, url: str) -> None:
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _a_page(url)


def _a_page(url: str) -> MissingResourceError:
    return MissingResourceError(
        f"{url}: a web page came in place of the file",
        expected="the file",
        remedy="open the address in a browser: a login or a proxy may stand before it",
    )
