"""From a command line to dataclasses: jsonargparse, with the spellings people type.

A verb's options are dataclasses. On the command line a field `dry_run` is `--dry-run` (underscores work too), a boolean
needs no value, a list is a repeated flag, and a block of conf/ is named: `--generator echo`, then
`--generator.decoding.temperature 0.7`. `--config FILE` reads the same names from YAML.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from argparse import SUPPRESS
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from expandr_ir.cli.faults import BLOCKS, Option, fault, flag_of, forms_of
from expandr_ir.cli.help import Formatter, tidy
from expandr_ir.config import conf_path, generator_block, names
from expandr_ir.errors import InputError, MissingResourceError, unknown_name

T = TypeVar("T")

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
        MissingResourceError: there is no such --config file.
        SystemExit: code 0 after --help and --print_config.
    """
    options = {name: option for name, option in _options(block) if name != verb.positional}
    bare = f" {verb.positional.removesuffix('s').upper()} ..." if verb.positional else ""
    parser = ArgumentParser(
        prog=f"expandr {verb.name}",
        usage=f"expandr {verb.name} [options]{bare}",
        description=verb.about,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in verb.examples.strip().splitlines()),
        formatter_class=Formatter,
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with these options; may be repeated")
    skip: set[str | int] = {verb.positional} if verb.positional else set()
    parser.add_class_arguments(block, None, as_group=False, sub_configs=True, skip=skip)
    if verb.positional:
        parser.add_argument(verb.positional, nargs="*", type=str, default=[], help=SUPPRESS)
    tidy(parser, options, {name: short for short, name in SHORT.items() if len(short) == 2})
    try:
        values = parser.instantiate(parser.parse_args(_spell(argv, options, verb)))
    except ArgumentError as error:
        raise fault(str(error), options, f"expandr {verb.name} --help") from error
    return block(**{field.name: values[field.name] for field in dataclasses.fields(block)})  # type: ignore[arg-type]


def resolved(options: Any) -> dict[str, Any]:
    """The options as plain data, for a manifest."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(options), default=str))
    return plain


def _options(block: type[Any], prefix: str = "") -> Iterator[tuple[str, Option]]:
    """Each option by its dotted name."""
    hints = typing.get_type_hints(block)
    for field in dataclasses.fields(block):
        hint, name = hints[field.name], prefix + field.name
        forms = forms_of(hint)
        inner = next((form for form in forms if dataclasses.is_dataclass(form)), None)
        if isinstance(inner, type):
            yield name, Option("block", hint)
            yield from _options(inner, f"{name}.")
        elif any(typing.get_origin(form) is dict for form in forms):
            yield name, Option("dict", hint)
        elif any(typing.get_origin(form) in {list, tuple} for form in forms):
            yield name, Option("list" if typing.get_origin(hint) is list else "tuple", hint)
        else:
            yield name, Option("flag" if hint is bool else "value", hint)


def _spell(argv: Sequence[str], options: Mapping[str, Option], verb: Verb) -> list[str]:
    """The arguments in jsonargparse's own spelling, bare ones last."""
    spelled: list[str] = []
    bare: list[str] = []
    tuples: dict[str, list[str]] = {}
    lists: set[str] = set()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            bare += rest
            break
        if word in PASSED_ON or word.startswith("--print_config="):
            spelled.append(word)
            continue
        if not word.startswith("-") or word == "-":
            bare.append(word)
            continue
        flag, equals, value = word.partition("=")
        name = SHORT.get(flag, flag).lstrip("-").replace("-", "_")
        if name not in options and name != "config" and not _in_dict(name, options):
            known = [flag_of(option) for option in options if option.count(".") == name.count(".")]
            raise unknown_name(f"option of expandr {verb.name}", flag, known)
        kind = options[name].kind if name in options else "value"
        if not equals:
            value = _next_value(rest, flag, kind)
        if kind == "tuple":
            tuples.setdefault(name, []).extend(_items(value))
        else:
            if kind == "list" and name not in lists:  # what is typed goes in place of the default, not behind it
                lists.add(name)
                spelled.append(f"--{name}=[]")
            spelled.append(_spell_value(name, kind, value, options))
    if bare and not verb.positional:
        raise InputError(f"{bare[0]!r} is not an option", remedy=f"expandr {verb.name} --help")
    spelled += [f"--{name}={json.dumps(values)}" for name, values in tuples.items()]
    return [*spelled, "--", *bare] if bare else spelled


def _in_dict(name: str, options: Mapping[str, Option]) -> bool:
    """Whether a dotted name is of an entry of an option that is a dictionary, such as dpo.beta."""
    owner = options.get(name.rpartition(".")[0])
    return owner is not None and owner.kind == "dict"


def _next_value(rest: list[str], flag: str, kind: str) -> str:
    if kind == "flag":
        return rest.pop(0) if rest and rest[0] in {"true", "false"} else "true"
    if not rest:
        raise InputError(f"{flag} has no value", expected=f"{flag} VALUE")
    return rest.pop(0)


def _items(value: str) -> list[str]:
    """A JSON list's strings, or the value itself: "[END]" is a text."""
    try:
        items = json.loads(value)
    except ValueError:
        return [value]
    return items if isinstance(items, list) and all(isinstance(item, str) for item in items) else [value]


def _spell_value(name: str, kind: str, value: str, options: Mapping[str, Option]) -> str:
    if name == "config":
        return f"--config={json.dumps(_config(Path(value), options))}"
    if kind == "list":
        return f"--{name}={value}" if value.startswith("[") else f"--{name}+={value}"
    return f"--{name}={json.dumps(_block(name, value, options)) if _is_named(name, options) else value}"


def _is_named(name: str, options: Mapping[str, Option]) -> bool:
    """Whether a name of conf/ may stand for the option: `train rounds` passes a generator's name on as it is."""
    return name in BLOCKS and options[name].kind == "block"


def _block(name: str, value: Any, options: Mapping[str, Option]) -> Any:
    """A conf/ name, a YAML path, `engine:model` or JSON as the block's own data."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return _mapping(value, f"--{name}", f"{name}.", options)
    block = generator_block(value)
    if isinstance(block, Path):
        return _mapping(block.read_text(encoding="utf-8"), str(block), f"{name}.", options)
    return block


def _config(path: Path, options: Mapping[str, Option]) -> dict[str, Any]:
    """A --config file or name of conf/train, its named blocks resolved."""
    path = conf_path("train", str(path)) if str(path) in names("train") else path
    if not path.is_file():
        raise MissingResourceError(f"--config {path}: no such file", expected="a YAML file")
    data = _mapping(path.read_bytes(), f"--config {path}", "", options)
    blocks = [name for name in BLOCKS if name in data and _is_named(name, options)]
    return data | {name: _block(name, data[name], options) for name in blocks}


def _mapping(text: str | bytes, where: str, prefix: str, options: Mapping[str, Option]) -> dict[str, Any]:
    """The options of a YAML text, unknown names refused.

    Raises:
        InputError: no YAML, no mapping, or an unknown name; the message says where.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: {error}", expected="YAML") from error
    if not isinstance(data, dict):
        raise InputError(f"{where}: holds {type(data).__name__}", expected="a mapping of options")
    _check_names(data, where, prefix, options)
    return data


def _check_names(data: Mapping[Any, Any], where: str, prefix: str, options: Mapping[str, Option]) -> None:
    for key, value in data.items():
        if (name := f"{prefix}{key}") not in options:
            siblings = [other.removeprefix(prefix) for other in options if other.startswith(prefix)]
            raise unknown_name(f"option in {where}", str(key), [other for other in siblings if "." not in other])
        if isinstance(value, dict) and options[name].kind == "block":
            _check_names(value, where, f"{name}.", options)
