"""Preferences, held-out rows and models for the tests of training an expander: made here, of a few words."""

from __future__ import annotations

import random
from pathlib import Path

from expandr_ir.io.files import write_jsonl

WORDS = [
    *("aspirin", "lowers", "the", "risk", "of", "heart", "attacks", "flea", "life"),
    *("cycle", "weeks", "eggs", "hatch", "log", "file", "deque", "lines"),
]


def write_preferences(path: Path, count: int = 32, *, seed: int = 0) -> Path:
    """Preferences in which what is chosen says "good" and what is rejected "bad"."""
    draw, rows = random.Random(seed), []
    for number in range(count):
        texts = {"prompt": f"Query: {' '.join(draw.sample(WORDS, 3))} {number}"}
        texts |= {name: f"{word} {' '.join(draw.sample(WORDS, 4))}" for name, word in ANSWERS.items()}
        roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
        rows.append({name: [{"role": roles[name], "content": text}] for name, text in texts.items()})
    write_jsonl(path, rows)
    return path


ANSWERS = {"chosen": "good", "rejected": "bad"}


def write_rows(path: Path, count: int = 8, *, seed: int = 1) -> Path:
    """Training rows whose positive repeats the query."""
    draw, rows = random.Random(seed), []
    for number in range(count):
        query = " ".join(draw.sample(WORDS, 3)) + f" h{number}"
        positive, negative = f"{query} {' '.join(draw.sample(WORDS, 4))}", " ".join(draw.sample(WORDS, 7))
        rows.append({"query": query, "positive": positive, "negative": negative})
    write_jsonl(path, rows)
    return path


def options(model: Path, preferences: Path, output: Path, *more: str) -> list[str]:
    """A short run of `expandr train dpo`, in float32 on the CPU."""
    return [
        *("train", "dpo", "--model", str(model), "--preferences", str(preferences), "--output", str(output)),
        *("--dpo.max_steps", "4", "--dpo.save_steps", "2", "--dpo.logging_steps", "1", "--dpo.learning_rate", "1e-3"),
        *("--dpo.per_device_train_batch_size", "4", "--dpo.bf16", "false", "--dpo.use_cpu", "true"),
        *("--dpo.gradient_checkpointing", "false", "--lora.r", "4", *more),
    ]
