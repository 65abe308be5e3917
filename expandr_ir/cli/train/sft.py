"""`expandr train sft`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.train.fitted import RunOptions, forecast, run_folder, show
from expandr_ir.train.sft import SftOptions

VERB = Verb(
    "train sft",
    "Warm an LLM up: it learns to write each query's positive.",
    """
expandr train sft --config sft --model Qwen/Qwen2.5-0.5B-Instruct --rows rows/train.jsonl --output warm
expandr train sft --config sft --model Qwen/Qwen2.5-0.5B-Instruct --rows beir/scifact --dev-share .1 --output warm
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(SftOptions, RunOptions):
    """Options of `expandr train sft`."""


def run(argv: list[str]) -> int:
    """Trains, or goes on where a run was broken off; prints what came of it."""
    from expandr_ir.prompts import load_prompt
    from expandr_ir.train.sft import sft_data, train_sft
    from expandr_ir.train.trainable import load_tokenizer

    options = parse(VERB, Options, argv)
    if options.dry_run:
        train, _ = sft_data(options, load_prompt(options.prompt), load_tokenizer(options))
        return forecast("sft", options.sft, train.counts)
    folder = run_folder(options.output)
    return show(train_sft(options, Path(folder), ["expandr", "train", "sft", *argv]))
