"""The verbs of `expandr store`: a store listed, shown, exported, imported; rows are JSON objects."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from expandr_ir.blocks import fit
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.io.files import output_file, parse_json, read_jsonl, write_jsonl
from expandr_ir.masking import known_secrets, mask
from expandr_ir.records import Decoding, FinishReason, Generation, GeneratorId, Message
from expandr_ir.store.fields import FIELDS, FLAGS, field_fault
from expandr_ir.store.keys import messages_hash, sample_key, settings_hash
from expandr_ir.store.store import Store, StoreCorruptError, StoredGeneration, StoreEntry, now

logger = logging.getLogger(__name__)

SMALLEST_ROW_BYTES = 192  # three hashes in hex
JOINED = "generations g LEFT JOIN messages m ON m.hash = g.messages LEFT JOIN settings s ON s.hash = g.settings"
ROWS = f"SELECT key, prompt, m.messages, {', '.join([*FIELDS][3:])} FROM {JOINED}"  # noqa: S608
CHOICE = """
    (:settings IS NULL OR g.settings IN (SELECT value FROM json_each(:settings)))
        AND (:prompt IS NULL OR :prompt IN (prompt, substr(prompt, 1, instr(prompt, '@') - 1)))
"""
GROUPS = f"""
    SELECT generator, decoding, prompt,
        sum(finish_reason IN ('stop', 'length')),
        sum(finish_reason IN ('stop', 'length') AND text = ''),
        sum(finish_reason = 'length'),
        sum(finish_reason = 'refused'),
        sum(finish_reason = 'error'),
        coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), total(seconds), max(created)
    FROM {JOINED} WHERE :rows IS NULL OR g.rowid IN (SELECT value FROM json_each(:rows))
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


def groups(store: Store, rows: Collection[int] | None = None) -> list[StoreGroup]:
    """Returns a group for each generator, decoding and prompt, in the order of first use; of these rows alone, if any.

    Raises:
        StoreCorruptError: a value in the file is not what was written.
    """
    with store.reading() as connection:
        counts = connection.execute(GROUPS, {"rows": None if rows is None else json.dumps([*rows])}).fetchall()
    return [_group(store.path, *columns) for columns in counts]


def _group(path: Path, generator: object, decoding: object, prompt: str | None, *counts: Any) -> StoreGroup:
    parts = {
        "generator": parsed_json(generator),
        "decoding": parsed_json(decoding),
        "prompt": prompt,
        "created": counts[-1],
    }
    if fault := field_fault(parts):
        raise StoreCorruptError(path, f"of a generator and its texts, {fault}")
    group = StoreGroup(parts["generator"], parts["decoding"], prompt, *counts)
    names = [group.generator.get(name) for name in ("engine", "model")]
    if not all(isinstance(name, str) for name in names) or not isinstance(group.generator.get("adapter"), str | None):
        raise StoreCorruptError(path, f"a generator is {group.generator}")
    return group


def parsed_json(value: Any) -> Any:
    """The value of a JSON text; itself where it is none, which has no field's type."""
    try:
        return parse_json(value) if isinstance(value, str) else value
    except ValueError:
        return value


def find(store: Store, prefix: str) -> dict[str, Any]:
    """Returns the row of `export_rows` whose key begins with `prefix`."""
    key = full_key(store, prefix)
    for row in list(_select(store, f"{ROWS} WHERE key = :key", {"key": key})):
        return row
    raise StoreCorruptError(store.path, f"the generation {key} is not where the index of keys has it")


def full_key(store: Store, prefix: str) -> str:
    """Returns the one key in the store that begins with `prefix`."""
    query = "SELECT key FROM generations WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key LIMIT 6"
    with store.reading() as connection:
        keys = [str(key) for (key,) in connection.execute(query, (prefix.lower(),))]
    if len(keys) == 1:
        return keys[0]
    if not keys:
        raise InputError(f"no key in the store begins with {prefix!r}", expected="a key, or the beginning of one")
    listed = ", ".join(key[: len(prefix) + 8] for key in keys)
    raise InputError(f"several keys begin with {prefix!r}: {listed} ...", expected="the beginning of one key")


def export_rows(store: Store, model: str | None = None, prompt: str | None = None) -> Iterator[dict[str, Any]]:
    """Returns each generation with all that its key stands for, as a JSON object, in the order they were written.

    Args:
        store: the store.
        model: only texts of this model.
        prompt: only texts of this template: an id, such as "passage", or one version of it, such as "passage@1".
    """
    return _select(store, f"{ROWS} WHERE {CHOICE} ORDER BY g.rowid", choice(store, model, prompt))


def choice(store: Store, model: str | None, prompt: str | None) -> dict[str, str | None]:
    """Returns the values of CHOICE for a model and a prompt, which the store must have; None is any."""
    with store.reading() as connection:
        settings = connection.execute("SELECT hash, generator FROM settings").fetchall()
        prompts = {name for (name,) in connection.execute("SELECT prompt FROM messages WHERE typeof(prompt) = 'text'")}
    models = {key: parsed.get("model") for key, text in settings if isinstance(parsed := parsed_json(text), dict)}
    prompts |= {name.partition("@")[0] for name in prompts}
    for kind, name, known in (("model", model, {str(name) for name in models.values()}), ("prompt", prompt, prompts)):
        if name is not None and name not in known:
            raise unknown_name(f"{kind} in the store", name, known)
    chosen = None if model is None else json.dumps([key for key, name in models.items() if name == model])
    return {"settings": chosen, "prompt": prompt}


def rescue_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yields the rows of a damaged store that can still be read and imported, as `export_rows` does."""
    lost = 0
    for place in _places(store):
        if place is None:
            lost += 1
            continue
        try:
            for row in list(_select(store, f"{ROWS} WHERE g.rowid = :place", {"place": place})):
                _entry(row, f"row {place}")
                yield row
        except (StoreCorruptError, InputError):
            lost += 1
    if lost:
        logger.warning("%d rows cannot be read: expandr store verify --store %s", lost, store.path)


def _places(store: Store) -> Iterator[int | None]:
    """Yields the rows' numbers, and None for one that cannot be found.

    Behind that one every number is tried, as many as the file has room for.
    """
    place, room = 0, store.path.stat().st_size // SMALLEST_ROW_BYTES
    left = room
    with store.reading() as connection:
        while left:
            try:
                row = connection.execute("SELECT min(rowid) FROM generations WHERE rowid > ?", [place]).fetchone()
                if row[0] is None:
                    return
                left, place = room, max(place + 1, row[0])  # a damaged tree may lead back
                yield place
            except sqlite3.DatabaseError:
                left, place = left - 1, place + 1
                try:
                    row = connection.execute("SELECT rowid FROM generations WHERE rowid = ?", [place]).fetchone()
                except sqlite3.DatabaseError:
                    yield None
                else:
                    yield from row or ()


def _select(store: Store, query: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the rows of a query that begins with ROWS; errors of an old store are masked.

    Raises:
        StoreCorruptError: a value in the file is not what was written.
    """
    known = known_secrets()
    with store.reading() as connection:
        for columns in connection.execute(query, values):
            row = dict(zip(FIELDS, columns, strict=True))
            row |= {name: parsed_json(row[name]) for name in ("messages", "generator", "decoding")}
            row["verbatim"] = FLAGS.get(row["verbatim"], row["verbatim"])
            if fault := field_fault(row):
                raise StoreCorruptError(store.path, f"of the generation {row['key']}, {fault}")
            row["error"] = row["error"] and mask(row["error"], known)
            yield row | {"engine_version": mask(row["engine_version"], known)}


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
    if fault := field_fault(row):
        raise InputError(f"{where}: {fault}", expected=form)
    try:
        messages = tuple(Message(**message) for message in row["messages"])
        generator, stop = fit(GeneratorId, row["generator"], where), row["decoding"].get("stop", [])
        if not isinstance(stop, list):
            raise TypeError(f"'stop' is a {type(stop).__name__}, not a list")
        decoding = Decoding(**{**row["decoding"], "stop": tuple(stop)})
        if not all(isinstance(text, str) for message in messages for text in (message.role, message.content)):
            raise TypeError("a message whose role or content is no text")
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
