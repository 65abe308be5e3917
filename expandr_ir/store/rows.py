"""A stored generation as a JSON object, there and back without loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from types import NoneType
from typing import Any, get_args

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.records import Decoding, FinishReason, Generation, GeneratorId, Message
from expandr_ir.store import StoredGeneration, StoreEntry, now
from expandr_ir.store.keys import messages_hash, sample_key, settings_hash

_TYPES: dict[str, tuple[type, ...]] = {
    "key": (str, NoneType),
    "prompt": (str, NoneType),
    "messages": (list,),
    "generator": (dict,),
    "decoding": (dict,),
    "sample": (int,),
    "text": (str,),
    "finish_reason": (str,),
    "tokens_in": (int, NoneType),
    "tokens_out": (int, NoneType),
    "seconds": (float, int),
    "engine_version": (str,),
    "error": (str, NoneType),
    "created": (str, NoneType),
    "verbatim": (bool,),
}
FIELDS = tuple(_TYPES)
_OPTIONAL: dict[str, Any] = {
    **dict.fromkeys(("key", "prompt", "tokens_in", "tokens_out", "error", "created")),
    "finish_reason": "stop",
    "seconds": 0.0,
    "engine_version": "",
    "verbatim": True,
}
_FORM = "the fields, and their types, that `expandr store export` writes"


def as_row(columns: Sequence[Any]) -> dict[str, Any]:
    """A generation as a JSON object.

    Args:
        columns: of FIELDS, as SQLite gives them; more may follow.
    """
    row = dict(zip(FIELDS, columns, strict=False))
    parsed = {name: json.loads(row[name]) for name in ("messages", "generator", "decoding")}
    return {**row, **parsed, "verbatim": bool(row["verbatim"])}


def as_entry(row: dict[str, Any], where: str) -> StoreEntry:
    """The store's entry of a row, with its key computed anew.

    Args:
        row: has `messages`, `generator`, `decoding`, `sample` and `text` at least.
        where: file and line, for the error.

    Raises:
        InputError: the row is not of the form, or its key is not the hash of its parts.
    """
    row = {**_OPTIONAL, **row}
    for name, types in _TYPES.items():
        if name not in row:
            raise InputError(f"{where}: no field {name!r}", expected=_FORM)
        if type(row[name]) not in types:
            raise InputError(f"{where}: {name!r} is a {type(row[name]).__name__}", expected=_FORM)
        if isinstance(row[name], int | float) and not 0 <= row[name] < 2**63:
            raise InputError(f"{where}: {name!r} is {row[name]}", expected="a number from 0")
    try:
        messages = tuple(Message(**message) for message in row["messages"])
        generator = GeneratorId(**row["generator"])
        decoding = Decoding(**{**row["decoding"], "stop": _stops(row["decoding"].get("stop", []))})
        key = sample_key(messages_hash(messages), settings_hash(generator, decoding), row["sample"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}", expected=_FORM) from error
    if row["finish_reason"] not in get_args(FinishReason):
        raise unknown_name(f"finish_reason in {where}:", row["finish_reason"], get_args(FinishReason))
    if row["key"] not in (None, key):
        raise InputError(f"{where}: the key is {row['key']}", expected=f"{key}, the hash of its parts; or no key")
    generation = Generation(**{field.name: row[field.name] for field in fields(Generation)} | {"key": key})
    stored = StoredGeneration(generation, row["created"] or now(), row["verbatim"])
    return StoreEntry(messages, generator, decoding, row["sample"], stored, row["prompt"])


def _stops(texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list):
        raise TypeError(f"'stop' is a {type(texts).__name__}, not a list")
    return tuple(texts)
