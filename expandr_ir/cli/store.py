"""`expandr store ls | show | export | import | verify`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.sources import say
from expandr_ir.cli.verbs import dispatch
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expansions_file import write_expansions
from expandr_ir.store import Store, archive

LS = Verb(
    "store ls", "What is stored, by generator, prompt and decoding.", "expandr store ls\nexpandr store ls --format json"
)
SHOW = Verb("store show", "One stored text with its prompt.", "expandr store show 3fa9c2", positional="keys")
EXPORT = Verb(
    "store export",
    "Everything stored as JSON lines, which `expandr store import` reads back.",
    "expandr store export --output store.jsonl.gz\nexpandr store export --model my-model --output mine.jsonl",
)
IMPORT = Verb(
    "store import", "Add what another store exported.", "expandr store import store.jsonl.gz", positional="files"
)
VERIFY = Verb("store verify", "Check the file and recompute every key.", "expandr store verify")


@dataclass(frozen=True)
class Base:
    """Options of every `expandr store` verb.

    Args:
        store: the store's file; None takes $EXPANDR_STORE, else the one under EXPANDR_HOME.
    """

    store: str | None = None


@dataclass(frozen=True)
class Listed(Base):
    """Options of `expandr store ls`.

    Args:
        format: a table for people, or JSON.
    """

    format: Literal["text", "json"] = "text"


@dataclass(frozen=True)
class Shown(Base):
    """Options of `expandr store show`.

    Args:
        keys: keys, or beginnings of them.
    """

    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Exported(Base):
    """Options of `expandr store export`.

    Args:
        output: JSONL; a name that ends in .gz is compressed.
        model: only texts of this model.
        prompt: only texts of this prompt: passage, or passage@1 for one version of it.
        rescue: whatever can still be read of a damaged store.
    """

    output: str
    model: str | None = None
    prompt: str | None = None
    rescue: bool = False


@dataclass(frozen=True)
class ImportedFrom(Base):
    """Options of `expandr store import`.

    Args:
        files: what `expandr store export` wrote.
    """

    files: list[str] = field(default_factory=list)


def run(argv: list[str]) -> int:
    """Runs the verb's verb."""
    table = {"ls": _ls, "show": _show, "export": _export, "import": _import, "verify": _verify}
    return dispatch("store", table, argv)


def _open(options: Base, *, create: bool = False) -> Store:
    return Store.open(Path(options.store) if options.store else None, create=create)


def _ls(argv: list[str]) -> int:
    options = parse(LS, Listed, argv)
    with _open(options) as store:
        groups = archive.groups(store)
    if options.format == "json":
        print(json.dumps([asdict(group) for group in groups], indent=2))
        return 0
    if not groups:
        say("nothing is stored yet")
    for group in groups:
        name = " + ".join(part for part in (group.generator["model"], group.generator.get("adapter")) if part)
        failed = f", {group.errors} failed" if group.errors else ""
        refused = f", {group.refused} refused" if group.refused else ""
        print(f"{group.generator['engine']} {name}, prompt {group.prompt or 'unknown'}")
        print(f"    {group.texts:,} texts ({group.empty} empty, {group.truncated} truncated{failed}{refused})", end="")
        print(f", {group.tokens_out:,} tokens out, last {group.last}")
        print(f"    {', '.join(f'{name} {value}' for name, value in group.decoding.items())}")
    return 0


def _show(argv: list[str]) -> int:
    options = parse(SHOW, Shown, argv)
    if not options.keys:
        raise InputError("no key is named", expected="expandr store show KEY")
    with _open(options) as store:
        for key in options.keys:
            print(json.dumps(archive.show(store, key), indent=2, ensure_ascii=False))
    return 0


def _export(argv: list[str]) -> int:
    options = parse(EXPORT, Exported, argv)
    output = output_file(options.output)
    with _open(options) as store:
        chosen = archive.export_rows(store, options.model, options.prompt)
        count = write_expansions(output, archive.rescue_rows(store) if options.rescue else chosen)
    print(f"{output}: {count:,} generations", file=sys.stderr)
    return 0


def _import(argv: list[str]) -> int:
    options = parse(IMPORT, ImportedFrom, argv)
    if not options.files:
        raise InputError("no file is named", expected="expandr store import FILE")
    with _open(options, create=True) as store:
        for name in options.files:
            done = archive.import_rows(store, Path(name))
            print(f"{name}: {done.written:,} added, {done.kept:,} were there", file=sys.stderr)
    return 0


def _verify(argv: list[str]) -> int:
    options = parse(VERIFY, Base, argv)
    with _open(options) as store:
        faults = archive.verify(store)
        count = len(store)
    for fault in faults:
        print(fault)
    print(f"{count:,} generations, {len(faults)} faults", file=sys.stderr)
    return ExpandrError.exit_code if faults else 0
