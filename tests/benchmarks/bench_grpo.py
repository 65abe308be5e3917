"""The rewards' part of a GRPO step: one step of a small LLM for each retriever, with its seconds.

The first call of a search, which opens index and encoder, is that of the evaluation before training.

python tests/benchmarks/bench_grpo.py --collection BEIR/scifact [--model smollm2] [--texts 16] [--tokens 64]
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser
from pathlib import Path

from expandr_ir.train.align.corpus import CorpusOptions
from expandr_ir.train.align.grpo import GrpoOptions, train_grpo
from expandr_ir.train.align.rewards import RewardOptions
from expandr_ir.train.run_folder import CURVES, read_curves

GROUP = 8


def step(collection, model, retriever, texts, tokens):
    """The seconds of a step, and those of its rewards."""
    encoder = None if retriever == "sparse" else "all-MiniLM-L6-v2"
    with tempfile.TemporaryDirectory() as folder:
        options = GrpoOptions(
            model=model,
            rows=collection,
            prompt="passage-short",
            dev_share=0.005,
            reward=RewardOptions(measure="ndcg"),
            corpus=CorpusOptions(collection=collection, retriever=retriever, encoder=encoder, smoothing=0.05),
            grpo={
                "num_generations": GROUP,
                "per_device_train_batch_size": GROUP,
                "gradient_accumulation_steps": texts // GROUP,
                "num_generations_eval": 1,
                "max_completion_length": tokens,
                "max_steps": 1,
                "save_steps": 1,
                "logging_steps": 1,
                "beta": 0.04,
                "gradient_checkpointing": False,
            },
            lora={"r": 16, "target_modules": "all-linear"},
            output=folder,
        )
        train_grpo(options)
        (point,) = [point for point in read_curves(Path(folder) / CURVES) if "grad_norm" in point]
    return point["step_time"], point["reward_seconds"]


def main():
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    given = parser.parse_args()
    print("| reward by | seconds a step | of the rewards | share |\n|---|---:|---:|---:|")
    for retriever in ("sparse", "dense", "hybrid"):
        whole, rewards = step(given.collection, given.model, retriever, given.texts, given.tokens)
        print(f"| {retriever} | {whole:.1f} | {rewards:.2f} | {rewards / whole:.1%} |", flush=True)


if __name__ == "__main__":
    main()
