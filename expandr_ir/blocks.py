"""Dataclasses straight from YAML; what does not fit is named by file and line.

jsonargparse, which reads the command line, tells no line, lets a key stand twice, and takes 17 times as long: 5.2 s for
the 30 files of conf/ with generators, encoders and expanders.
"""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Collection, Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import date
from functools import cache
from pathlib import Path
from string import Formatter
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from expandr_ir.errors import InputError, MissingResourceError, unknown_name

T = TypeVar("T")

KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


MOST_VALUES = 100_000
"""Values of a YAML file, counted anew at each alias: ours have 1,000, and eight lines of nested aliases billions."""

MOST_NESTED = 100
"""Lists and mappings within each other, in YAML and JSON: real ones have ten; Python's readers fail at about 1,000."""

LARGEST_NUMBER = 2**63
"""The first whole number that SQLite, Lucene and C cannot hold."""


class Text(str):
    """A string of a YAML file, with its file and line."""

    where = "here"


yaml.SafeDumper.add_representer(Text, yaml.representer.SafeRepresenter.represent_str)


def load_block(block: type[T], path: Path) -> T:
    """The dataclass that a YAML file holds."""
    if not path.is_file():
        raise MissingResourceError(f"{path} is not there", expected="a YAML file")
    node = _compose(path.read_bytes(), str(path))
    if node is None:
        raise InputError(f"{path} is empty", expected=f"the keys of {block.__name__}")
    return fit(block, _located(path, node), str(path))


def parse_mapping(text: str | bytes, place: str) -> dict[str, Any]:
    """The plain mapping of a YAML text; `place` is its file or option, for errors."""
    node = _compose(text, place)
    value = None if node is None else _construct(node, place)
    if not isinstance(value, dict):
        raise InputError(f"{place}: holds {type(value).__name__}", expected="a mapping of options")
    return value


def fit(block: type[T], value: Any, place: str) -> T:
    """The dataclass of a mapping; `place` is its file, for errors."""
    fitted: T = _fit(block, value, place, "the file")
    return fitted


@cache
def get_type_hints(block: type[Any]) -> dict[str, Any]:
    """The types of a dataclass's fields: evaluating them takes longer than a search."""
    return typing.get_type_hints(block)


def check_values(options: object, block: type[Any]) -> None:
    """Refuses values that Python code gave an options object: no choice, or no such block."""
    for name, hint in get_type_hints(block).items():  # type: ignore[arg-type] # a class can be hashed
        value, members = getattr(options, name), get_args(hint) if get_origin(hint) in {UnionType, Union} else (hint,)
        choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
        if isinstance(value, str) and choices and str not in members and value not in choices:
            raise unknown_name(name, value, choices)
        if is_dataclass(hint) and not isinstance(value, hint):  # type: ignore[arg-type]
            shown = hint.__name__  # type: ignore[union-attr]
            raise InputError(f"{name} is a {type(value).__name__}", expected=f"{shown}(...), of {hint.__module__}")


def where(text: Any, place: str = "here") -> str:
    """File and line of a string of a YAML file; the place for anything else."""
    return getattr(text, "where", place)


def unknown(name: str, kind: str, known: Iterable[str], place: str = "") -> InputError:
    """The error of an unknown name in a file, with the nearest known one."""
    error = unknown_name(kind, name, known)
    return InputError(f"{place or where(name)}: {error.found}", expected=error.expected, remedy=error.remedy)


def check_names(kind: str, names: Sequence[str], known: Iterable[str], place: str = "here") -> None:
    """Refuses names of a file that are not known, or stand twice."""
    for at, name in enumerate(names):
        if name not in known:
            raise unknown(name, kind, known, where(name, place))
        if name in names[:at]:
            raise InputError(f"{where(name)}: {name!r} a second time", expected=f"each {kind} once")


def placeholders(template: str, known: Collection[str], place: str = "here") -> set[str]:
    """The names in braces of a text that `str.format` fills; each must be known, and stand for no more than a value."""
    try:
        parts = [(name, form) for _, name, *form in Formatter().parse(template) if name is not None]
    except ValueError as error:
        fault = f"{where(template, place)}: {template!r}: {error}"
        raise InputError(fault, expected="braces around a name; a brace of the text itself twice") from error
    for name, form in parts:
        if name not in known or any(form):
            raise unknown(
                f"{{{name}{'...' * any(form)}}}", "placeholder", [f"{{{one}}}" for one in known], where(template, place)
            )
    return {name for name, _ in parts}


def _compose(text: str | bytes, place: str) -> yaml.Node | None:
    """The nodes of a YAML text, which stand for a bounded number of values."""
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        values = 0 if node is None else _count_values(node, {}, 0)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _yaml_error(place, error) from error
    except RecursionError:
        raise InputError(f"{place}: nested more than {MOST_NESTED} deep", expected="YAML of few levels") from None
    if values > MOST_VALUES:
        fault = f"{place}: its aliases (*NAME) stand for more than {MOST_VALUES:,} values"
        raise InputError(fault, expected="a few values, and no alias within itself")
    return node


def _count_values(node: yaml.Node, counted: dict[int, int], depth: int) -> int:
    if depth > MOST_NESTED:
        raise RecursionError
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = MOST_VALUES + 1  # which an alias within itself adds
        counted[id(node)] = 1 + sum(_count_values(part, counted, depth + 1) for part in _parts(node))
    return counted[id(node)]


def _parts(node: yaml.Node) -> Iterable[yaml.Node]:
    """The items of a list, the keys and values of a mapping."""
    if isinstance(node, yaml.ScalarNode):
        return []
    return node.value if isinstance(node, yaml.SequenceNode) else itertools.chain.from_iterable(node.value)


def _construct(node: yaml.Node, place: str) -> Any:
    try:
        return yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as error:
        raise _yaml_error(place, error) from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:  # "!!int x", "!!timestamp x", "!!bool x"
        for part in _parts(node):
            _construct(part, place)  # names the line
        shown = f"{node.value!r} is no {node.tag.rpartition(':')[2]}"
        raise InputError(f"{place}, line {node.start_mark.line + 1}: {shown}", expected="YAML") from error


def _yaml_error(place: str, error: Exception) -> InputError:
    mark = getattr(error, "problem_mark", None)
    place = f"{place}, line {mark.line + 1}" if mark else place
    return InputError(f"{place}: {getattr(error, 'problem', None) or error}", expected="YAML")


def _located(path: Path, node: yaml.Node) -> Any:
    """The node's value, whose strings know where they stand."""
    if isinstance(node, yaml.SequenceNode):
        return [_located(path, item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Text, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                fault = f"{path}, line {key_node.start_mark.line + 1}: a key that is a list or a mapping"
                raise InputError(fault, expected="a name")
            key = _text(path, key_node, key_node.value)
            if first := next((earlier for earlier in mapping if earlier == key), None):
                line = first.where.rpartition(", ")[2]
                raise InputError(f"{where(key)}: {key!r} a second time; the first is {line}", expected="each name once")
            mapping[key] = _located(path, value_node)
        return mapping
    value = _construct(node, str(path))
    if isinstance(value, date):
        value = node.value  # as it was written: JSON has no dates
    if isinstance(value, bytes):
        raise InputError(f"{path}, line {node.start_mark.line + 1}: binary data", expected="text, a number or a list")
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
            _fit(of_key, key, where(key, place), "key"): _fit(of_value, item, where(key, place), key)
            for key, item in value.items()
        }
    if kind in {list, tuple}:
        return kind(_fit(arguments[0], item, where(item, place), name) for item in value)
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
    if isinstance(value, int | float) and not -LARGEST_NUMBER < value < LARGEST_NUMBER:  # nor NaN
        return False
    return isinstance(value, (int, float) if plain is float else plain) and isinstance(value, bool) == (plain is bool)


def _plain(kind: Any) -> Any:
    """The type as YAML has it."""
    return dict if is_dataclass(kind) else {tuple: list, Literal: str}.get(kind, kind)


def _build(block: Any, mapping: dict[Text, Any], place: str) -> Any:
    hints, known = get_type_hints(block), {entry.name: entry for entry in fields(block)}
    check_names("key", list(mapping), known, place)
    for name, entry in known.items():
        if name not in mapping and entry.default is MISSING and entry.default_factory is MISSING:
            raise InputError(f"{where(next(iter(mapping), ''), place)}: no key {name!r}", expected=repr(name))
    return block(**{key: _fit(hints[key], value, where(key, place), key) for key, value in mapping.items()})
