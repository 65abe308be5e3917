"""How long preferences take to score: all queries at once, against one query at a time, with the same encoder.

The loop encodes, for each query, its positive, its answer and its candidates, in float32 and in three calls, as
ExpandR's released code does; then both compute the same rewards. The texts are a collection's own: candidates are
passages of about so many words. On a busy machine look at the CPU time, with OMP_NUM_THREADS=1.

python tests/benchmarks/bench_preferences.py [--queries 100] [--candidates 32] [--words 110] [--collection demo]
"""

from __future__ import annotations

import os
import random
import tempfile
from argparse import ArgumentParser
from functools import partial
from pathlib import Path

import numpy as np
import torch
from turns import take_turns

from expandr_ir.collections import load_collection
from expandr_ir.config import EncodeOptions
from expandr_ir.encoders import load_encoder
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.rewards import RewardOptions, choose, sum_rewards
from expandr_ir.train.align.scoring import SimilarityOptions, add_similarities
from expandr_ir.train.data.rows import TrainingRow

WEIGHTS = {"retriever": 1.0, "self": 1.0}


def make_table(spec, queries, candidates, words):
    """Queries with a positive, an answer and candidates, drawn from the collection's documents."""
    draw = random.Random(1)
    documents = [f"{document.title} {document.text}".split() for document in load_collection(spec).documents()]

    def text(most):
        document = draw.choice(documents)
        start = draw.randrange(max(1, len(document) - most))
        return " ".join(document[start : start + max(8, round(draw.gauss(most, most / 4)))])

    table = []
    for number in range(queries):
        query, positive, answer = text(12), text(200), text(40)
        texts = list(dict.fromkeys(text(words) for _ in range(candidates)))
        table.append(Candidates(TrainingRow(str(number), query, (positive,), ()), texts, answer=answer))
    return table


def per_query(table, encoder):
    """The best and worst candidates by a loop over queries, as the released code computes the rewards."""

    def encode(texts):
        tokens = encoder.model.tokenizer(
            list(texts), padding=True, truncation=True, max_length=encoder.config.max_length, return_tensors="pt"
        )
        with torch.no_grad():
            features = encoder.model(dict(tokens))
        return torch.nn.functional.normalize(features["sentence_embedding"], dim=-1).numpy()

    chosen = []
    for row in table:
        positive, answer, vectors = encode(row.row.positives), encode([row.answer]), encode(row.texts)
        total = np.zeros(len(vectors))
        for target in (positive[0], answer[0]):
            order = np.argsort(-(vectors @ target), kind="stable")
            total[order] += 1 / np.arange(1, len(vectors) + 1)
        chosen.append((int(np.argmax(total)), int(np.argmin(total))))
    return chosen


def at_once(table, encoder):
    """The same by this package."""
    with tempfile.TemporaryDirectory() as folder:
        add_similarities(table, encoder, Path(folder), SimilarityOptions())
    return [choose(sum_rewards(row.evidence, WEIGHTS, RewardOptions())[0]) for row in table]


def main():
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--collection", default="demo")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--words", type=int, default=110)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    table = make_table(options.collection, options.queries, options.candidates, options.words)
    texts = sum(2 + len(row.texts) for row in table)
    print(f"{options.queries} queries, {texts} texts; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    exact, auto = (
        load_encoder(options.encoder, options=EncodeOptions(devices=[options.device], precision=precision))
        for precision in ("float32", "auto")
    )
    for encoder in (exact, auto):
        encoder.encode_documents(["warm up"] * 4)
    contestants = {
        "one query at a time, float32": partial(per_query, table, exact),
        "all at once, float32": partial(at_once, table, exact),
        f"all at once, {str(auto.precision).removeprefix('torch.')} (auto)": partial(at_once, table, auto),
    }
    wall, cpu, chosen = take_turns(contestants, options.repeats)
    base = next(iter(contestants))
    for name in contestants:
        same = sum(left == right for left, right in zip(chosen[base], chosen[name], strict=True))
        print(
            f"{name:<32} {wall[name]:8.1f} s wall {cpu[name]:8.1f} s CPU: {wall[base] / wall[name]:.2f} x wall, "
            f"{cpu[base] / cpu[name]:.2f} x CPU; the same chosen and rejected in {same} of {len(table)}"
        )


if __name__ == "__main__":
    main()
