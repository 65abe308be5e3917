"""The folder of preferences: rows in TRL's conversational form, scores, a summary, a data card, provenance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.files import atomic_write, read_jsonl
from expandr_ir.generators.base import require
from expandr_ir.manifest import read_manifest
from expandr_ir.records import GeneratorId
from expandr_ir.train.candidates import Candidate
from expandr_ir.train.preferences import Preference, Scored, Selected
from expandr_ir.train.rewards import ranks

PREFERENCES, SCORES, SUMMARY, CARD = "preferences.jsonl", "scores.jsonl", "summary.json", "README.md"
PARQUET = "preferences.parquet"
WORK = "work"
"""Folder of similarities that are there already; it may be deleted."""

MESSAGES = ("prompt", "chosen", "rejected")
DIGITS = 6


def preference_row(preference: Preference) -> dict[str, Any]:
    """A preference as a row of preferences.jsonl.

    `prompt`, `chosen` and `rejected` are lists of messages, as TRL takes them; the rest says where they come from.
    """
    written = preference.scored.written
    chosen, rejected = written.candidates[preference.chosen], written.candidates[preference.rejected]
    return {
        "row_id": written.row.row_id,
        "query": written.row.query,
        "prompt": [asdict(message) for message in written.messages],
        "chosen": [{"role": "assistant", "content": chosen.text}],
        "rejected": [{"role": "assistant", "content": rejected.text}],
        "chosen_scores": _scores(preference.scored, preference.chosen),
        "rejected_scores": _scores(preference.scored, preference.rejected),
        "provenance": {
            "candidates": len(written.candidates),
            "chosen": _origin(chosen),
            "rejected": _origin(rejected),
            "answer": _origin(written.answer) if written.answer else None,
        },
    }


def score_row(scored: Scored, reason: str | None) -> dict[str, Any]:
    """A query with all its candidates' scores, as a row of scores.jsonl; `dropped` says why it gives no preference."""
    candidates = scored.written.candidates
    return {
        "row_id": scored.written.row.row_id,
        "dropped": reason,
        "candidates": [_origin(one) | _scores(scored, place) for place, one in enumerate(candidates)],
    }


def write_preferences(
    folder: Path, scored: Sequence[Scored], selected: Selected, summary: Mapping[str, Any], card: str, *, parquet: bool
) -> Path:
    """Writes everything but the manifest, preferences.jsonl last; returns its path."""
    rows = [preference_row(one) for one in selected.preferences]
    _write_jsonl(folder / SCORES, (score_row(one, selected.dropped.get(one.written.row.row_id)) for one in scored))
    with atomic_write(folder / SUMMARY) as stream:
        json.dump(summary, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
    with atomic_write(folder / CARD) as stream:
        stream.write(card)
    if parquet:
        table = require("pyarrow", "train").Table.from_pylist(rows)
        with atomic_write(folder / PARQUET, "wb") as stream:
            _parquet().write_table(table, stream)
    _write_jsonl(folder / PREFERENCES, rows)
    return folder / PREFERENCES


def preferences_path(path: str | Path) -> Path:
    """The preferences' file: of a folder the one in it, else the file itself."""
    path = Path(path).expanduser()
    return path / PREFERENCES if path.is_dir() else path


def read_preferences(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a preferences' file (or of the one in a folder), each checked.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a row without prompt, chosen or rejected as messages with text, or whose chosen is its rejected; or
            no row. The message has file and line.
    """
    path = preferences_path(path)
    rows = []
    for line, row in read_jsonl(path):
        where = f"{path}, line {line}"
        for name in MESSAGES:
            _check_messages(row.get(name), f"{where}: {name!r}")
        if row["chosen"] == row["rejected"]:
            raise InputError(f"{where}: chosen and rejected are the same", expected="two texts")
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: no preferences", expected="at least one row")
    return rows


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The provenance of preferences: generator, prompt, decoding, answers, encoder, rewards.

    Raises:
        MissingResourceError: there is no manifest beside them, so that they are not complete or come from elsewhere.
        InputError: they are not those that the manifest was written for.
    """
    path = preferences_path(path)
    manifest = read_manifest(path) if path.is_file() else None
    if manifest is None or "provenance" not in manifest.details:
        raise MissingResourceError(
            f"{path} has no manifest with its provenance",
            expected="what `expandr train preferences` writes last",
            remedy="run it again: it goes on where it stopped",
        )
    if not manifest.describes(path):
        raise InputError(
            f"{path} is not what its manifest was written for", expected="the file as it was written, or no manifest"
        )
    provenance: dict[str, Any] = manifest.details["provenance"]
    return provenance


def check_provenance(
    path: str | Path,
    *,
    generator: GeneratorId | None = None,
    prompt_sha256: str | None = None,
    encoder: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The provenance of preferences, where it agrees with what is given; what is None is not compared.

    Args:
        path: the preferences.
        generator: the LLM that is meant to have written the candidates.
        prompt_sha256: of their prompt.
        encoder: `similarities.encoder_provenance` of the encoder that is meant to have compared them.

    Raises:
        InputError: it disagrees; the message says in what.
        MissingResourceError: as `read_provenance`.
    """
    found = read_provenance(path)
    recorded = found["encoder"]
    pairs: list[tuple[str, Any, Any]] = [
        ("LLM", found["generator"], asdict(generator) if generator else None),
        ("prompt", found["prompt"]["sha256"], prompt_sha256),
        ("encoder", {k: v for k, v in (recorded or {}).items() if k != "name"}, dict(encoder) if encoder else None),
    ]
    for what, had, given in pairs:
        if given is not None and given != had:
            raise InputError(
                f"{preferences_path(path)} comes from another {what}: {_differences(had, given)}",
                expected=f"the {what} that the preferences were made with",
                remedy="name that one, or make preferences in another folder",
            )
    return found


def _differences(had: Any, given: Any) -> str:
    if not isinstance(had, dict) or not isinstance(given, dict):
        return f"{had!r}, not {given!r}"
    names = [name for name in sorted({*had, *given}) if had.get(name) != given.get(name)]
    return "; ".join(f"{name} {had.get(name)!r}, not {given.get(name)!r}" for name in names)


def _check_messages(value: Any, where: str) -> None:
    fits = isinstance(value, list) and value
    for message in value if fits else ():
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str) or not text.strip() or not isinstance(message.get("role"), str):
            fits = False
    if not fits:
        raise InputError(f"{where} is no list of messages with text", expected='[{"role": ..., "content": TEXT}, ...]')


def _scores(scored: Scored, place: int) -> dict[str, Any]:
    evidence = scored.evidence
    similar = {"positive": evidence.positive, "answer": evidence.answer}
    known = {name: values for name, values in similar.items() if values is not None}
    return {
        "reward": round(float(scored.rewards.total[place]), DIGITS),
        "rewards": {name: round(float(values[place]), DIGITS) for name, values in scored.rewards.parts.items()},
        "similarities": {name: round(float(values[place]), DIGITS) for name, values in known.items()},
        "ranks": {name: int(ranks(values)[place]) for name, values in known.items()},
    }


def _origin(candidate: Candidate) -> dict[str, Any]:
    return {"key": candidate.key, "temperature": candidate.temperature, "sample": candidate.sample}


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with atomic_write(path) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _parquet() -> Any:
    import importlib

    return importlib.import_module("pyarrow.parquet")
