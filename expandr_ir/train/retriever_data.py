"""The rows that a retriever is trained on: query, positives, negatives, and what an LLM wrote about the query."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expandr_ir.errors import InputError
from expandr_ir.expansions_file import read_expansions
from expandr_ir.records import Topic
from expandr_ir.train.retriever_options import RowOptions
from expandr_ir.train.rows import TrainingRow, distinct_queries


@dataclass(frozen=True)
class RetrieverRow:
    """A training row with its expansions.

    Args:
        row: query, positives and negatives.
        expansions: by sample; blank ones are empty expansions.
    """

    row: TrainingRow
    expansions: tuple[str, ...] = ()

    @property
    def row_id(self) -> str:
        """The row's id."""
        return self.row.row_id


@dataclass(frozen=True)
class RetrieverRows:
    """Rows and what did not fit.

    Args:
        rows: each query once, in their order.
        counts: "rows", "repeated_queries", "without_expansion", "dropped_without_expansion", "empty_expansions",
            "positives_taken_from_negatives", "rows_with_fewer_negatives".
    """

    rows: list[RetrieverRow]
    counts: dict[str, int]


def retriever_rows(source: Iterable[TrainingRow], options: RowOptions) -> RetrieverRows:
    """The rows with their expansions.

    Args:
        source: the rows that the options name, or some of them.
        options: what is made of them.

    Raises:
        InputError: no row, a positive among the negatives, a row without expansion where that is refused, an expansion
            of another query, or two queries with one id.
        MissingResourceError: there is no such expansions file.
    """
    rows, repeated = distinct_queries(source)
    counts = Counter({"repeated_queries": repeated})
    rows = [_separated(row, options, counts) for row in rows]
    texts = _expansions(rows, options, counts)
    kept = [RetrieverRow(row, texts.get(row.row_id, ())) for row in rows]
    if options.expansions and options.without_expansion == "drop":
        kept = [row for row in kept if row.expansions]
        counts["dropped_without_expansion"] = len(rows) - len(kept)
    if not kept:
        raise InputError(f"{options.rows} gives no row to train on", expected="at least one row")
    counts["rows"] = len(kept)
    counts["rows_with_fewer_negatives"] = sum(len(row.row.negatives) < options.negatives for row in kept)
    return RetrieverRows(kept, dict(counts))


def held_back(rows: Sequence[RetrieverRow], share: float) -> tuple[list[RetrieverRow], list[RetrieverRow]]:
    """The rows to train on, and about a share of them that is held back, chosen by a hash of their ids."""
    back = {row.row_id for row in rows if place(row.row_id, "dev") < share}
    return [row for row in rows if row.row_id not in back], [row for row in rows if row.row_id in back]


def drawn(row: RetrieverRow, options: RowOptions, epoch: int, seed: int) -> tuple[str, list[str], list[str]]:
    """The positive, the negatives and the expansions of a row in an epoch; they follow from row, epoch and seed alone.

    Each of several positives has its turn. Negatives keep the row's order.

    Args:
        row: the row.
        options: how many negatives, and what is drawn.
        epoch: from 0.
        seed: of the training.
    """
    positives, negatives, expansions = row.row.positives, row.row.negatives, row.expansions
    first = _number(row.row_id, "positive", seed)
    positive = positives[(first + epoch) % len(positives)]
    if options.draw_negatives and len(negatives) > options.negatives:
        order = sorted(range(len(negatives)), key=lambda at: _number(row.row_id, f"negative {at} {epoch}", seed))
        taken = [negatives[at] for at in sorted(order[: options.negatives])]
    else:
        taken = list(negatives[: options.negatives])
    if place(row.row_id, f"drop {epoch}", seed) < options.drop_expansions:
        expansions = ()
    if options.draw_expansion and expansions:
        expansions = (expansions[(_number(row.row_id, "expansion", seed) + epoch) % len(expansions)],)
    return positive, taken, list(expansions)


def place(row_id: str, salt: str, seed: int = 0) -> float:
    """A number in [0, 1) that follows from an id, a salt and a seed."""
    return _number(row_id, salt, seed) / 2**63


def _number(row_id: str, salt: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed} {salt} {row_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _separated(row: TrainingRow, options: RowOptions, counts: Counter[str]) -> TrainingRow:
    both = [text for text in row.negatives if text in row.positives]
    if not both:
        return row
    if options.positive_among_negatives == "refuse":
        raise InputError(
            f"row {row.row_id!r}: a positive is among the negatives: {both[0][:60]!r}",
            expected="negatives that do not answer the query",
            remedy="--data.positive-among-negatives drop",
        )
    counts["positives_taken_from_negatives"] += len(both)
    return replace(row, negatives=tuple(text for text in row.negatives if text not in row.positives))


def _expansions(rows: list[TrainingRow], options: RowOptions, counts: Counter[str]) -> Mapping[str, tuple[str, ...]]:
    """The texts by row_id, of the rows that have some."""
    if not options.expansions:
        return {}
    topics = {row.row_id: Topic(row.row_id, row.query) for row in rows}
    found = read_expansions(Path(options.expansions), topics, skip_missing=True)
    if found.missing and options.without_expansion == "refuse":
        raise InputError(
            f"{options.expansions} has no expansion of {len(found.missing)} of {len(rows)} rows: "
            + ", ".join(found.missing[:5]),
            expected="an expansion of every row; it may be empty",
            remedy="--data.without-expansion alone, or drop",
        )
    counts["without_expansion"] = len(found.missing)
    counts["empty_expansions"] = found.empty
    return {row_id: tuple(one.text for one in topic.expansions) for row_id, topic in found.topics.items()}
