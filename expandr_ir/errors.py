"""Errors with the fault, the valid form and the next thing to type; each carries its exit code."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable

from expandr_ir.masking import mask, printable


class ExpandrError(Exception):
    """A failure while running; the base of all errors that this package raises on purpose.

    Args:
        found: the fault, with file and line where there is one.
        expected: the valid form.
        remedy: the next thing to type or do.
    """

    exit_code = 6

    def __init__(self, found: str, *, expected: str | None = None, remedy: str | None = None) -> None:
        self.found = found = printable(mask(found))
        self.expected = expected and printable(mask(expected))
        self.remedy = remedy and printable(mask(remedy))
        parts = [found, self.expected and f"Expected: {self.expected}", self.remedy and f"Try: {self.remedy}"]
        super().__init__("\n".join(filter(None, parts)))


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
    """Done in part: the finished part is kept, the rest is named."""

    exit_code = 7


MOST_LISTED = 40
"""Valid names that an error lists; of more, it lists the nearest ones."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error of an unknown name of this kind ("aggregation"): the valid names, and the nearest as remedy."""
    valid = sorted(known)
    near = difflib.get_close_matches(name, valid, n=5, cutoff=0.5)
    listed = ", ".join(valid if len(valid) <= MOST_LISTED else [*(near or valid[:5]), f"... ({len(valid)} in all)"])
    return InputError(
        f"unknown {kind} {name!r}",
        expected=f"one of {listed}" if valid else f"a {kind}; there are none here",
        remedy=near[0] if near else None,
    )


def some(ids: Iterable[str]) -> str:
    """The first five ids, in a message."""
    listed = list(ids)
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")


_LIMITS = {
    "least": (operator.ge, "{} or more"),
    "above": (operator.gt, "above {}"),
    "most": (operator.le, "at most {}"),
    "below": (operator.lt, "below {}"),
}


def check_number(name: str, value: float | None, **limits: float) -> None:
    """Refuses a number outside its range, of least or above, most or below; None, where an option has it, passes."""
    if isinstance(value, str):
        raise InputError(f"{name} is the text {value!r}", expected="a number")
    if value is not None and not all(_LIMITS[word][0](value, limit) for word, limit in limits.items()):
        expected = ", ".join(_LIMITS[word][1].format(limit) for word, limit in limits.items())
        raise InputError(f"{name} is {value}", expected=expected)


def check_fields(options: object, *names: str, prefix: str = "", **limits: float) -> None:
    """Checks the named fields of an options object as `check_number` does."""
    for name in names:
        check_number(f"{prefix}{name}", getattr(options, name), **limits)
