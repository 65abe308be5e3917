"""An LLM puts a query's positive and its hard negatives in order; the negatives then stand in the rows in that order.

Reinforced-IR (arXiv 2502.11562) trains its retriever on the order alone (`objective.listwise`).
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError
from expandr_ir.expand import ProgressHook, expand, plan
from expandr_ir.files import atomic_write, read_jsonl
from expandr_ir.pipeline import ExpandOptions, opened
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Document, Topic
from expandr_ir.train.rows import NEGATIVE_FIELDS, TrainingRow, parse_row

_BRACKETED = re.compile(r"\[(\d+)\]")
_NUMBER = re.compile(r"\d+")
PARALLEL = ("negative_ids", "negative_scores")
"""Fields of a row that have a value for each negative, beside the negatives themselves."""


@dataclass(frozen=True, kw_only=True)
class OrderOptions:
    """How an LLM puts rows' documents in order.

    Args:
        rows: a JSONL of training rows with negatives.
        prompt: shown query and numbered passages; the reply is their order.
        negatives: most negatives of a row that are shown, the first ones; the others stay behind them.
        max_words: most words of each passage that are shown.
        seed: of the order in which passages are shown: where a passage stands sways an LLM.
        store: the expansion store's file.
        retry_refused: ask again what a content filter refused before.
        batch_samples: samples stored in one commit; None is as in `expandr expand`.
    """

    rows: str
    prompt: str = "listwise"
    negatives: int = 15
    max_words: int = 100
    seed: int = 42
    store: str | None = None
    retry_refused: bool = False
    batch_samples: int | None = None

    def __post_init__(self) -> None:
        for name in ("negatives", "max_words"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}", expected="1 or more")


@dataclass
class Ordered:
    """What came of it.

    Args:
        counts: rows; ordered; of these positive_first and incomplete (the reply named some documents only; the others
            follow in the order they had); unreadable and failed replies, and rows without two documents to compare, all
            of which keep the order they had; generated and stored replies.
        tokens: of the LLM, "in" and "out".
        seconds: of the LLM.
    """

    counts: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def read_order(reply: str, documents: int) -> list[int]:
    """The places, from 0, that a reply names, each once, in its order; [] where it names none.

    Numbers in brackets are read; where there are none, all numbers. Numbers of no document are passed over.

    Args:
        reply: the LLM's.
        documents: how many were shown, as [1], [2], ...
    """
    found = _BRACKETED.findall(reply) or _NUMBER.findall(reply)
    places = [int(number) - 1 for number in found if len(number) <= 6]
    return list(dict.fromkeys(place for place in places if 0 <= place < documents))


def shown_order(row_id: str, documents: int, seed: int) -> list[int]:
    """The order in which a row's documents are shown: place 0 is the positive, place i the i-th negative."""
    order = list(range(documents))
    random.Random(hashlib.sha256(f"shown:{seed}:{row_id}".encode()).digest()).shuffle(order)  # noqa: S311
    return order


def reordered(row: dict[str, Any], places: Sequence[int], shown: int) -> dict[str, Any]:
    """The row with its first `shown` negatives in another order; what stands beside them moves with them.

    Args:
        row: as JSON.
        places: of the negatives, from 0, best first; those not named follow in the order they had.
        shown: how many negatives may move.

    Raises:
        InputError: a field beside the negatives has another length.
    """
    name = next(field for field in NEGATIVE_FIELDS if row.get(field) is not None)
    count = 1 if isinstance(row[name], str) else len(row[name])
    order = [*places, *(place for place in range(shown) if place not in places), *range(shown, count)]
    moved = dict(row)
    for one in (name, *PARALLEL):
        values = row.get(one)
        if isinstance(values, list):
            if len(values) != count:
                raise InputError(f"a row has {count} negatives and {len(values)} {one}", expected="one for each")
            moved[one] = [values[place] for place in order]
    return moved


def put_in_order(
    options: OrderOptions, config: GeneratorConfig, output: Path, on_progress: ProgressHook | None = None
) -> Ordered:
    """What came of it, after writing the rows in their order, each with its negatives in the LLM's.

    Args:
        options: how.
        config: the LLM; it is asked greedily.
        output: the JSONL.
        on_progress: as in `expand`.

    Raises:
        InputError: no rows, a faulty one, two rows with one id, or a prompt that does not show query and passages.
        ExpandrError: the store or the generator fails.
    """
    prompt = load_prompt(options.prompt)
    if set(prompt.needs) != {"passages"} or "topic" not in prompt.placeholders:
        raise InputError(f"prompt {prompt.id!r} shows {prompt.placeholders}", expected="{topic} and {passages}")
    rows: dict[str, tuple[dict[str, Any], TrainingRow]] = {}
    for line, raw in read_jsonl(Path(options.rows)):
        row = parse_row(raw, f"{options.rows}, line {line}")
        if row.row_id in rows:
            raise InputError(f"{options.rows}, line {line}: a second row {row.row_id!r}", expected="each id once")
        rows[row.row_id] = raw, row
    if not rows:
        raise InputError(f"{options.rows} has no rows", expected="what `expandr train mine` writes")
    asked = {row_id: row for row_id, (_, row) in rows.items() if row.negatives}
    orders = {row_id: shown_order(row_id, _shown(row, options) + 1, options.seed) for row_id, row in asked.items()}
    context = {row_id: {"passages": _passages(row, orders[row_id], options)} for row_id, row in asked.items()}
    ordered = Ordered(Counter(rows=len(rows), without_negatives=len(rows) - len(asked)))
    replies: dict[str, str] = {}
    with opened(config, ExpandOptions(store=options.store)) as (generator, store):
        planned = plan(
            [Topic(row_id, row.query) for row_id, row in asked.items()],
            prompt,
            generator,
            replace(config.decoding, temperature=0.0),
            1,
            store,
            context=context,
            retry_refused=options.retry_refused,
            batch_samples=options.batch_samples,
        )
        expanded = expand(planned, generator, store, on_progress)
    for one in expanded.topics:
        if one.expansions:
            replies[one.topic.topic_id] = one.expansions[0].text
    ordered.counts.update(generated=expanded.counts.generated, stored=expanded.counts.stored)
    ordered.tokens = {"in": expanded.counts.tokens_in, "out": expanded.counts.tokens_out}
    ordered.seconds = expanded.counts.seconds
    with atomic_write(output) as stream:
        for row_id, (raw, row) in rows.items():
            moved = _moved(raw, row, orders.get(row_id, []), replies.get(row_id), ordered.counts)
            stream.write(json.dumps(moved, ensure_ascii=False) + "\n")
    return ordered


def _moved(
    raw: dict[str, Any], row: TrainingRow, shown: Sequence[int], reply: str | None, counts: Counter[str]
) -> dict[str, Any]:
    if not row.negatives:
        return raw
    if reply is None:
        counts["failed"] += 1
        return raw
    ranking = [shown[place] for place in read_order(reply, len(shown))]
    if not ranking:
        counts["unreadable"] += 1
        return raw
    counts["ordered"] += 1
    counts["incomplete"] += len(ranking) < len(shown)
    counts["positive_first"] += ranking[0] == 0
    return reordered(raw, [place - 1 for place in ranking if place > 0], len(shown) - 1)


def _shown(row: TrainingRow, options: OrderOptions) -> int:
    return min(len(row.negatives), options.negatives)


def _passages(row: TrainingRow, order: Sequence[int], options: OrderOptions) -> list[Document]:
    texts = [row.positives[0], *row.negatives]
    return [Document(str(place), "", " ".join(texts[place].split()[: options.max_words])) for place in order]
