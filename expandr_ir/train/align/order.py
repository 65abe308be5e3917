"""An LLM puts a query's positive and its hard negatives in order; the negatives then stand in the rows in that order.

Reinforced-IR (arXiv 2502.11562) trains its retriever on the order alone (`objective.listwise`).
"""

from __future__ import annotations

import hashlib
import logging
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError, PartlyDoneError, check_fields
from expandr_ir.expanders import ReuseOptions, load_expander
from expandr_ir.io.files import output_file, read_jsonl, write_jsonl
from expandr_ir.io.manifest import Summary, write_manifest
from expandr_ir.records import Document, Topic
from expandr_ir.train.data.rows import NEGATIVE_FIELDS, TrainingRow, parse_row

logger = logging.getLogger(__name__)

PARALLEL = ("negative_ids", "negative_scores")
"""Fields of a row that have a value for each negative, beside the negatives themselves."""


@dataclass(frozen=True, kw_only=True)
class OrderOptions(ReuseOptions):
    """Options of `expandr train order`.

    Args:
        rows: a JSONL of training rows with negatives.
        generator: a name of conf/generators, a YAML file, or engine:model; it is asked greedily.
        prompt: shown query and numbered passages; the reply is their order.
        negatives: most negatives of a row that are shown, the first ones; the others stay behind them.
        max_words: most words of each passage that are shown.
        seed: of the order in which passages are shown: where a passage stands sways an LLM.
        output: the rows, JSONL or .jsonl.gz.
    """

    rows: str
    generator: GeneratorConfig
    prompt: str = "listwise"
    negatives: int = 15
    max_words: int = 100
    seed: int = 42
    output: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "negatives", "max_words", least=1)


def order(options: OrderOptions) -> Summary:
    """Writes the rows in their order, each with its negatives in the LLM's, and the manifest.

    The counts: rows; ordered; of these positive_first and incomplete (the reply named some documents only; the others
    follow in the order they had); unreadable and failed replies, and rows without_negatives, which all keep the order
    they had; generated and stored replies.

    Raises:
        InputError: no rows, a faulty one, two rows with one id, or a prompt that does not show query and passages.
        ExpandrError: the store or the generator fails.
    """
    output = output_file(options.output, [options.rows])
    rows = _read_rows(options.rows)
    topics = {row_id: Topic(row_id, row.query) for row_id, (_, row) in rows.items() if row.negatives}
    orders = {i: shown_order(i, min(len(rows[i][1].negatives), options.negatives) + 1, options.seed) for i in topics}
    context = {i: {"passages": _passages(rows[i][1], orders[i], options.max_words)} for i in topics}
    with load_expander(generator=options.generator, options=options.expand_options(prompt=options.prompt)) as expander:
        prompt = expander.prompt
        if set(prompt.needs) != {"passages"} or "topic" not in prompt.placeholders:
            raise InputError(f"prompt {prompt.id!r} shows {prompt.placeholders}", expected="{topic} and {passages}")
        decoding = replace(expander.decoding, temperature=0.0)
        replies = expander.generate(prompt, topics, context=context, samples=1, decoding=decoding)
    counts = Counter({"rows": len(rows), "without_negatives": len(rows) - len(topics)})
    counts.update({name: replies.counts[name] for name in ("generated", "stored")})
    ordered = {row_id: raw for row_id, (raw, _) in rows.items()}
    for row_id in topics:
        reply = replies[row_id].expansions[0].text if row_id in replies else None
        ordered[row_id] = _in_order(ordered[row_id], orders[row_id], reply, counts)
    write_jsonl(output, ordered.values())
    write_manifest(
        output,
        options=options,
        inputs={"rows": options.rows},
        seeds={"shown": options.seed, "decoding": options.generator.decoding.seed},
        counts=counts,
        seconds={"generate": replies.seconds or 0.0},
        tokens=replies.tokens,
    )
    if counts["unreadable"]:
        logger.warning("%d replies name no document; their rows keep the order they had", counts["unreadable"])
    return Summary(counts, output, exit_code=PartlyDoneError.exit_code if counts["failed"] else 0)


def read_order(reply: str, documents: int) -> list[int]:
    """The places, from 0, of the shown [1], [2], ... that a reply names, each once, in its order.

    Numbers in brackets are read; where there are none, all numbers. Numbers of no document are passed over.
    """
    numbers = re.findall(r"\[(\d+)\]", reply) or re.findall(r"\d+", reply)
    places = [int(number) - 1 for number in numbers if len(number) <= 6]
    return list(dict.fromkeys(place for place in places if 0 <= place < documents))


def shown_order(row_id: str, documents: int, seed: int) -> list[int]:
    """The order in which a row's documents are shown: place 0 is the positive, place i the i-th negative."""
    places = list(range(documents))
    random.Random(hashlib.sha256(f"shown:{seed}:{row_id}".encode()).digest()).shuffle(places)  # noqa: S311
    return places


def reordered(row: dict[str, Any], places: Sequence[int], shown: int) -> dict[str, Any]:
    """The row with its first `shown` negatives, and all that stands beside them, in the order of `places`.

    Those not named follow in the order they had.
    """
    name = next(field for field in NEGATIVE_FIELDS if row.get(field) is not None)
    count = 1 if isinstance(row[name], str) else len(row[name])
    order = [*places, *(place for place in range(shown) if place not in places), *range(shown, count)]
    row = dict(row)
    for field in (name, *PARALLEL):
        values = row.get(field)
        if isinstance(values, list):
            if len(values) != count:
                raise InputError(f"a row has {count} negatives and {len(values)} {field}", expected="one for each")
            row[field] = [values[place] for place in order]
    return row


def _read_rows(source: str) -> dict[str, tuple[dict[str, Any], TrainingRow]]:
    """The rows by row_id, as JSON and parsed."""
    rows: dict[str, tuple[dict[str, Any], TrainingRow]] = {}
    for line, raw in read_jsonl(Path(source)):
        row = parse_row(raw, f"{source}, line {line}")
        if row.row_id in rows:
            raise InputError(f"{source}, line {line}: a second row {row.row_id!r}", expected="each id once")
        rows[row.row_id] = raw, row
    if not rows:
        raise InputError(f"{source} has no rows", expected="what `expandr train mine` writes")
    return rows


def _passages(row: TrainingRow, places: Sequence[int], max_words: int) -> list[Document]:
    texts = [row.positives[0], *row.negatives]
    return [Document(str(place), "", " ".join(texts[place].split()[:max_words])) for place in places]


def _in_order(raw: dict[str, Any], places: Sequence[int], reply: str | None, counts: Counter[str]) -> dict[str, Any]:
    ranking = [places[place] for place in read_order(reply or "", len(places))]
    if not ranking:
        counts["failed" if reply is None else "unreadable"] += 1
        return raw
    counts["ordered"] += 1
    counts["incomplete"] += len(ranking) < len(places)
    counts["positive_first"] += ranking[0] == 0
    return reordered(raw, [place - 1 for place in ranking if place > 0], len(places) - 1)
