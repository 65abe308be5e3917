"""The verbs of `expandr store`: a store listed, shown, exported, imported, verified; rows are JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

from expandr_ir.errors import ExpandrError, InputError, unknown_name
from expandr_ir.io.files import output_file, read_jsonl, sha256_json, write_jsonl
from expandr_ir.records import Decoding, FinishReason, Generation, GeneratorId, Message
from expandr_ir.store.keys import messages_hash, sample_key, settings_hash
from expandr_ir.store.store import Store, StoreCorruptError, StoredGeneration, StoreEntry, now

SMALLEST_ROW_BYTES = 192  # three hashes in hex
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
"""The fields of a row, in their order: types of the JSON value, and the value of a field that is not there."""
JOINED = "generations g JOIN messages m ON m.hash = g.messages JOIN settings s ON s.hash = g.settings"
ROWS = f"SELECT key, prompt, m.messages, {', '.join([*FIELDS][3:])} FROM {JOINED}"  # noqa: S608
CHOSEN = f"""
    {ROWS} WHERE (:model IS NULL OR json_extract(generator, '$.model') = :model)
        AND (:prompt IS NULL OR :prompt IN (prompt, substr(prompt, 1, instr(prompt, '@') - 1)))
    ORDER BY g.rowid
"""
GROUPS = f"""
    SELECT generator, decoding, prompt,
        sum(finish_reason IN ('stop', 'length')),
        sum(finish_reason IN ('stop', 'length') AND text = ''),
        sum(finish_reason = 'length'),
        sum(finish_reason = 'refused'),
        sum(finish_reason = 'error'),
        coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), total(seconds), max(created)
    FROM {JOINED}
    GROUP BY g.settings, prompt ORDER BY min(g.rowid)
"""  # noqa: S608


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


def find(store: Store, prefix: str) -> dict[str, Any]:
    """Returns the row of `export_rows` whose key begins with `prefix`."""
    matches = f"{ROWS} WHERE substr(key, 1, length(:prefix)) = :prefix ORDER BY key LIMIT 6"
    rows = list(_select(store, matches, {"prefix": prefix.lower()}))
    if len(rows) == 1:
        return rows[0]
    if not rows:
        raise InputError(f"no key in the store begins with {prefix!r}", expected="a key, or the beginning of one")
    keys = ", ".join(row["key"][: len(prefix) + 8] for row in rows)
    raise InputError(f"several keys begin with {prefix!r}: {keys} ...", expected="the beginning of one key")


def export_rows(store: Store, model: str | None = None, prompt: str | None = None) -> Iterator[dict[str, Any]]:
    """Returns each generation with all that its key stands for, as a JSON object, in the order they were written.

    Args:
        store: the store.
        model: only texts of this model.
        prompt: only texts of this template: an id, such as "passage", or one version of it, such as "passage@1".
    """
    with store.reading() as connection:
        models = {name for (name,) in connection.execute("SELECT json_extract(generator, '$.model') FROM settings")}
        prompts = {name for (name,) in connection.execute("SELECT prompt FROM messages WHERE prompt IS NOT NULL")}
    prompts |= {name.partition("@")[0] for name in prompts}
    for kind, name, known in (("model", model, models), ("prompt", prompt, prompts)):
        if name is not None and name not in known:
            raise unknown_name(f"{kind} in the store", name, known)
    return _select(store, CHOSEN, {"model": model, "prompt": prompt})


def rescue_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yields the rows of a damaged store that can still be read, as `export_rows` does."""
    try:
        with store.reading() as connection:
            last = int(connection.execute("SELECT coalesce(max(rowid), 0) FROM generations").fetchone()[0])
    except StoreCorruptError:  # as many rows as the file has room for
        last = store.path.stat().st_size // SMALLEST_ROW_BYTES
    for place in range(1, last + 1):
        with suppress(StoreCorruptError, ValueError):
            yield from list(_select(store, f"{ROWS} WHERE g.rowid = :place", {"place": place}))


def _select(store: Store, query: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with store.reading() as connection:
        for columns in connection.execute(query, values):
            row = dict(zip(FIELDS, columns, strict=True))
            parsed = {name: json.loads(row[name]) for name in ("messages", "generator", "decoding")}
            yield {**row, **parsed, "verbatim": bool(row["verbatim"])}


def import_rows(store: Store, path: Path) -> tuple[int, int]:
    """Writes the rows of a JSON-lines file, plain or .gz, in one commit: all of them or none.

    A row is a row of `export_rows`, which comes back unchanged. Only `messages`, `generator`, `decoding`, `sample` and
    `text` must be there; a row without `verbatim` comes from outside and is searched as it is.

    Returns:
        The numbers of rows that were written, and that were passed over because the store had a text for them.
    """
    entries = [_entry(row, f"{path}, line {number}") for number, row in read_jsonl(path)]
    n_new = store.add(entries)
    return n_new, len(entries) - n_new


def _entry(row: dict[str, Any], where: str) -> StoreEntry:
    """Returns the store's entry of a row, with its key computed anew."""
    form = "the fields, and their types, that `expandr store export` writes"
    row = {name: row.get(name, default) for name, (_, default) in FIELDS.items()}
    for name, (types, _) in FIELDS.items():
        if row[name] is NEEDED:
            raise InputError(f"{where}: no field {name!r}", expected=form)
        if type(row[name]) not in types:
            raise InputError(f"{where}: {name!r} is a {type(row[name]).__name__}", expected=form)
        if isinstance(row[name], int | float) and not 0 <= row[name] < 2**63:
            raise InputError(f"{where}: {name!r} is {row[name]}", expected="a number from 0")
    try:
        messages = tuple(Message(**message) for message in row["messages"])
        generator, stop = GeneratorId(**row["generator"]), row["decoding"].get("stop", [])
        if not isinstance(stop, list):
            raise TypeError(f"'stop' is a {type(stop).__name__}, not a list")
        decoding = Decoding(**{**row["decoding"], "stop": tuple(stop)})
        key = sample_key(messages_hash(messages), settings_hash(generator, decoding), row["sample"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}", expected=form) from error
    if row["finish_reason"] not in get_args(FinishReason):
        raise unknown_name(f"finish_reason in {where}:", row["finish_reason"], get_args(FinishReason))
    if row["key"] not in (None, key):
        raise InputError(f"{where}: the key is {row['key']}", expected=f"{key}, the hash of its parts; or no key")
    generation = Generation(**{name.name: row[name.name] for name in fields(Generation)} | {"key": key})
    stored = StoredGeneration(generation, row["created"] or now(), row["verbatim"])
    return StoreEntry(messages, generator, decoding, row["sample"], stored, row["prompt"])
