"""From a command line to a dataclass: jsonargparse, with the spellings people type.

A field `dry_run` is `--dry-run` (underscores work too), a boolean needs no value, a list is a repeated flag or a JSON
list, and a block of conf/ is named: `--generator echo`, then `--generator.decoding.temperature 0.7`. `--config FILE`
reads the same names from YAML. Under `run`, the expander's generator is the default, and its decoding goes over that of
a named generator; what is typed goes over both.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import os
import re
import types
import typing
from argparse import SUPPRESS
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace

from expandr_ir.blocks import KINDS, LARGEST_NUMBER, parse_mapping
from expandr_ir.cli.verb import Verb
from expandr_ir.config import conf_path, generator_block, names
from expandr_ir.errors import InputError, MissingResourceError, unknown_name
from expandr_ir.io.files import parse_json
from expandr_ir.runtime import require

T = TypeVar("T")

SHORT = {"-m": "--measures", "--measure": "--measures", "-o": "--output"}
PASSED_ON = ("-h", "--help", "--print_config", "--quiet")
CLASSES = {
    "dpo": ("trl", "DPOConfig"),
    "grpo": ("trl", "GRPOConfig"),
    "sft": ("trl", "SFTConfig"),
    "lora": ("peft", "LoraConfig"),
    "training": ("sentence_transformers", "SentenceTransformerTrainingArguments"),
}
"""Classes of other packages that take the entries of a dictionary, by the option's name."""
LAYERS = {"config": 0, "generator": 1}
NO_DEFAULT = ("None", "False", "", "[]", "()", "{}", SUPPRESS)
"""Defaults, as text, that --help does not show."""


class Option(NamedTuple):
    """An option of a verb: how it is typed ("named": a block of conf/, for which a name can stand), and its type."""

    kind: Literal["flag", "list", "dict", "block", "named", "value"]
    hint: Any


def parse(name: str, verb: Verb, options_class: type[T], argv: Sequence[str]) -> T:
    """The options of a verb, from the words behind its name over `--config` files over the defaults."""
    positional = verb.positional
    options = {key: option for key, option in _options(options_class) if key != positional}
    bare = f" {positional.removesuffix('s').upper()} ..." if positional else ""
    parser = ArgumentParser(
        prog=f"expandr {name}",
        usage=f"expandr {name} [options]{bare}",
        description=verb.about,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in verb.examples.strip().splitlines()),
        formatter_class=_Formatter,
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with these options; may be repeated")
    parser.add_argument("--quiet", action="store_true", default=SUPPRESS, help="show no progress")
    skip: set[str | int] = {positional} if positional else set()
    parser.add_class_arguments(options_class, None, as_group=False, sub_configs=True, skip=skip)
    if positional:
        parser.add_argument(positional, nargs="*", type=str, default=[], help=SUPPRESS)
    unvalidated = [action.dest for action in parser._actions if "Unvalidated" in str(getattr(action, "_typehint", ""))]
    assert not unvalidated, f"expandr {name} takes any value for {unvalidated}"
    _tidy_help(parser, options)
    help_command = f"expandr {name} --help"
    try:
        words = _normalise(argv, options, name, positional)
        parsed = parser.parse_args(words)
        _check_values(parsed, options, help_command)
        values = parser.instantiate(parsed)
    except ArgumentError as error:
        raise _explain(str(error), options, help_command) from error
    for option, place in verb.elsewhere.items():
        if any(word.startswith(f"--{option}=") for word in words) and values.get(place, place) is not None:
            remedy = f"{_flag(place)} in its place" if place in options else place
            raise InputError(f"{_flag(option)} changes nothing in expandr {name}", remedy=remedy)
    return options_class(**{field.name: values[field.name] for field in dataclasses.fields(options_class)})  # type: ignore[arg-type]


def values_by_flag(options_class: type[Any]) -> dict[str, list[str]]:
    """The flags of a verb, those inside its blocks left out; each with its values, which are [] where any will do."""
    return {_flag(name): _choices(option.hint) for name, option in _options(options_class) if "." not in name}


def _options(options_class: type[Any], prefix: str = "") -> Iterator[tuple[str, Option]]:
    """Each option by its dotted name."""
    # jsonargparse looks for the names of postponed annotations in the modules of each first base alone, and takes any
    # value where it finds none: all of them are resolved here.
    options_class.__init__.__annotations__ |= (hints := typing.get_type_hints(options_class))
    for field in dataclasses.fields(options_class):
        hint, name = hints[field.name], prefix + field.name
        forms = _forms(hint)
        block = next((form for form in forms if dataclasses.is_dataclass(form)), None)
        if isinstance(block, type):
            yield name, Option("named" if name == "generator" else "block", hint)
            yield from _options(block, f"{name}.")
        elif any(typing.get_origin(form) is dict for form in forms):
            yield name, Option("dict", hint)
        elif any(typing.get_origin(form) in {list, tuple} for form in forms):
            yield name, Option("list", hint)
        else:
            yield name, Option("flag" if hint is bool else "value", hint)


def _normalise(argv: Sequence[str], options: Mapping[str, Option], verb: str, positional: str | None) -> list[str]:
    """The arguments in jsonargparse's own spelling, bare ones last."""
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    rest, last = words[:end], words[end + 1 :]
    spelled: list[str] = []
    values: list[tuple[str, Any]] = []
    bare: list[str] = []
    lists: dict[str, list[Any]] = {}
    entries: dict[str, list[str]] = {}
    while rest:
        word = rest.pop(0)
        if word in PASSED_ON or word.startswith("--print_config="):
            spelled.append(word)
        elif not word.startswith("-") or word == "-":
            bare.append(word)
        else:
            flag, equals, value = word.partition("=")
            name = SHORT.get(flag, flag).lstrip("-").replace("-", "_")
            kind = _kind_of(name, flag, options, verb)
            if kind == "flag" and not equals:
                value = rest.pop(0) if rest and rest[0] in {"true", "false"} else "true"
            elif not equals:
                if not rest:
                    raise InputError(f"{flag} has no value", expected=f"{flag} VALUE")
                value = rest.pop(0)
            if kind == "list":  # a list that is typed goes in place of the default, not behind it
                lists.setdefault(name, []).extend(_items(value, options[name].hint))
            elif kind == "entry":
                entries.setdefault(name, []).append(value)
            else:
                values.append((name, _read_value(value, kind, name, options)))
    bare += last
    if bare and not positional:
        raise InputError(f"{bare[0]!r} is not an option", remedy=f"expandr {verb} --help")
    values += [*lists.items(), *((name, _entry(name, texts)) for name, texts in entries.items())]
    # wherever they stand on the line, words go over blocks, and blocks over files
    values = _with_generators(sorted(values, key=lambda value: LAYERS.get(value[0], len(LAYERS))), options)
    for name, value in values:
        spelled.append(f"--{name}={value if isinstance(value, str) else json.dumps(value, default=str)}")
    return [*spelled, "--", *bare] if bare else spelled


def _read_value(value: str, kind: str, name: str, options: Mapping[str, Option]) -> Any:
    """The value, or the data of the file or block that it names; names of generators are left as they are."""
    if name == "config":
        path = conf_path("train", value) if value in names("train") else Path(value)
        if not path.is_file():
            raise MissingResourceError(f"--config {path}: no such file", expected="a YAML file")
        return _read_mapping(path.read_bytes(), f"--config {path}", "", options)
    if kind == "block" and not (value == "null" and types.NoneType in typing.get_args(options[name].hint)):
        return _block(value, _flag(name), name, options)
    return value


def _kind_of(name: str, flag: str, options: Mapping[str, Option], verb: str) -> str:
    """The kind of an option, or of the entry of a dictionary such as dpo.beta; an unknown one is an error."""
    if name in options:
        return options[name].kind
    owner = options.get(name.rpartition(".")[0])
    if owner and owner.kind == "dict":
        return "entry"
    if name == "config":
        return "value"
    known = [_flag(option) for option in options if option.count(".") == name.count(".")]
    raise unknown_name(f"option of expandr {verb}", flag, known)


def _items(value: str, hint: Any) -> list[Any]:
    """A JSON list's items, or the value itself; in a list of texts "[END]" and "3" are texts."""
    element = next(typing.get_args(form)[0] for form in _forms(hint) if typing.get_origin(form) in {list, tuple})
    try:
        items = parse_json(value)
    except ValueError:
        return [value]
    if isinstance(items, list) and (element is not str or all(isinstance(item, str) for item in items)):
        return items
    return [value] if element is str else [items]


def _entry(name: str, values: Sequence[str]) -> str:
    """The value of a dictionary's entry; a flag that is repeated is a list, or the last one where no list fits."""
    if len(values) == 1 or not _takes_list(name):
        return values[-1]
    return json.dumps([item for value in values for item in _items(value, list[Any])])


def _takes_list(name: str) -> bool:
    """Reports whether an entry may be a list, as far as the class that takes the dictionary tells."""
    owner, entry = name.split(".")[-2:]
    if owner not in CLASSES:
        return True
    package, class_name = CLASSES[owner]
    types = {field.name: str(field.type) for field in dataclasses.fields(getattr(require(package), class_name))}
    return "list" in types.get(entry, "list").lower()


def _with_generators(values: Sequence[tuple[str, Any]], options: Mapping[str, Option]) -> list[tuple[str, Any]]:
    """The values, names of generators resolved; a named expander's decoding and generator are under them."""
    if not ("generator" in options and options["generator"].kind == "named"):
        return list(values)
    given = [(name, value if name == "config" else {name: value}) for name, value in values]
    expanders = [mapping["expander"] for _, mapping in given if "expander" in mapping and "expander" in options]
    expander, decoding = None, dict[str, Any]()
    if expanders and any(key.partition(".")[0] == "generator" for _, mapping in given for key in mapping):
        from expandr_ir.expanders import expander_config

        expander = expander_config(expanders[-1])
        decoding = expander.own_decoding
    for _, mapping in given:
        if "generator" in mapping:
            mapping["generator"] = _generator(mapping["generator"], options, decoding)
    blocks = [mapping["generator"] for _, mapping in given if isinstance(mapping.get("generator"), dict)]
    if expander and not any("engine" in block for block in blocks):
        given.insert(0, ("generator", {"generator": _generator(expander.generator, options, decoding)}))
    return [(name, mapping if name == "config" else mapping[name]) for name, mapping in given]


def _generator(value: Any, options: Mapping[str, Option], decoding: Mapping[str, Any]) -> Any:
    """A generator's name, YAML file, `engine:model`, JSON or mapping as the data of its block.

    The decoding of an expander goes over that of a name or file, and under one that is written out.
    """
    layers: tuple[Any, Any]
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        block: Any = generator_block(value)
        if isinstance(block, Path):
            block = _read_mapping(block.read_bytes(), str(block), "generator.", options)
        layers = (block.get("decoding", {}), decoding)
    else:
        block = _read_mapping(value, "--generator", "generator.", options) if isinstance(value, str) else value
        layers = (decoding, block.get("decoding", {}) if isinstance(block, dict) else None)
    if not decoding or not all(isinstance(layer, dict) for layer in layers):
        return block
    return {**block, "decoding": {**layers[0], **layers[1]}}


def _read_mapping(text: str | bytes, where: str, prefix: str, options: Mapping[str, Option]) -> dict[str, Any]:
    """The options of a YAML text, unknown names refused."""
    data = parse_mapping(text, where)
    _check_names(data, where, prefix, options)
    return data


def _block(value: str, where: str, name: str, options: Mapping[str, Option]) -> dict[str, Any]:
    """The options of a block: a YAML file, or their text."""
    text = Path(value).read_bytes() if os.path.isfile(value) else value
    return _read_mapping(text, f"{where} {value}", f"{name}.", options)


def _check_names(data: dict[Any, Any], where: str, prefix: str, options: Mapping[str, Option]) -> None:
    for key, value in data.items():
        if (name := f"{prefix}{key}") not in options:
            siblings = [other.removeprefix(prefix) for other in options if other.startswith(prefix)]
            raise unknown_name(f"option in {where}", str(key), [other for other in siblings if "." not in other])
        if isinstance(value, str) and options[name].kind == "block":
            data[key] = _block(value, f"{where}, {key}", name, options)
        elif isinstance(value, dict) and options[name].kind in {"block", "named"}:
            _check_names(value, where, f"{name}.", options)


def _check_values(parsed: Namespace, options: Mapping[str, Option], remedy: str) -> None:
    """Refuses null where an option cannot be null, which jsonargparse takes for blocks and lists, and huge numbers."""
    for name, option in options.items():
        value = parsed.get(name, "")
        is_null = value is None and types.NoneType not in typing.get_args(option.hint)
        is_huge = isinstance(value, int | float) and not -LARGEST_NUMBER < value < LARGEST_NUMBER
        if is_null or is_huge:
            expected = "a mapping" if option.kind in {"block", "named"} else _expected(option.hint)
            raise InputError(f"{_flag(name)} {'null' if is_null else value}", expected=expected, remedy=remedy)


def _expected(hint: Any) -> str:
    """A type as the person who types the option knows it."""
    if typing.get_origin(hint) in {list, tuple}:
        return f"{_expected(typing.get_args(hint)[0])}, the flag repeated, or a JSON list"
    if typing.get_origin(hint) is dict:
        return "a JSON object, or its entries as --OPTION.NAME VALUE"
    return " or ".join(_choices(hint)) or " or ".join(
        KINDS.get(form, str(form)) if form is hint else _expected(form) for form in _forms(hint)
    )


def _explain(text: str, options: Mapping[str, Option], remedy: str) -> InputError:
    """Jsonargparse's message in this package's words: which option has which value, and the type expected."""
    if missing := re.search(r"arguments are required: (.*)", text):
        lacking = missing[1].split(", ")
        blocks = [name.rpartition(".")[0] for name in lacking]
        # of a block that was not named at all, every field without a default is missing
        named = (
            block if block and blocks.count(block) > 1 else name for name, block in zip(lacking, blocks, strict=True)
        )
        flags = dict.fromkeys(map(_flag, named))
        return InputError(f"{' and '.join(flags)} {'are' if len(flags) > 1 else 'is'} missing", remedy=remedy)
    keys, values = re.findall(r'Parser key "([\w.]+)":', text), re.findall(r"(?:Got|Given) value: (.*)", text)
    if not keys or not values or keys[-1] not in options:
        return InputError(text, remedy=remedy)
    flag, hint = _flag(keys[-1]), options[keys[-1]].hint
    if known := _choices(hint):
        return unknown_name(f"value of {flag}", values[-1], known)
    return InputError(f"{flag} {values[-1]}", expected=_expected(hint), remedy=remedy)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _forms(hint: Any) -> list[Any]:
    """The members of a union without None; any other type alone."""
    is_union = typing.get_origin(hint) in {typing.Union, types.UnionType}
    return [form for form in typing.get_args(hint) if form is not type(None)] if is_union else [hint]


def _choices(hint: Any) -> list[str]:
    """The values of a type that has a few and no others; [] for any other type."""
    forms = _forms(hint)
    only_literals = all(typing.get_origin(form) is Literal for form in forms)
    return [str(value) for form in forms for value in typing.get_args(form)] if only_literals else []


class _Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """jsonargparse's help without types, which the words say, and without defaults that are nothing."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = copy.copy(action)
        shown.option_strings = [flag for flag in action.option_strings if "_" not in flag or flag == "--print_config"]
        return super()._format_action_invocation(shown)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").rstrip(".")
        if action.required:
            return f"{text} (required)"
        return text if str(action.default) in NO_DEFAULT else f"{text} (default: %(default)s)"


def _tidy_help(parser: ArgumentParser, options: Mapping[str, Option]) -> None:
    """Shows flags as they are best typed; the other spellings parse all the same."""
    short = {long: flag for flag, long in SHORT.items() if len(flag) == 2}
    for action in parser._actions:
        if action.dest == "print_config":
            action.help, action.metavar = "print all options with their values as YAML, and stop", ""
        if action.dest not in options:
            action.help = SUPPRESS if action.dest.endswith(".help") else action.help
            continue
        flag, (kind, hint) = _flag(action.dest), options[action.dest]
        # an entry of a dictionary is looked for behind the name with underscores, which --help does not show
        action.option_strings = list(
            dict.fromkeys([*([short[flag]] if flag in short else []), flag, f"--{action.dest}"])
        )
        if kind == "flag":
            action.metavar = ""
        elif known := _choices(hint):
            action.metavar = f"{{{','.join(known)}}}"
        elif kind == "list":
            action.metavar = "VALUE"
        elif kind == "dict":
            action.metavar = "{...}"
        elif kind == "named":
            about = "" if (action.help or "").startswith("Path to") else f"{str(action.help).removesuffix('.')}; "
            action.metavar, action.help = "NAME", f"{about}names are {', '.join(names('generators'))}"
        elif kind == "block":
            action.help = SUPPRESS
