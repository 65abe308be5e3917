"""Supervised warm-up: an expander learns to write each query's positive, as a start for DPO or alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expandr_ir.config import JsonField
from expandr_ir.errors import InputError
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Topic
from expandr_ir.train.fit import Fit, Fitted, fit
from expandr_ir.train.heldout import HeldoutOptions
from expandr_ir.train.preparation import Demonstration, Preparation, Prepared
from expandr_ir.train.rows import TrainingRow, distinct_queries, query_hash, read_rows
from expandr_ir.train.trainable import ModelOptions, load_tokenizer

if TYPE_CHECKING:
    from expandr_ir.prompts import Prompt


@dataclass(frozen=True, kw_only=True)
class SftOptions(ModelOptions):
    """Options of the supervised warm-up.

    Args:
        rows: training rows: JSONL, a folder of it, a collection, or hub:ID.
        split: of a collection or data set.
        positives: whether the first positive of a row is learnt, or all of them, each as a row of its own.
        dev_share: share of the queries that is held out, by their hash; 0 evaluates nothing.
        max_prompt_length: most tokens of a prompt, whose last ones are kept.
        prompt: what the expander is asked, a name of conf/prompts or a YAML file.
        sft: TRL's SFTConfig, by its own names; what is not there is TRL's default.
        lora: PEFT's LoraConfig, by its own names; null trains all weights.
        heldout: topics that every checkpoint is tried on.
    """

    rows: str
    split: str | None = None
    positives: Literal["first", "all"] = "first"
    dev_share: float = 0.0
    max_prompt_length: int | None = None
    prompt: str = "passage"
    sft: dict[str, JsonField] = field(default_factory=dict)
    lora: dict[str, JsonField] | None = field(default_factory=dict)
    heldout: HeldoutOptions = field(default_factory=HeldoutOptions)


def demonstrations(
    rows: Iterable[TrainingRow], prompt: Prompt, positives: Literal["first", "all"]
) -> list[Demonstration]:
    """What is imitated: a query's prompt, answered with its positive."""
    return [
        Demonstration(f"row {row.row_id}", prompt.render(Topic(row.row_id, row.query)), text)
        for row in rows
        for text in (row.positives if positives == "all" else row.positives[:1])
    ]


def train_sft(options: SftOptions, output: Path, command: Sequence[str]) -> Fitted:
    """Trains, or goes on with training that was broken off, and returns what came of it.

    Args:
        options: of the run.
        output: its folder.
        command: for the manifest.

    Raises:
        InputError: options, rows or a model that do not fit, or a folder that holds another run.
        MissingResourceError: rows or model are not there.
        NotInstalledError: TRL or PEFT is missing.
    """
    tokenizer = load_tokenizer(options)
    prompt = load_prompt(options.prompt)
    train, dev = sft_data(options, prompt, tokenizer)
    path = Path(options.rows)
    return fit(
        Fit(
            kind="sft",
            model=options,
            given=options.sft,
            lora=options.lora,
            heldout=options.heldout,
            prompt=prompt if options.heldout.rows else None,
            train=train.rows,
            dev=dev.rows if dev else None,
            counts=train.counts_with(dev),
            settings={"max_prompt_length": options.max_prompt_length, "prompt_sha256": prompt.sha256},
            inputs={"rows": path} if path.exists() else {},
            provenance={"rows": options.rows, "split": options.split},
        ),
        tokenizer,
        output,
        command,
    )


def sft_data(options: SftOptions, prompt: Prompt, tokenizer: Any) -> tuple[Prepared, Prepared | None]:
    """The rows as token ids for training and, if any are held out, for evaluation.

    Raises:
        InputError: rows that do not fit, or a part without a row that is left.
    """
    from expandr_ir.train.trainer_arguments import trl_option

    if not 0 <= options.dev_share < 1:
        raise InputError(f"dev_share is {options.dev_share}", expected="a share from 0 to below 1")
    rows, _ = distinct_queries(read_rows(options.rows, options.split))
    held = {row.row_id for row in rows if int(query_hash(row.query)[:8], 16) / 16**8 < options.dev_share}
    parts = [[row for row in rows if row.row_id not in held], [row for row in rows if row.row_id in held]]
    max_length = trl_option("sft", options.sft, "max_length")
    preparation = Preparation(tokenizer, max_length, options.max_prompt_length)
    train, dev = (preparation.demonstrations(demonstrations(one, prompt, options.positives)) for one in parts)
    if not train.rows or (options.dev_share and not dev.rows):
        raise InputError(
            f"{len(train.rows)} rows to train on and {len(dev.rows)} held out are left of {len(rows)}",
            expected="at least one of each",
            remedy="--max-prompt-length N, a larger --sft.max_length, or another --dev-share",
        )
    return train, dev if options.dev_share else None
