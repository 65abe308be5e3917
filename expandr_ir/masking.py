"""Secrets: read where they are needed, masked wherever text leaves the program (errors, logs, store, manifests)."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote

MASK = "***"
_SECRET_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)S?$", re.IGNORECASE)
_SECRET_FIELDS = re.compile(r"(api[-_ ]?key|access[-_]?token|secret|password|authorization)$", re.IGNORECASE)
_SHORTEST = 6  # a shorter value is a placeholder, such as "none", and would blot out ordinary words
_SHORTEST_IN_TEXTS = 12  # so is one without a digit in what an LLM wrote: "ollama", "lm-studio"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROL_BUT_BOLD = re.compile(r"(?!\x1b\[[01]m)" + _CONTROL.pattern)
_KEY_SHAPES = re.compile(
    r"(?<![\w-])(?:sk-(?=[\w-]*\d)[\w-]{16,}|(?:hf_|gsk_|xai-|nvapi-)[\w-]{20,}|AIza[\w-]{30,}|gh[a-z]_\w{30,}|AKIA[A-Z\d]{16}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"
)
_CONTEXTS = tuple(
    (re.compile(f"({before}){secret}", re.IGNORECASE), rf"\1{MASK}")
    for before, secret in (
        (r"[\w+.-]://", r"[^\s/@'\"]++(?=@)"),
        (r"Bearer ", r"[^\s'\"]+"),
        (r"[?&](?:api[-_]?key|key|token|access_token|secret|password)=", r"[^\s&#'\"]+"),
        (r"[\"'](?:api[-_ ]?key|access[-_]?token|secret|password|authorization)\\?[\"']\s*:\s*\\?[\"']", r"[^\"'\\]+"),
        (r"api[-_ ]?key(?: provided)?\s*[:=]\s*", r"(?=[^\s'\",;&}]{0,200}\d)[^\s'\",;&}]{6,}"),
    )
)
"""Places of secrets: a URL's password or key, an Authorization header, a JSON field, "API key: ..."."""
_registered: set[str] = set()


def read_secret(variable: str) -> str:
    """The environment variable's value without surrounding white space, "" where it is not set; masked from then on."""
    secret = os.environ.get(variable, "").strip()
    register(secret)
    return secret


def register(secret: str) -> None:
    """Masks this secret from now on."""
    _registered.add(secret)


class Known(NamedTuple):
    """Known secrets in all their forms, longest first: those masked everywhere, and those masked in LLMs' texts."""

    everywhere: list[str]
    in_texts: list[str]


def known_secrets() -> Known:
    """The secrets that are known now; whoever masks many texts reads them once."""
    named = {value.strip() for name, value in os.environ.items() if _SECRET_NAMES.search(name)}
    secrets = {secret for secret in _registered | named if len(secret) >= _SHORTEST}
    random = {secret for secret in secrets if len(secret) >= _SHORTEST_IN_TEXTS and any(map(str.isdigit, secret))}
    return Known(_forms(secrets), _forms(random))


def mask(text: str, known: Known | None = None) -> str:
    """The text with secrets replaced by ***.

    Secrets are the values of `read_secret` and of environment variables that are named like secrets (OPENAI_API_KEY,
    HF_TOKEN), as they are, escaped as Python or JSON do, and percent-encoded; what has the shape of a provider's key;
    bearer tokens, and passwords and keys in URLs.
    """
    text = _KEY_SHAPES.sub(MASK, _replace(text, (known or known_secrets()).everywhere))
    for pattern, masked in _CONTEXTS:
        text = pattern.sub(masked, text)
    return text


def mask_text(text: str, known: Known | None = None) -> str:
    """An LLM's text with known secrets replaced by ***: a server can send the key that it was given."""
    return _replace(text, (known or known_secrets()).in_texts)


def mask_key_shapes(text: str, known: Known | None = None) -> str:
    """As `mask_text`, and with *** for what has the shape of a provider's key."""
    return _KEY_SHAPES.sub(MASK, mask_text(text, known))


def mask_json(value: Any) -> Any:
    """A JSON value whose strings are masked, and those of fields that are named like secrets altogether."""
    if isinstance(value, dict):
        secret = {name for name, item in value.items() if _SECRET_FIELDS.search(name) and isinstance(item, str)}
        return {mask(name): MASK if name in secret else mask_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [mask_json(item) for item in value]
    return mask(value) if isinstance(value, str) else value


def printable(text: str, *, bold: bool = False) -> str:
    """The text with a blank for each control character but line breaks and tabs, text direction mark and surrogate.

    Text from outside (titles, names, servers' messages) passes through here on its way to a terminal or file. With
    `bold`, a terminal's codes for bold type stay.
    """
    return (_CONTROL_BUT_BOLD if bold else _CONTROL).sub(" ", text)


class MaskingFormatter(logging.Formatter):
    """Formats a log record, its traceback included, and masks it."""

    def format(self, record: logging.LogRecord) -> str:
        """The masked text."""
        return printable(mask(super().format(record)))


def mask_stderr() -> None:
    """Masks what Python itself writes to stderr: uncaught exceptions, those of threads and finalizers, warnings."""
    sys.excepthook = print_exception
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda args: print_exception(args.exc_type, args.exc_value, args.exc_traceback)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = lambda args: print_exception(args.exc_type, args.exc_value, args.exc_traceback)
    warnings.formatwarning = _format_warning


def print_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Writes an uncaught exception, masked and printable, to stderr: a `sys.excepthook`."""
    sys.stderr.write(printable(mask("".join(traceback.format_exception(kind, error, trace)))))


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return printable(mask(_FORMAT_WARNING(message, category, filename, lineno, line)))


_FORMAT_WARNING = warnings.formatwarning


def _replace(text: str, forms: Iterable[str]) -> str:
    for form in forms:
        text = text.replace(form, MASK)
    return text


def _forms(secrets: Iterable[str]) -> list[str]:
    forms = (
        {secret, repr(secret)[1:-1], secret.encode("unicode_escape").decode(), quote(secret, safe="")}
        for secret in secrets
    )
    return sorted(set().union(*forms), key=len, reverse=True)
