"""Secrets: read where they are needed, masked wherever text leaves the program (errors, logs, store, manifests)."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from urllib.parse import quote

MASK = "***"
_SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)S?$", re.IGNORECASE)
_SHORTEST = 6  # a shorter value would blot out ordinary words
_PASSWORD_IN_URL = re.compile(r"(\w[\w+.-]*://)[^\s/@'\"]+@")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BEARER = re.compile(r"(Bearer )[^\s'\"]+")
_registered: set[str] = set()


def read_secret(variable: str) -> str:
    """The environment variable's value without surrounding white space, "" where it is not set; masked from then on."""
    secret = os.environ.get(variable, "").strip()
    if secret:
        _registered.add(secret)
    return secret


def mask(text: str) -> str:
    """The text with known secrets, bearer tokens and passwords of URLs replaced by ***.

    Known are the values of `read_secret` and of environment variables that are named like secrets (OPENAI_API_KEY,
    HF_TOKEN), as they are, escaped as Python or JSON do, and percent-encoded.
    """
    for form in sorted({form for secret in _secrets() for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, MASK)
    return _BEARER.sub(rf"\1{MASK}", _PASSWORD_IN_URL.sub(rf"\1{MASK}@", text))


def printable(text: str) -> str:
    """The text with a blank for each control character but line breaks and tabs, text direction mark and surrogate.

    Text from outside (titles, names, servers' messages) passes through here on its way to a terminal or file.
    """
    return _CONTROL.sub(" ", text)


class MaskingFormatter(logging.Formatter):
    """Formats a log record, its traceback included, and masks it."""

    def format(self, record: logging.LogRecord) -> str:
        """The masked text."""
        return printable(mask(super().format(record)))


def print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Writes an uncaught exception, masked, to stderr: a `sys.excepthook`."""
    sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))


def _secrets() -> Iterator[str]:
    yield from _registered
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value.strip()) >= _SHORTEST:
            yield value.strip()


def _forms(secret: str) -> tuple[str, ...]:
    return secret, repr(secret)[1:-1], secret.encode("unicode_escape").decode(), quote(secret, safe="")
