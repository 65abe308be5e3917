"""What jsonargparse finds wrong with a command line, in this package's words."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from expandr_ir.errors import InputError, unknown_name

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


BLOCKS = ("generator",)
"""Options that are blocks of conf/, so that a name can stand for them."""


class Option(NamedTuple):
    """An option of a verb: how it is typed, and its type."""

    kind: Literal["flag", "list", "tuple", "dict", "block", "value"]
    hint: Any


def flag_of(name: str) -> str:
    """An option's dotted name as it is best typed: "dry_run" is --dry-run."""
    return f"--{name.replace('_', '-')}"


def forms_of(hint: Any) -> list[Any]:
    """What a union is of, without None; any other type alone."""
    is_union = typing.get_origin(hint) in {typing.Union, types.UnionType}
    return [form for form in typing.get_args(hint) if form is not type(None)] if is_union else [hint]


def choices(hint: Any) -> list[str]:
    """The values of a type that has a few and no others; [] for any other type."""
    forms = forms_of(hint)
    only_literals = all(typing.get_origin(form) is Literal for form in forms)
    return [str(value) for form in forms for value in typing.get_args(form)] if only_literals else []


def fault(text: str, options: Mapping[str, Option], remedy: str) -> InputError:
    """The error that says which option has which value, and what was expected.

    Args:
        text: jsonargparse's message.
        options: the verb's options by dotted name.
        remedy: what to type.
    """
    if missing := re.search(r"arguments are required: (.*)", text):
        flags = dict.fromkeys(flag_of(_asked(name, missing[1])) for name in missing[1].split(", "))
        return InputError(f"{' and '.join(flags)} {'are' if len(flags) > 1 else 'is'} missing", remedy=remedy)
    keys, values = re.findall(r'Parser key "([\w.]+)":', text), re.findall(r"(?:Got|Given) value: (.*)", text)
    if not keys or not values or keys[-1] not in options:
        return InputError(text, remedy=remedy)
    flag, hint = flag_of(keys[-1]), options[keys[-1]].hint
    if known := choices(hint):
        return unknown_name(f"value of {flag}", values[-1], known)
    return InputError(f"{flag} {values[-1]}", expected=_words(hint), remedy=remedy)


def _asked(name: str, missing: str) -> str:
    """What to ask for: a block of which more than one field is missing was not named at all."""
    block = name.rpartition(".")[0]
    return block if block and missing.count(f"{block}.") > 1 else name


def _words(hint: Any) -> str:
    """A type in words."""
    forms = forms_of(hint)
    return " or ".join(" or ".join(choices(form)) or WORDS.get(form, str(form)) for form in forms)
