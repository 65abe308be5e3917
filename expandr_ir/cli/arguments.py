"""From a command line to dataclasses: jsonargparse, with the spellings people type.

A verb's options are dataclasses. On the command line a field `dry_run` is `--dry-run` (underscores work too), a boolean
needs no value, a list is a repeated flag, and a block of conf/ is named: `--generator echo`, then
`--generator.decoding.temperature 0.7`. `--config FILE` reads the same names from YAML.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from expandr_ir.config import generator_block
from expandr_ir.errors import InputError, MissingResourceError, unknown_name

T = TypeVar("T")

BLOCKS = ("generator",)
"""Options that are blocks of conf/, so that a name can stand for them."""

SHORT = {"-m": "--measures", "--measure": "--measures", "-o": "--output"}
PASSED_ON = ("-h", "--help", "--print_config")


@dataclasses.dataclass(frozen=True)
class Verb:
    """What a parser needs to know of a verb.

    Args:
        name: as typed, such as "store ls".
        about: one line.
        examples: commands a reader can copy, one a line.
        positional: the field that takes bare arguments.
    """

    name: str
    about: str
    examples: str
    positional: str | None = None


def parse(verb: Verb, block: type[T], argv: Sequence[str]) -> T:
    """The verb's options as a `block`, from the command line over `--config` files over the defaults.

    Raises:
        InputError: an unknown option or name (the nearest one is suggested), or a value that does not fit.
        SystemExit: code 0 after --help and --print_config.
    """
    kinds = dict(_kinds(block))
    parser = ArgumentParser(
        prog=f"expandr {verb.name}",
        usage=f"expandr {verb.name} [options]" + (f" {verb.positional.upper()} ..." if verb.positional else ""),
        description=verb.about,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in verb.examples.strip().splitlines()),
        formatter_class=_formatter(),
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with these options; may be repeated")
    skip: set[str | int] = {verb.positional} if verb.positional else set()
    parser.add_class_arguments(block, None, as_group=False, sub_configs=True, skip=skip)
    if verb.positional:
        parser.add_argument(verb.positional, nargs="*", type=str, default=[])
    _hyphenate(parser, kinds)
    try:
        values = parser.instantiate(parser.parse_args(_spell(argv, kinds, verb)))
    except ArgumentError as error:
        raise InputError(f"expandr {verb.name}: {error}", remedy=f"expandr {verb.name} --help") from error
    return block(**{field.name: values[field.name] for field in dataclasses.fields(block)})  # type: ignore[arg-type]


def resolved(options: Any) -> dict[str, Any]:
    """The options as plain data, for a manifest."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(options), default=str))
    return plain


def _kinds(block: type[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each option's dotted name with its kind: "flag", "list", "block" or "value"."""
    hints = typing.get_type_hints(block)
    for field in dataclasses.fields(block):
        hint, name = hints[field.name], prefix + field.name
        options = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else (hint,)
        inner = next((option for option in options if dataclasses.is_dataclass(option)), None)
        if isinstance(inner, type):
            yield name, "block"
            yield from _kinds(inner, f"{name}.")
        elif any(typing.get_origin(option) is list for option in options):
            yield name, "list"
        else:
            yield name, "flag" if hint is bool else "value"


def _spell(argv: Sequence[str], kinds: Mapping[str, str], verb: Verb) -> list[str]:
    """The arguments in jsonargparse's own spelling, bare ones last."""
    spelled: list[str] = []
    bare: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*spelled, "--", *bare, *rest]
        if word in PASSED_ON or word.startswith("--print_config="):
            spelled.append(word)
            continue
        if not word.startswith("-") or word == "-":
            bare.append(word)
            continue
        flag, equals, value = word.partition("=")
        name = SHORT.get(flag, flag).lstrip("-").replace("-", "_")
        if name not in kinds and name != "config":
            depth = name.count(".")
            known = [f"--{option.replace('_', '-')}" for option in kinds if option.count(".") == depth]
            raise unknown_name(f"option of expandr {verb.name}", flag, known)
        if not equals:
            value = _next_value(rest, flag, kinds.get(name, "value"))
        spelled.append(_spell_value(name, kinds.get(name, "value"), value))
    if bare and not verb.positional:
        raise InputError(f"expandr {verb.name}: {bare[0]!r} is not an option", remedy=f"expandr {verb.name} --help")
    return spelled + bare


def _next_value(rest: list[str], flag: str, kind: str) -> str:
    if kind == "flag":
        return rest.pop(0) if rest and rest[0] in {"true", "false"} else "true"
    if not rest:
        raise InputError(f"{flag} has no value", expected=f"{flag} VALUE")
    return rest.pop(0)


def _spell_value(name: str, kind: str, value: str) -> str:
    if name == "config":
        return f"--config={_config_text(value)}"
    if kind == "list":
        return f"--{name}={value}" if value.startswith("[") else f"--{name}+={value}"
    return f"--{name}={_block_value(value) if name in BLOCKS else value}"


def _block_value(value: str) -> str:
    """A conf/ name, a YAML path or `engine:model` as what jsonargparse reads: a path or JSON."""
    if value.lstrip().startswith("{"):
        return value
    block = generator_block(value)
    return str(block.resolve()) if isinstance(block, Path) else json.dumps(block)


def _config_text(path: str) -> str:
    """A --config file as JSON text, its named blocks resolved."""
    if not Path(path).is_file():
        raise MissingResourceError(f"--config {path}: no such file", expected="a YAML file")
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: {error}", expected="YAML") from error
    if not isinstance(data, dict):
        raise InputError(f"--config {path}: holds {type(data).__name__}", expected="a mapping of options")
    for name in BLOCKS:
        if isinstance(data.get(name), str):
            data[name] = _block_value(data[name])
            if data[name].startswith("{"):
                data[name] = json.loads(data[name])
    return json.dumps(data)


def _hyphenate(parser: ArgumentParser, kinds: Mapping[str, str]) -> None:
    """Shows flags in --help as they are best typed; both spellings parse."""
    for action in parser._actions:
        names = action.option_strings
        if len(names) == 1 and "_" in names[0] and names[0] != "--print_config":
            action.option_strings = [names[0].replace("_", "-")]
        if kinds.get(action.dest) == "flag":
            action.metavar = ""
        elif kinds.get(action.dest) == "list" and names:
            action.metavar = "VALUE"


def _formatter() -> type[Any]:
    """Help with the examples' line breaks kept."""
    import argparse

    from jsonargparse import DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        pass

    return Formatter
