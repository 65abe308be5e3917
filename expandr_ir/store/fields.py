"""The fields of a stored generation: of a row of the file, and of a line of an export."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

NEEDED = object()
FIELDS: dict[str, tuple[tuple[type, ...], Any]] = {
    "key": ((str, NoneType), None),
    "prompt": ((str, NoneType), None),
    "messages": ((list,), NEEDED),
    "generator": ((dict,), NEEDED),
    "decoding": ((dict,), NEEDED),
    "sample": ((int,), NEEDED),
    "text": ((str,), NEEDED),
    "finish_reason": ((str,), "stop"),
    "tokens_in": ((int, NoneType), None),
    "tokens_out": ((int, NoneType), None),
    "seconds": ((float, int), 0.0),
    "engine_version": ((str,), ""),
    "error": ((str, NoneType), None),
    "created": ((str, NoneType), None),
    "verbatim": ((bool,), True),
}
"""In their order: types of the JSON value, and the value of a field that is not there."""

PLAIN = ("key", "prompt", "finish_reason", "created")
"""Fields that are kept as Unicode; texts and errors are kept as they came."""

_SURROGATE = re.compile("[\ud800-\udfff]")

FLAGS = {0: False, 1: True}
"""SQLite's values of a field that is true or false."""


def field_fault(row: Mapping[str, Any]) -> str | None:
    """The first field of a row that has no value, or one of a wrong type or out of range, in words."""
    for name, value in row.items():
        kind = type(value)
        if kind not in FIELDS[name][0]:
            if value is NEEDED:
                return f"no field {name!r}"
            return f"{name!r} is no UTF-8" if kind is bytes else f"{name!r} is a {kind.__name__}"
        if kind is str:
            if name in PLAIN and _SURROGATE.search(value):
                return f"{name!r} has half a surrogate pair"
        elif kind in (int, float) and not 0 <= value < 2**63:
            return f"{name!r} is {value}, no number from 0 to 2**63"
    return None
