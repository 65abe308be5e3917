"""`expandr train VERB`: each verb is a module beside this one, imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from expandr_ir.cli.verbs import dispatch

VERBS: dict[str, str] = {
    "synthesize": "queries from a corpus, with an LLM or without one",
    "split": "cut training rows into parts by their queries",
    "preferences": "candidates, rewards, and pairs of a chosen and a rejected expansion",
    "sft": "warm an LLM up: it learns to write each query's positive",
    "dpo": "align an LLM to preferences",
    "merge": "an adapter merged into its base, with a model card",
    "small-expander": "a small LLM from nothing on one collection, to test alignment on",
    "trajectory": "a tiny model's losses against a recorded reference",
    "mine": "hard negatives by BM25 and by an encoder",
    "retriever": "train an encoder to read expansions",
    "order": "an LLM puts rows' documents in order",
    "rounds": "expander and retriever in turns, every step resumable",
}
"""Verb -> what it does; the module of the same name, dashes as underscores, has `run(argv)`."""


def run(argv: list[str]) -> int:
    """Runs `expandr train VERB ...` and returns its exit code."""
    return dispatch("train", {verb: _verb(verb) for verb in VERBS}, argv)


def _verb(verb: str) -> Callable[[list[str]], int]:
    def run_it(argv: list[str]) -> int:
        code: int = importlib.import_module(f"expandr_ir.cli.train.{verb.replace('-', '_')}").run(argv)
        return code

    return run_it
