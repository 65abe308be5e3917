"""`expandr train dpo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.train.fitted import RunOptions, forecast, run_folder, show
from expandr_ir.train.dpo import DpoOptions

VERB = Verb(
    "train dpo",
    "Align an LLM by DPO: it learns to write what was chosen, and not what was rejected.",
    """
expandr train dpo --config dpo-expandr --model meta-llama/Meta-Llama-3-8B-Instruct --preferences prefs --output aligned
expandr train dpo --config dpo-expandr --model small --preferences prefs --dpo.learning_rate 1e-3 --lora.r 16 \\
    --dpo.loss_type '["sigmoid", "sft"]' --heldout.rows rows/heldout.jsonl --output aligned
accelerate launch --config_file conf/accelerate/zero2.yaml -m expandr_ir train dpo --config dpo-expandr ...
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(DpoOptions, RunOptions):
    """Options of `expandr train dpo`."""


def run(argv: list[str]) -> int:
    """Trains, or goes on where a run was broken off; prints what came of it."""
    from expandr_ir.train.dpo import dpo_data, max_length_of, train_dpo
    from expandr_ir.train.trainable import load_tokenizer

    options = parse(VERB, Options, argv)
    if options.dry_run:
        data = dpo_data(options, load_tokenizer(options), max_length_of(options))
        return forecast("dpo", options.dpo, data.train.counts_with(data.dev))
    folder = run_folder(options.output)
    return show(train_dpo(options, Path(folder), ["expandr", "train", "dpo", *argv]))
