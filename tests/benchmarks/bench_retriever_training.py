"""Training of a retriever against a plain restatement of the reference loop: samples a second, peak memory.

    python tests/benchmarks/bench_retriever_training.py ROWS EXPANSIONS [--rows 16] [--steps 4] [--rounds 2]
    python tests/benchmarks/bench_retriever_training.py ROWS EXPANSIONS --memory [--plain 64] [--cached 1024]

Speed: all contestants take the same batches in turn, the best turn of each batch counts; on a busy machine the CPU's
seconds say more than the clock. The reference encodes
queries, expansions and passages separately, each padded to the longest of its kind, in float32, and keeps nothing. All
of them tokenise, take a step of AdamW, and have equal rows, lengths and dropout. Memory: the peak of a process of its
own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace

import torch
from torch.nn import functional
from turns import take_turns

from expandr_ir.encoders import encoder_config
from expandr_ir.encoders.assemble import assemble
from expandr_ir.encoders.batching import CPU_TOKENS
from expandr_ir.encoders.weights import model_folder
from expandr_ir.train.data.rows import read_rows
from expandr_ir.train.retriever.batch import Collator
from expandr_ir.train.retriever.data import RetrieverRow, retriever_rows
from expandr_ir.train.retriever.objective import RetrieverLoss, pool_in_float32
from expandr_ir.train.retriever.options import ObjectiveOptions, RowOptions


def numbered(rows: list[RetrieverRow], count: int) -> list[RetrieverRow]:
    """So many rows; those beyond the file's get a number before each text, so that no two texts are equal."""

    def numbered_row(number: int) -> RetrieverRow:
        source, prefix = rows[number % len(rows)], f"{number} " if number >= len(rows) else ""
        positives, negatives, expansions = (
            tuple(prefix + text for text in texts)
            for texts in (source.row.positives, source.row.negatives, source.expansions)
        )
        names = {"row_id": prefix + source.row.row_id, "query": prefix + source.row.query}
        return RetrieverRow(replace(source.row, positives=positives, negatives=negatives, **names), expansions)

    return [numbered_row(number) for number in range(count)]


def reference(model, config):
    """A step of the plain loop on a batch of rows."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def encode(texts, longest):
        tokens = model.tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        features = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        return model(features)["sentence_embedding"]

    def step(batch):
        queries = encode([row.row.query for row in batch], config.query_max_length)
        expansions = encode([row.expansions[0] for row in batch], config.max_length)
        passages = [text for row in batch for text in (row.row.positives[0], row.row.negatives[0])]
        scores = (queries + expansions) / 2 @ encode(passages, config.max_length).T / 0.02
        loss = functional.cross_entropy(scores, torch.arange(len(batch)) * 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def ours(model, config, options, precision, *, cached=False, batch_tokens=CPU_TOKENS):
    """A step of this package's loss on a batch of rows."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    objective = ObjectiveOptions(normalize=False, mask_duplicates=False)
    loss_module = RetrieverLoss(model, objective, cached=cached)
    pool_in_float32(model)

    def step(batch):
        collate = Collator(batch, model.tokenizer, config, objective, options, 0, batch_tokens)
        features = collate([{"row": at} for at in range(len(batch))])
        labels = features.pop("label")
        names = ("input_ids", "attention_mask")
        columns = [{name: features[f"text{at}_{name}"] for name in names} for at in range(len(features) // 2)]
        optimizer.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = loss_module(columns, labels)
            if cached:  # the texts are encoded again in the backward pass, under autocast as before
                loss.backward()
        if not cached:
            loss.backward()
        optimizer.step()

    return step


def speed(rows, fresh, options, arguments):
    rows = numbered(rows, (arguments.steps + 1) * arguments.rows)
    batches = [rows[start : start + arguments.rows] for start in range(0, len(rows), arguments.rows)]
    steps = {
        "reference, float32": reference(*fresh()),
        "expandr_ir, float32": ours(*fresh(), options, torch.float32),
        "expandr_ir, bfloat16": ours(*fresh(), options, torch.bfloat16),
    }
    for step in steps.values():
        step(batches[-1])
    wall, cpu = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 0.0)
    for batch in batches[:-1]:
        for total, best in zip((wall, cpu), take_turns(steps, arguments.rounds, batch), strict=False):
            total.update({name: total[name] + best[name] for name in steps})
    trained, base = arguments.steps * arguments.rows, "reference, float32"
    print(f"{arguments.steps} steps of {arguments.rows} rows (4 texts each), at most {arguments.max_length} tokens")
    for name in steps:
        print(f"{name:24}{trained / wall[name]:8.2f} rows/s{wall[base] / wall[name]:7.2f} x", end="")
        print(f"{cpu[name] / trained:8.2f} CPU s/row{cpu[base] / cpu[name]:7.2f} x")


def child(rows, fresh, options, arguments):
    """Prints the memory of one step, as JSON."""
    is_cached = arguments.child == "cached"
    count = arguments.cached if is_cached else arguments.plain
    step = ours(*fresh(), options, torch.float32, cached=is_cached)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.perf_counter()
    step(numbered(rows, count))
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"rows": count, "seconds": round(seconds, 1), "before_MiB": before, "peak_MiB": peak}))


def memory():
    peaks = {}
    for kind in ("plain", "cached"):
        command = [sys.executable, *sys.argv, "--child", kind]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        used = json.loads(done.stdout.splitlines()[-1])
        peaks[kind] = used["peak_MiB"]
        print(f"{kind:8} {used}")
    print(f"cached is {peaks['cached'] / peaks['plain']:.2f} x of plain (target: at most 1.3)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows_file")
    parser.add_argument("expansions")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--plain", type=int, default=64)
    parser.add_argument("--cached", type=int, default=1024)
    parser.add_argument("--child", choices=["plain", "cached"])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.memory and not arguments.child:
        return memory()
    options = RowOptions(arguments.rows_file, expansions=arguments.expansions, negatives=1)
    rows, _ = retriever_rows(read_rows(options.rows), options)
    config = replace(encoder_config(arguments.encoder), max_length=arguments.max_length, query_max_length=64)

    def fresh():
        model, complete = assemble(config, model_folder(config))
        return model.train(), complete

    if arguments.child:
        return child(rows, fresh, options, arguments)
    print(f"load {os.getloadavg()[0]:.2f}, {torch.get_num_threads()} threads")
    return speed(rows, fresh, options, arguments)


if __name__ == "__main__":
    main()
