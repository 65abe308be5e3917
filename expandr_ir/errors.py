"""Errors that say what was found, what was expected and what to type next; each carries its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ExpandrError(Exception):
    """A failure while running (exit code 6); the base of all errors this package raises on purpose.

    Args:
        found: what was found, with file and line where there is one.
        expected: what was expected instead.
        remedy: what to type or do next.
    """

    exit_code = 6

    def __init__(self, found: str, *, expected: str | None = None, remedy: str | None = None) -> None:
        self.found, self.expected, self.remedy = found, expected, remedy
        parts = [found]
        if expected:
            parts.append(f"Expected: {expected}")
        if remedy:
            parts.append(f"Try: {remedy}")
        super().__init__("\n".join(parts))


class ComparisonFailedError(ExpandrError):
    """A regression or comparison failed."""

    exit_code = 1


class InputError(ExpandrError):
    """Bad arguments or bad input."""

    exit_code = 2


class NotInstalledError(ExpandrError):
    """Something is not installed."""

    exit_code = 3


class MissingResourceError(ExpandrError):
    """A file, index, model, collection or network resource is not there."""

    exit_code = 4


class PartlyDoneError(ExpandrError):
    """Done in part: what was done is kept, the rest is named."""

    exit_code = 7


MOST_LISTED = 40
"""Valid names that an error lists; of more, it lists the nearest ones."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An InputError for an unknown name, with the valid ones, of which the nearest is what to try.

    Args:
        kind: what the name names, such as "aggregation".
        name: the unknown name.
        known: the valid names.
    """
    valid = sorted(known)
    near = difflib.get_close_matches(name, valid, n=5, cutoff=0.5)
    listed = ", ".join(valid if len(valid) <= MOST_LISTED else [*(near or valid[:5]), f"... ({len(valid)} in all)"])
    return InputError(
        f"unknown {kind} {name!r}",
        expected=f"one of {listed}" if valid else f"a {kind}; there are none here",
        remedy=near[0] if near else None,
    )
