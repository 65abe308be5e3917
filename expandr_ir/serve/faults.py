"""Errors as a client gets them: status, what was found, what was expected, what to do; no path, address or key."""

from __future__ import annotations

import re
from typing import Any

from expandr_ir.errors import ExpandrError, InputError, MissingResourceError, NotInstalledError


class RequestError(ExpandrError):
    """A request that is not answered as it stands."""

    status = 400

    def __init__(self, found: str, *, retry_after_s: int | None = None, **parts: Any) -> None:
        self.progress: dict[str, Any] | None = parts.pop("progress", None)
        self.retry_after_s = retry_after_s
        super().__init__(found, **parts)


class UnknownError(RequestError):
    """There is no such index or document."""

    status = 404


class BusyError(RequestError):
    """The server cannot answer now; `retry_after_s` says when to come back."""

    status = 503


class LateError(RequestError):
    """The answer took too long."""

    status = 504


_STATUS = {InputError: 400, NotInstalledError: 501, MissingResourceError: 503}
_PLACE = re.compile(r"(?<!\w)(?:https?://|~?/|[A-Za-z]:\\)[^\s'\",;)]*[\w/]")


def status_of(error: ExpandrError) -> int:
    """The HTTP status of an error; 500 is a failure of the server."""
    return getattr(error, "status", None) or _STATUS.get(type(error), 500)


def headers_of(error: ExpandrError) -> dict[str, str]:
    """The header that says when to come back, where the error does."""
    after = getattr(error, "retry_after_s", None)
    return {} if after is None else {"Retry-After": str(after)}


def body_of(error: ExpandrError) -> dict[str, Any]:
    """The error as JSON: `error`, as Pyserini's server has it, with `expected`, `remedy` and `progress` if any."""
    parts = {"error": error.found, "expected": error.expected, "remedy": error.remedy}
    body: dict[str, Any] = {name: without_places(text) for name, text in parts.items() if text}
    progress = getattr(error, "progress", None)
    return body if progress is None else body | {"progress": progress}


def without_places(text: str) -> str:
    """The text with "..." for folders, files and addresses of servers."""
    return _PLACE.sub("...", text)
