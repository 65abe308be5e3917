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
import time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

from expandr_ir.collections import load_collection
from expandr_ir.config import EncodeOptions
from expandr_ir.encoders import load_encoder
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.rewards import RewardOptions, choose, sum_rewards
from expandr_ir.train.align.scoring import SimilarityOptions, add_similarities
from expandr_ir.train.data.rows import TrainingRow

WEIGHTS = {"retriever": 1.0, "self": 1.0}


def texts_of(spec, queries, candidates, words):
    """Queries with a positive, an answer and candidates, drawn from the collection's documents."""
    draw = random.Random(1)
    documents = [f"{document.title} {document.text}".split() for document in load_collection(spec).documents()]

    def text(most):
        own = draw.choice(documents)
        start = draw.randrange(max(1, len(own) - most))
        length = max(8, round(draw.gauss(most, most / 4)))
        return " ".join(own[start : start + length])

    def row(number):
        query, positive, answer = text(12), text(200), text(40)
        texts = list(dict.fromkeys(text(words) for _ in range(candidates)))
        return Candidates(TrainingRow(str(number), query, (positive,), ()), texts, answer=answer)

    return [row(number) for number in range(queries)]


def per_query(compared, encoder):
    """The rewards by a loop over queries, as the released code computes them."""
    import torch

    def encode(texts):
        tokens = encoder.model.tokenizer(
            list(texts), padding=True, truncation=True, max_length=encoder.config.max_length, return_tensors="pt"
        )
        with torch.no_grad():
            features = encoder.model(dict(tokens))
        return torch.nn.functional.normalize(features["sentence_embedding"], dim=-1).numpy()

    chosen = []
    for one in compared:
        positive, answer, own = encode(one.row.positives), encode([one.answer]), encode(one.texts)
        total = np.zeros(len(own))
        for target in (positive[0], answer[0]):
            order = np.argsort(-(own @ target), kind="stable")
            rank = np.empty(len(own))
            rank[order] = np.arange(1, len(own) + 1)
            total += 1 / rank
        chosen.append((int(np.argmax(total)), int(np.argmin(total))))
    return chosen


def at_once(compared, encoder):
    """The rewards by this package."""
    with tempfile.TemporaryDirectory() as folder:
        add_similarities(compared, encoder, Path(folder), SimilarityOptions())
    return [choose(sum_rewards(one.evidence, WEIGHTS, RewardOptions())[0]) for one in compared]


def timed(function, compared, encoder):
    started, cpu = time.perf_counter(), time.process_time()
    chosen = function(compared, encoder)
    return chosen, time.perf_counter() - started, time.process_time() - cpu


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
    compared = texts_of(options.collection, options.queries, options.candidates, options.words)
    texts = sum(2 + len(one.texts) for one in compared)
    print(f"{options.queries} queries, {texts} texts; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    encoders = {
        name: load_encoder(options.encoder, options=EncodeOptions(devices=[options.device], precision=precision))
        for name, precision in (("float32", "float32"), ("auto", "auto"))
    }
    for encoder in encoders.values():
        encoder.encode_documents(["warm up"] * 4)
    for _ in range(options.repeats):
        base, base_s, base_cpu = timed(per_query, compared, encoders["float32"])
        print(f"one query at a time, float32 {base_s:8.1f} s wall {base_cpu:8.1f} s CPU")
        for name, encoder in encoders.items():
            found, seconds, cpu = timed(at_once, compared, encoder)
            same = sum(left == right for left, right in zip(base, found, strict=True))
            precision = str(encoder.precision).removeprefix("torch.")
            print(
                f"all at once, {name} ({precision}) {seconds:8.1f} s wall {cpu:8.1f} s CPU: "
                f"{base_s / seconds:.2f} x wall, {base_cpu / cpu:.2f} x CPU; "
                f"the same chosen and rejected in {same} of {len(base)}"
            )


if __name__ == "__main__":
    main()
