"""Training rows cut into parts by their queries' hashes: no query is in two parts, whatever order the rows come in."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write
from expandr_ir.train.rows import TrainingRow, query_hash, read_rows, row_json


@dataclass(frozen=True)
class SplitCounts:
    """What became of the rows.

    Args:
        rows: read.
        queries: distinct ones.
        duplicates: rows whose query an earlier row had.
        left_out: rows in no part, because the shares do not add up to 1.
        parts: rows of each part.
        part_queries: distinct queries of each part.
    """

    rows: int
    queries: int
    duplicates: int
    left_out: int
    parts: dict[str, int]
    part_queries: dict[str, int]


def parse_shares(parts: Sequence[str]) -> dict[str, float]:
    """The shares by part of texts such as "dpo=.5".

    Raises:
        InputError: another form, a name twice or that is no file name, or shares that are not above 0 or add up to
            more than 1.
    """
    shares: dict[str, float] = {}
    for part in parts:
        name, equals, share = part.partition("=")
        try:
            value = float(share)
        except ValueError:
            value = math.nan
        if not equals or not 0 < value <= 1:
            raise InputError(f"part {part!r}", expected="NAME=SHARE with a share above 0 and at most 1, such as dpo=.5")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise InputError(f"part {name!r}", expected="a name of letters, digits, - and _")
        if name in shares:
            raise InputError(f"part {name!r} is there twice", expected="each part once")
        shares[name] = value
    if not shares:
        raise InputError("no part is named", expected="parts with shares", remedy="dpo=.5 retriever=.4 dev=.1")
    if sum(shares.values()) > 1 + 1e-9:
        raise InputError(f"the shares add up to {sum(shares.values()):g}", expected="at most 1")
    return shares


def part_of(query: str, shares: Mapping[str, float], seed: int) -> str | None:
    """The part that a query is in; None where the shares leave it out.

    It depends on the normalised query, the seed and the shares alone. The hash is a number in [0, 1), and each part
    takes an interval of the length of its share, in the shares' order.
    """
    digest = hashlib.sha256(f"{seed}:{query_hash(query)}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    upper = 0.0
    for name, share in shares.items():
        upper += share
        if place < upper:
            return name
    return list(shares)[-1] if upper > 1 - 1e-9 else None


def all_rows(sources: Sequence[str], split: str | None) -> Iterator[TrainingRow]:
    """The rows of all sources; with several, a source's name stands before its rows' ids."""
    for source in sources:
        prefix = f"{Path(source).name.split('.')[0]}:" if len(sources) > 1 else ""
        for row in read_rows(source, split):
            yield replace(row, row_id=prefix + row.row_id) if prefix else row


def write_split(
    rows: Iterable[TrainingRow],
    shares: Mapping[str, float],
    seed: int,
    folder: Path,
    duplicates: Literal["keep", "drop"] = "keep",
) -> SplitCounts:
    """Writes each part to FOLDER/NAME.jsonl, in the rows' order, and returns what became of them.

    All parts appear at the end, each complete, or none does.

    Args:
        rows: read once, as a stream.
        shares: by part.
        seed: another seed is another split.
        folder: made where it is not there.
        duplicates: whether further rows of a query are kept (they may have other positives) or dropped.

    Raises:
        InputError: two different queries with one id, no rows, or a part without rows.
    """
    ids: dict[str, bytes] = {}
    queries: set[bytes] = set()
    written: Counter[str] = Counter()
    distinct: Counter[str] = Counter()
    total = repeated = left_out = 0
    with ExitStack() as stack:
        streams = {name: stack.enter_context(atomic_write(folder / f"{name}.jsonl")) for name in shares}
        for row in rows:
            total += 1
            query = bytes.fromhex(query_hash(row.query))
            if ids.setdefault(row.row_id, query) != query:
                raise InputError(
                    f"two queries have the id {row.row_id!r}; one is {row.query!r}", expected="an id for each query"
                )
            is_new = query not in queries
            queries.add(query)
            repeated += not is_new
            part = part_of(row.query, shares, seed)
            if part is None:
                left_out += 1
            elif is_new or duplicates == "keep":
                streams[part].write(json.dumps(row_json(row), ensure_ascii=False) + "\n")
                written[part] += 1
                distinct[part] += is_new
        if total == 0:
            raise InputError("there are no rows", expected="at least one row for each part")
        if empty := [name for name in shares if not written[name]]:
            raise InputError(f"part {empty[0]!r} has none of the {total} rows", expected="more rows, or larger shares")
    return SplitCounts(
        total, len(queries), repeated, left_out, {n: written[n] for n in shares}, {n: distinct[n] for n in shares}
    )


def subsample(rows: Sequence[TrainingRow], count: int | None, seed: int) -> list[TrainingRow]:
    """`count` of the rows, in their order: those whose queries have the lowest hashes with this seed.

    The same rows are taken in whatever order they come, and of more rows mostly the same ones.

    Args:
        rows: of distinct queries.
        count: how many; None or more than there are takes all.
        seed: another seed is another sample.
    """
    if count is None or count >= len(rows):
        return list(rows)
    ordered = sorted(rows, key=lambda row: hashlib.sha256(f"sample:{seed}:{query_hash(row.query)}".encode()).digest())
    kept = {row.row_id for row in ordered[:count]}
    return [row for row in rows if row.row_id in kept]
