"""The verbs of `expandr store`: a store listed, shown, exported, imported, verified."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.io.files import output_file, sha256_json, write_jsonl
from expandr_ir.store.rows import export_rows, find, import_rows, rescue_rows
from expandr_ir.store.store import Store

GROUPS = """
    SELECT generator, decoding, prompt,
        sum(finish_reason IN ('stop', 'length')),
        sum(finish_reason IN ('stop', 'length') AND text = ''),
        sum(finish_reason = 'length'),
        sum(finish_reason = 'refused'),
        sum(finish_reason = 'error'),
        coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), total(seconds), max(created)
    FROM generations g JOIN messages m ON m.hash = g.messages JOIN settings s ON s.hash = g.settings
    GROUP BY g.settings, prompt ORDER BY min(g.rowid)
"""


@dataclass(frozen=True)
class StoreOptions:
    """Options of every `expandr store` verb.

    Args:
        store: the store's file; None takes $EXPANDR_STORE, else the one under EXPANDR_HOME.
    """

    store: str | None = None

    def open(self, create: bool = False) -> Store:
        """Opens the store; without `create`, the file must be there."""
        return Store.open(Path(self.store) if self.store else None, create)


@dataclass(frozen=True)
class ListOptions(StoreOptions):
    """Options of `expandr store ls`.

    Args:
        format: a table for people, or JSON.
    """

    format: Literal["text", "json"] = "text"


@dataclass(frozen=True)
class ShowOptions(StoreOptions):
    """Options of `expandr store show`.

    Args:
        keys: keys, or beginnings of them.
    """

    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(StoreOptions):
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
class ImportOptions(StoreOptions):
    """Options of `expandr store import`.

    Args:
        files: what `expandr store export` wrote.
    """

    files: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StoreGroup:
    """Counts of one generator, decoding and prompt; `texts` has empty and truncated ones in it, `last` is a time."""

    generator: dict[str, Any]
    decoding: dict[str, Any]
    prompt: str | None
    texts: int
    empty: int
    truncated: int
    refused: int
    errors: int
    tokens_in: int
    tokens_out: int
    seconds: float
    last: str

    def __str__(self) -> str:
        name = " + ".join(part for part in (self.generator["model"], self.generator.get("adapter")) if part)
        failed = f", {self.errors} failed" if self.errors else ""
        refused = f", {self.refused} refused" if self.refused else ""
        return (
            f"{self.generator['engine']} {name}, prompt {self.prompt or 'unknown'}\n"
            f"    {self.texts:,} texts ({self.empty} empty, {self.truncated} truncated{failed}{refused}), "
            f"{self.tokens_out:,} tokens out, last {self.last}\n"
            f"    {', '.join(f'{name} {value}' for name, value in self.decoding.items())}"
        )


@dataclass(frozen=True, slots=True)
class Verification:
    """The number of generations in a store, and a sentence for each fault in it."""

    generations: int
    faults: list[str]

    @property
    def exit_code(self) -> int:
        """0 for a whole store."""
        return ExpandrError.exit_code if self.faults else 0

    def __str__(self) -> str:
        return "\n".join([*self.faults, f"{self.generations:,} generations, {len(self.faults)} faults"])


def list_store(options: ListOptions) -> str:
    """Returns the store's groups as text or JSON."""
    with options.open() as store:
        stored = groups(store)
    if options.format == "json":
        return json.dumps([asdict(group) for group in stored], indent=2)
    return "\n".join(map(str, stored)) or "nothing is stored yet"


def show_generations(options: ShowOptions) -> str:
    """Returns each named generation, by the beginning of its key, with all that the key stands for, as JSON."""
    if not options.keys:
        raise InputError("no key is named", expected="expandr store show KEY")
    with options.open() as store:
        return "\n".join(json.dumps(find(store, key), indent=2, ensure_ascii=False) for key in options.keys)


def export_store(options: ExportOptions) -> str:
    """Writes the store's rows as JSON lines, which `import_store` reads back; returns their number in words."""
    output = output_file(options.output)
    with options.open() as store:
        rows = rescue_rows(store) if options.rescue else export_rows(store, options.model, options.prompt)
        count = write_jsonl(output, rows)
    return f"{output}: {count:,} generations"


def import_store(options: ImportOptions) -> str:
    """Adds the rows of files to the store, each file in one commit or not at all; returns the counts in words."""
    if not options.files:
        raise InputError("no file is named", expected="expandr store import FILE")
    counts = []
    with options.open(create=True) as store:
        for name in options.files:
            new, known = import_rows(store, Path(name))
            counts.append(f"{name}: {new:,} added, {known:,} were there")
    return "\n".join(counts)


def verify_store(options: StoreOptions) -> Verification:
    """Checks the file and computes every hash anew."""
    with options.open() as store:
        return Verification(len(store), verify(store))


def groups(store: Store) -> list[StoreGroup]:
    """Returns a group for each generator, decoding and prompt, in the order of first use."""
    with store.reading() as connection:
        return [StoreGroup(json.loads(row[0]), json.loads(row[1]), *row[2:]) for row in connection.execute(GROUPS)]


def verify(store: Store) -> list[str]:
    """Returns a sentence for each fault: SQLite's own integrity check, then every hash computed anew."""
    with store.reading() as connection:
        faults = [f"SQLite: {text}" for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
            faults.append(f"row {row} of {table} refers to {parent} that are not there")
        for key, messages in connection.execute("SELECT hash, messages FROM messages"):
            if not _is_hash(key, messages):
                faults.append(f"messages {key} are not what they were written as")
        for key, *parts in connection.execute("SELECT hash, generator, decoding FROM settings"):
            if not _is_hash(key, '{{"generator": {}, "decoding": {}}}'.format(*parts)):
                faults.append(f"settings {key} are not what they were written as")
        for key, *parts, _text in connection.execute("SELECT key, messages, settings, sample, text FROM generations"):
            if not _is_hash(key, json.dumps(parts)):
                faults.append(f"generation {key} does not stand under the hash of its parts")
    return faults


def _is_hash(key: str, text: str) -> bool:
    try:
        return sha256_json(json.loads(text)) == key
    except ValueError:
        return False
