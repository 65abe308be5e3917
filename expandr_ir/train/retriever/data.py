"""The rows that a retriever is trained on: query, positives, negatives, and what an LLM wrote about the query."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expandr_ir.errors import InputError
from expandr_ir.io.expansions import read_expansions
from expandr_ir.records import Topic
from expandr_ir.train.data.rows import TrainingRow, distinct_queries
from expandr_ir.train.retriever.options import RowOptions


@dataclass(frozen=True)
class RetrieverRow:
    """A training row with its expansions by sample; blank ones are empty expansions."""

    row: TrainingRow
    expansions: tuple[str, ...] = ()

    @property
    def row_id(self) -> str:
        """The row's id."""
        return self.row.row_id


def retriever_rows(source: Iterable[TrainingRow], options: RowOptions) -> tuple[list[RetrieverRow], dict[str, int]]:
    """The rows of a source with their expansions, each query once, and the counts of what did not fit."""
    rows, repeated = distinct_queries(source)
    counts = Counter({"repeated_queries": repeated})
    rows = [_separate(row, options, counts) for row in rows]
    texts = _expansions(rows, options, counts)
    expanded = [RetrieverRow(row, texts.get(row.row_id, ())) for row in rows]
    if options.expansions and options.without_expansion == "drop":
        expanded = [row for row in expanded if row.expansions]
        counts["dropped_without_expansion"] = len(rows) - len(expanded)
    if not expanded:
        raise InputError(f"{options.rows} gives no row to train on", expected="at least one row")
    counts["rows"] = len(expanded)
    counts["rows_with_fewer_negatives"] = sum(len(row.row.negatives) < options.negatives for row in expanded)
    return expanded, dict(counts)


def _separate(row: TrainingRow, options: RowOptions, counts: Counter[str]) -> TrainingRow:
    both = [text for text in row.negatives if text in row.positives]
    if both and options.positive_among_negatives == "refuse":
        raise InputError(
            f"row {row.row_id!r}: a positive is among the negatives: {both[0][:60]!r}",
            expected="negatives that do not answer the query",
            remedy="--data.positive-among-negatives drop",
        )
    counts["positives_taken_from_negatives"] += len(both)
    return replace(row, negatives=tuple(text for text in row.negatives if text not in both))


def _expansions(rows: list[TrainingRow], options: RowOptions, counts: Counter[str]) -> Mapping[str, tuple[str, ...]]:
    """The texts by row_id, of the rows that have some."""
    if not options.expansions:
        return {}
    topics = {row.row_id: Topic(row.row_id, row.query) for row in rows}
    expanded = read_expansions(Path(options.expansions), topics, skip_missing=True)
    if expanded.missing and options.without_expansion == "refuse":
        raise InputError(
            f"{options.expansions} has no expansion of {len(expanded.missing)} of {len(rows)} rows: "
            + ", ".join(expanded.missing[:5]),
            expected="an expansion of every row; it may be empty",
            remedy="--data.without-expansion alone, or drop",
        )
    counts["without_expansion"] = len(expanded.missing)
    counts["empty_expansions"] = expanded.counts["empty"]
    return {row_id: tuple(text.text for text in topic.expansions) for row_id, topic in expanded.items()}


def hold_back(rows: Sequence[RetrieverRow], share: float) -> tuple[list[RetrieverRow], list[RetrieverRow]]:
    """The rows to train on, and about a share of them that is held back, chosen by a hash of their ids."""
    parts: tuple[list[RetrieverRow], list[RetrieverRow]] = ([], [])
    for row in rows:
        parts[place(row.row_id, "dev") < share].append(row)
    return parts


def draw(row: RetrieverRow, options: RowOptions, epoch: int, seed: int) -> tuple[str, list[str], list[str]]:
    """The positive, in turn, the negatives and expansions of a row; they follow from row, epoch and seed alone."""
    positives, negatives, expansions = row.row.positives, row.row.negatives, row.expansions
    positive = positives[(_number(row.row_id, "positive", seed) + epoch) % len(positives)]
    order = list(range(len(negatives)))
    if options.draw_negatives:
        order.sort(key=lambda at: _number(row.row_id, f"negative {at} {epoch}", seed))
    hard = [negatives[at] for at in sorted(order[: options.negatives])]
    if place(row.row_id, f"drop {epoch}", seed) < options.drop_expansions:
        expansions = ()
    if options.draw_expansion and expansions:
        expansions = (expansions[(_number(row.row_id, "expansion", seed) + epoch) % len(expansions)],)
    return positive, hard, list(expansions)


def place(row_id: str, salt: str, seed: int = 0) -> float:
    """A number in [0, 1) that follows from an id, a salt and a seed."""
    return _number(row_id, salt, seed) / 2**63


def _number(row_id: str, salt: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed} {salt} {row_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
