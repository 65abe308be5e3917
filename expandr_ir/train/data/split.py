"""Training rows cut into parts by their queries' hashes: no query is in two parts, in whatever order the rows come."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from expandr_ir.errors import InputError
from expandr_ir.io.files import atomic_write, output_file, output_folder
from expandr_ir.io.manifest import Summary, manifest_path, write_manifest
from expandr_ir.train.data.rows import TrainingRow, all_rows, mark_new_queries, query_hash, row_json

_PART = re.compile(r"([\w-]+)=((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Options of `expandr train split`.

    Args:
        parts: NAME=SHARE, such as dpo=.5; shares that add up to less than 1 leave rows out.
        rows: JSONL file or folder of them, collection, or hub:ID; may be repeated.
        split: of a collection or a data set; None is train.
        output: folder of the parts, NAME.jsonl each.
        seed: another seed is another split.
        duplicates: keep or drop further rows of a query; kept ones are in the same part.
    """

    parts: list[str] = field(default_factory=list)
    rows: list[str]
    split: str | None = None
    output: str
    seed: int = 42
    duplicates: Literal["keep", "drop"] = "keep"


def split(options: SplitOptions) -> Summary:
    """Writes each part in its rows' order: all parts appear complete at the end, each with a manifest, or none does.

    Raises:
        InputError: shares or rows that do not fit, two different queries with one id, or a part without rows.
    """
    shares = parse_shares(options.parts)
    folder = output_folder(options.output)
    paths = {name: output_file(str(folder / f"{name}.jsonl"), options.rows) for name in shares}
    for path in paths.values():
        manifest_path(path).unlink(missing_ok=True)
    parts = {name: {"rows": 0, "queries": 0} for name in shares}
    totals = Counter[str]()
    with ExitStack() as stack:
        streams = {name: stack.enter_context(atomic_write(path)) for name, path in paths.items()}
        for row, is_new in mark_new_queries(all_rows(options.rows, options.split)):
            part = part_of(row.query, shares, options.seed)
            totals.update({"rows": 1, "queries": is_new, "duplicates": not is_new, "left_out": part is None})
            if part is not None and (is_new or options.duplicates == "keep"):
                streams[part].write(json.dumps(row_json(row), ensure_ascii=False) + "\n")
                parts[part]["rows"] += 1
                parts[part]["queries"] += is_new
        if empty := [name for name in shares if not parts[name]["rows"]]:
            message = f"part {empty[0]!r} has none of the {totals['rows']} rows"
            raise InputError(message, expected="more rows, or larger shares")
    for name, path in paths.items():
        write_manifest(
            path,
            options=options,
            inputs={f"rows {number}": rows for number, rows in enumerate(options.rows, start=1)},
            seeds={"split": options.seed},
            counts=parts[name] | {f"source_{total}": count for total, count in totals.items()},
            details={"part": name, "share": shares[name], "shares": shares},
        )
    return Summary({f"{name}.jsonl": counts for name, counts in parts.items()} | totals, folder)


def parse_shares(parts: Sequence[str]) -> dict[str, float]:
    """The shares by part of texts such as "dpo=.5"."""
    shares: dict[str, float] = {}
    for part in parts:
        match = _PART.fullmatch(part)
        if not match or not 0 < float(match[2]) <= 1 or match[1] in shares:
            raise InputError(
                f"part {part!r}",
                expected="NAME=SHARE, each once: a name of letters, digits, - and _, a share above 0 and at most 1",
                remedy="dpo=.5 retriever=.4 dev=.1",
            )
        shares[match[1]] = float(match[2])
    if not shares:
        raise InputError("no part is named", expected="parts with shares", remedy="dpo=.5 retriever=.4 dev=.1")
    if sum(shares.values()) > 1 + 1e-9:
        raise InputError(f"the shares add up to {sum(shares.values()):g}", expected="at most 1")
    return shares


def part_of(query: str, shares: Mapping[str, float], seed: int) -> str | None:
    """The part of a query, by the hash of the normalised query and the seed; None where the shares leave it out."""
    digest = hashlib.sha256(f"{seed}:{query_hash(query)}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    upper = 0.0
    for name, share in shares.items():
        upper += share
        if place < upper:
            return name
    return list(shares)[-1] if upper > 1 - 1e-9 else None  # .1 + .2 + .7 is a little below 1


def subsample(rows: Sequence[TrainingRow], count: int | None, seed: int) -> list[TrainingRow]:
    """`count` of the rows (None: all), in their order: those whose queries have the lowest hashes with this seed."""
    if count is None or count >= len(rows):
        return list(rows)
    ordered = sorted(rows, key=lambda row: hashlib.sha256(f"sample:{seed}:{query_hash(row.query)}".encode()).digest())
    row_ids = {row.row_id for row in ordered[:count]}
    return [row for row in rows if row.row_id in row_ids]
