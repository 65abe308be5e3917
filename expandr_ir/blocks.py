"""Dataclasses straight from YAML; what does not fit is named by file and line.

jsonargparse, which reads the command line, tells no line, lets a key stand twice, and takes 17 times as long: 5.2 s for
the 30 files of conf/ with generators, encoders and expanders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from expandr_ir.errors import InputError, MissingResourceError, unknown_name

T = TypeVar("T")

KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true, false", list: "a list", dict: "a mapping"}


class Text(str):
    """A string of a YAML file, with its file and line."""

    where = "here"


yaml.SafeDumper.add_representer(Text, yaml.representer.SafeRepresenter.represent_str)


def load_block(block: type[T], path: Path) -> T:
    """The dataclass that a YAML file holds."""
    if not path.is_file():
        raise MissingResourceError(f"{path} is not there", expected="a YAML file")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise InputError(f"{place}: {getattr(error, 'problem', None) or error}", expected="YAML") from error
    if node is None:
        raise InputError(f"{path} is empty", expected=f"the keys of {block.__name__}")
    value: T = _fit(block, _located(path, node), str(path), "the file")
    return value


def where(text: str) -> str:
    """File and line of a string of a YAML file."""
    return getattr(text, "where", "here")


def unknown(name: str, kind: str, known: Iterable[str], place: str = "") -> InputError:
    """The error of an unknown name in a file, with the nearest known one."""
    error = unknown_name(kind, name, known)
    return InputError(f"{place or where(name)}: {error.found}", expected=error.expected, remedy=error.remedy)


def check_names(kind: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Refuses names of a YAML file that are not known, or stand twice."""
    for at, name in enumerate(names):
        if name not in known:
            raise unknown(name, kind, known)
        if name in names[:at]:
            raise InputError(f"{where(name)}: {name!r} a second time", expected=f"each {kind} once")


def _located(path: Path, node: yaml.Node) -> Any:
    """The node's value, whose strings know where they stand."""
    if isinstance(node, yaml.SequenceNode):
        return [_located(path, item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Text, Any] = {}
        for key_node, value_node in node.value:
            key = _text(path, key_node, key_node.value)
            if first := next((earlier for earlier in mapping if earlier == key), None):
                line = first.where.rpartition(", ")[2]
                raise InputError(f"{where(key)}: {key!r} a second time; the first is {line}", expected="each name once")
            mapping[key] = _located(path, value_node)
        return mapping
    value = yaml.SafeLoader("").construct_document(node)
    return _text(path, node, value) if isinstance(value, str) else value


def _text(path: Path, node: yaml.Node, value: str) -> Text:
    text = Text(value)
    text.where = f"{path}, line {node.start_mark.line + 1}"
    return text


def _fit(hint: Any, value: Any, place: str, name: str) -> Any:
    """The value as the type; `name` is the key that it stands under."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType or kind is Union:
        fitting = [member for member in arguments if _fits(member, value)]
        return _fit((fitting or arguments)[0], value, place, name)
    if kind is Literal and isinstance(value, str) and value not in arguments:
        raise unknown(value, name, arguments, place)
    if not _fits(hint, value):
        shown = KINDS[type(value)] if isinstance(value, list | dict) else repr(value)
        raise InputError(f"{place}: {name!r} is {shown}", expected=KINDS.get(_plain(kind), "null"))
    if is_dataclass(kind):
        return _build(kind, value, place)
    if kind is dict and arguments:
        of_key, of_value = arguments
        return {
            _fit(of_key, key, where(key), "key"): _fit(of_value, item, where(key), key) for key, item in value.items()
        }
    if kind in {list, tuple}:
        return kind(_fit(arguments[0], item, getattr(item, "where", place), name) for item in value)
    return float(value) if kind is float else value


def _fits(hint: Any, value: Any) -> bool:
    """Reports a value of the type, as far as the value itself goes."""
    kind = get_origin(hint) or hint
    if kind is Any:
        return True
    if kind is Literal:
        return value in get_args(hint)
    if kind is float and isinstance(value, str):
        return bool(re.fullmatch(r"[+-]?\d+(\.\d*)?e[+-]?\d+", value))  # 2e-5, which YAML 1.1 takes for a text
    plain = _plain(kind)
    return isinstance(value, (int, float) if plain is float else plain) and isinstance(value, bool) == (plain is bool)


def _plain(kind: Any) -> Any:
    """The type as YAML has it."""
    return dict if is_dataclass(kind) else {tuple: list, Literal: str}.get(kind, kind)


def _build(block: Any, mapping: dict[Text, Any], place: str) -> Any:
    hints, known = get_type_hints(block), {entry.name: entry for entry in fields(block)}
    check_names("key", list(mapping), known)
    for name, entry in known.items():
        if name not in mapping and entry.default is MISSING and entry.default_factory is MISSING:
            raise InputError(
                f"{getattr(next(iter(mapping), ''), 'where', place)}: no key {name!r}", expected=repr(name)
            )
    return block(**{key: _fit(hints[key], value, where(key), key) for key, value in mapping.items()})
