"""Supervised warm-up: an expander learns to write each query's positive, as a start for DPO or alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from expandr_ir.config import JsonField
from expandr_ir.generators.chat import load_tokenizer
from expandr_ir.io.manifest import Summary
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Topic
from expandr_ir.train.align.options import AlignOptions
from expandr_ir.train.align.tokenization import Example, TokenRows, part, tokenize_parts
from expandr_ir.train.data.rows import TrainingRow, distinct_queries, read_rows


@dataclass(frozen=True, kw_only=True)
class SftOptions(AlignOptions):
    """Options of the supervised warm-up.

    Args:
        rows: training rows: JSONL, a folder of it, a collection, or hub:ID.
        split: of a collection or data set.
        positives: whether the first positive of a row is learnt, or all of them, each as a row of its own.
        dev_share: share of the queries that is held out, by their hash; 0 evaluates nothing.
        prompt: what the expander is asked, a name of conf/prompts or a YAML file.
        sft: TRL's SFTConfig, by its own names; what is not there is TRL's default.
    """

    rows: str
    split: str | None = None
    positives: Literal["first", "all"] = "first"
    dev_share: float = 0.0
    prompt: str = "passage"
    sft: dict[str, JsonField] = field(default_factory=dict)


def train_sft(options: SftOptions) -> Summary | None:
    """Trains, or goes on with training that was broken off; with `dry_run` the size of the run.

    Raises:
        InputError: options, rows or a model that do not fit, or a folder that holds another run.
    """
    from expandr_ir.train.align.fit import fit, forecast

    tokenizer, prompt = load_tokenizer(options.generator), load_prompt(options.prompt)
    train, dev = tokenized_rows(options, prompt, tokenizer)
    if options.dry_run:
        return forecast("sft", options.sft, train, dev)
    return fit(
        "sft",
        options,
        tokenizer,
        train,
        dev,
        prompt=prompt,
        inputs={"rows": options.rows},
        provenance={"rows": options.rows, "split": options.split},
    )


def tokenized_rows(options: SftOptions, prompt: Prompt, tokenizer: Any) -> tuple[TokenRows, TokenRows | None]:
    """The rows to train on and the held-out ones, if there are any."""
    rows, _ = distinct_queries(read_rows(options.rows, options.split))
    parts = part(rows, options.dev_share, lambda row: row.query)
    train, dev = (list(demonstrations(rows, prompt, options.positives)) for rows in parts)
    return tokenize_parts("sft", options, train, dev, tokenizer)


def demonstrations(
    rows: Iterable[TrainingRow], prompt: Prompt, positives: Literal["first", "all"]
) -> Iterable[Example]:
    """Prompts of queries, each with a positive as its answer."""
    for row in rows:
        messages = prompt.render(Topic(row.row_id, row.query))
        for text in row.positives if positives == "all" else row.positives[:1]:
            yield Example(f"row {row.row_id}", messages, (text,))
