"""`expandr store forget`: takes out of the store what is no longer trusted."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.expanders.config import RETRY
from expandr_ir.expanders.plan import has_reason
from expandr_ir.store import Store, StoreCorruptError
from expandr_ir.store.archive import CHOICE, JOINED, StoreOptions, choice, full_key, groups, parsed_json
from expandr_ir.store.store import GENERATION_FIELDS, stored_generation

REASONS = ("error", *RETRY)
CHOSEN = f"""
    SELECT g.rowid, m.messages, created, verbatim, {", ".join(GENERATION_FIELDS)} FROM {JOINED} WHERE {CHOICE}
        AND (:keys IS NULL OR key IN (SELECT value FROM json_each(:keys)))
        AND (:topic IS NULL OR instr(m.messages, :topic))
        AND (:before IS NULL OR julianday(created) < julianday(:before))
"""  # noqa: S608
FORGET = "DELETE FROM generations WHERE rowid IN (SELECT value FROM json_each(?))"
FORGET_UNUSED = (
    "DELETE FROM messages WHERE hash NOT IN (SELECT messages FROM generations)",
    "DELETE FROM settings WHERE hash NOT IN (SELECT settings FROM generations)",
)


@dataclass(frozen=True)
class ForgetOptions(StoreOptions):
    """Options of `expandr store forget`; what all of them say is forgotten.

    Args:
        keys: keys, or beginnings of them.
        model: only what this model wrote.
        prompt: only texts of this prompt: passage, or passage@1 for one version of it.
        topic: only texts whose prompt shows this text.
        reason: only what is "empty" once cleaned, "truncated", "refused" or an "error"; given twice, either.
        before: only what was written before this date or time, such as 2026-01-31 (UTC).
        dry_run: say what would be forgotten, and stop.
    """

    keys: list[str] = field(default_factory=list)
    model: str | None = None
    prompt: str | None = None
    topic: str | None = None
    reason: list[str] = field(default_factory=list)
    before: str | None = None
    dry_run: bool = False


def forget(options: ForgetOptions) -> str:
    """Removes generations, and prompts and settings that no other one has; returns what was removed, in words."""
    if not any((options.keys, options.model, options.prompt, options.topic, options.reason, options.before)):
        raise InputError(
            "nothing says what to forget",
            expected="KEY, --model, --prompt, --topic, --reason or --before",
            remedy="expandr store forget --reason empty --dry-run",
        )
    for reason in options.reason:
        if reason not in REASONS:
            raise unknown_name("value of --reason", reason, REASONS)
    with options.open() as store:
        values = choice(store, options.model, options.prompt) | {
            "keys": json.dumps([full_key(store, key) for key in options.keys]) if options.keys else None,
            "topic": options.topic and json.dumps(options.topic)[1:-1],  # as the store's JSON has it
            "before": options.before and _utc(options.before),
        }
        before = len(store)
        with store.reading() if options.dry_run else store.transaction() as connection:
            chosen = _choose(store, connection, values, options.reason)
            try:
                lines = [str(group) for group in groups(store, chosen)]
            except StoreCorruptError as error:
                lines = [*map(str, chosen.values()), error.found]
            if not options.dry_run:
                connection.execute(FORGET, [json.dumps([*chosen])])
                for statement in FORGET_UNUSED:
                    connection.execute(statement)
        if chosen and not options.dry_run:
            store.wipe()
    verb = "would be forgotten" if options.dry_run else "forgotten"
    return "\n".join([*lines, f"{len(chosen):,} of {before:,} generations {verb}"])


def _choose(store: Store, connection: sqlite3.Connection, values: dict[str, Any], reasons: list[str]) -> dict[int, Any]:
    """The rows to forget, with their keys; a damaged one has no reason."""
    keys = {}
    for row, messages, *columns in connection.execute(CHOSEN, values):
        if reasons:
            try:
                stored = stored_generation(store.path, *columns)
            except StoreCorruptError:
                continue
            if not has_reason(stored, reasons, _last_message(messages)):
                continue
        keys[row] = columns[2]
    return keys


def _last_message(messages: object) -> str:
    with suppress(TypeError, LookupError):
        return str(parsed_json(messages)[-1]["content"])
    return ""


def _utc(time: str) -> str:
    try:
        parsed = datetime.fromisoformat(time)
    except ValueError as error:
        raise InputError(
            f"--before {time}", expected="a date or time such as 2026-01-31 or 2026-01-31T18:00"
        ) from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).isoformat()
