"""`expandr train retriever` on random encoders: results that load, kills, two processes, LoRA, T5, faults."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tiny_encoders import sentence_transformers_folder, tiny_anchordr, tiny_bert, tiny_t5

import expandr_ir
from expandr_ir.config import TRAINING, EncodeOptions, regressions_dir
from expandr_ir.encoders import load_encoder
from expandr_ir.io.manifest import read_manifest
from expandr_ir.jvm import import_pyserini
from expandr_ir.train.run_folder import mark_complete

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WORDS = ["zinc", "flea", "aspirin", "deque", "bird", "vitamin", "egg", "log", "heart", "cold", "song", "evidence"]
TEXTS = ["what of zinc", "nothing on eggs"]


def write_rows(folder: Path, count: int = 24) -> list[str]:
    """Rows and expansions; the options that name them."""
    rows, expansions = [], []
    for at in range(count):
        word, other = WORDS[at % 12], WORDS[(at * 5 + 3) % 12]
        query = f"what of {word} and {other} {at}"
        negatives = [f"no {other} {at}", f"nothing on {WORDS[(at + 7) % 12]}"]
        rows.append({"row_id": f"r{at}", "query": query, "positive": f"{word} {at}", "negative": negatives})
        expansions.append({"topic_id": f"r{at}", "query": query, "texts": [f"{word} does {at}", f"{other} is {at}"]})
    for name, lines in (("rows", rows), ("expansions", expansions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ["--data.rows", "rows.jsonl", "--data.expansions", "expansions.jsonl"]


def encoder(folder: Path, *, dropout: float = 0.0, normalize: bool = True) -> Path:
    """A random encoder as sentence-transformers saves it."""
    network = tiny_bert(folder / "network")
    config = json.loads((network / "config.json").read_text())
    dropouts = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    (network / "config.json").write_text(json.dumps(config | dropouts))
    return sentence_transformers_folder(folder / "encoder", network, pooling="mean", normalize=normalize)


FEW = ["--training.per_device_train_batch_size", "8", "--training.num_train_epochs", "2", "--training.bf16", "false"]
FEW += ["--training.learning_rate", "1e-3"]


@pytest.fixture(autouse=True)
def quiet_transformers():
    """Its log handler keeps the stderr of the test that first used it, which is closed by the next one."""
    from transformers.utils import logging

    logging.disable_default_handler()
    yield
    logging.enable_default_handler()


@pytest.fixture
def base(workplace):
    """What a command needs besides its output."""
    encoder(workplace)
    return ["train", "retriever", "--encoder", "encoder", *write_rows(workplace), *FEW]


def read_log(name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(f"{name}.training", "log.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.java
def test_the_result_is_an_encoder_for_everyone(base, workplace, expandr):
    done = expandr(*base, "--dev.share", "0.3", "--training.eval_steps", "2", "--output", "out")
    output = workplace / "out"
    assert done.out.splitlines()[-1] == "out"
    ours, before = load_encoder("out"), load_encoder("encoder")
    vectors = ours.encode_queries(TEXTS)
    np.testing.assert_allclose(vectors, SentenceTransformer("out").encode(TEXTS), atol=2e-2)
    assert np.abs(vectors - before.encode_queries(TEXTS)).max() > 0.01
    theirs = import_pyserini("pyserini.encode").AutoQueryEncoder("out", device="cpu", pooling="mean", l2_norm=True)
    exact = load_encoder("out", options=EncodeOptions(precision="float32"))
    np.testing.assert_allclose(exact.encode_queries(TEXTS[:1])[0], theirs.encode(TEXTS[0]), atol=1e-5)
    assert (ours.config.normalize, ours.config.similarity, ours.config.max_length) == (True, "cosine", 48)
    manifest = read_manifest(output)
    counts = manifest.counts
    assert counts["rows"] + counts["dev_queries"] == 24
    assert counts["expansions"] == 2 * counts["rows"]
    assert set(manifest.details["scores"]) == {"alone_nDCG@10", "alone_R@100", "expanded_nDCG@10", "expanded_R@100"}
    best = workplace / "out.training" / "checkpoints" / manifest.details["best"]
    checkpoint = load_file(best / "weights.safetensors")
    assert all(torch.equal(tensor, checkpoint[f"0.model.{name}"]) for name, tensor in weights(output).items())
    log = read_log("out")
    values = {line["step"]: line["eval_expanded_nDCG@10"] for line in log if "eval_expanded_nDCG@10" in line}
    assert max(values.values()) == manifest.details["scores"]["expanded_nDCG@10"]
    card = (output / "README.md").read_text()
    assert "library_name: sentence-transformers" in card
    assert f"{counts['rows']}" in card
    again = expandr(*base, "--dev.share", "0.3", "--training.eval_steps", "2", "--output", "out")
    assert "is there already" in again.err
    refused = expandr(*base, "--output", "out", code=2)
    assert "not of these options" in refused.err


def test_a_killed_training_goes_on_as_if_nothing_had_happened(workplace, start, expandr):
    encoder(workplace, dropout=0.1)
    base = ["train", "retriever", "--encoder", "encoder", *write_rows(workplace), *FEW, "--data.draw-expansion"]
    base += ["--dev.share", "0.2", "--training.eval_steps", "1"]
    killed = start(*base, "--output", "killed")
    checkpoints = workplace / "killed.training" / "checkpoints"
    while not (checkpoints / "checkpoint-4" / "complete.json").exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (workplace / "killed").exists()
    expandr(*base, "--output", "killed")
    expandr(*base, "--output", "whole")
    dev = [[line.get("eval_expanded_nDCG@10") for line in read_log(name)] for name in ("whole", "killed")]
    assert dev[0][:-1] == dev[1][:-1]
    first, second = weights(workplace / "whole"), weights(workplace / "killed")
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], atol=1e-5, rtol=1e-4)


def test_two_cached_processes_are_one_with_the_joint_batch(workplace, expandr):
    encoder(workplace)
    base = ["train", "retriever", "--encoder", "encoder", *write_rows(workplace), "--training.bf16", "false"]
    base += ["--training.optim", "sgd", "--training.learning_rate", "0.05", "--training.max_steps", "3"]
    base += ["--training.logging_steps", "1", "--training.max_grad_norm", "0", "--batch-tokens", "64"]
    base += ["--training.use_cpu", "true"]
    expandr(*base, "--training.per_device_train_batch_size", "12", "--output", "one")
    two = [*base, "--cached", "--training.per_device_train_batch_size", "6", "--output", "two"]
    package = str(Path(expandr_ir.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "expandr_ir", *map(str, two)],
        env={**os.environ, "PYTHONPATH": package, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    losses = [[line["loss"] for line in read_log(name) if "loss" in line] for name in ("one", "two")]
    assert len(losses[0]) == 3
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    first, second, before = (weights(workplace / name) for name in ("one", "two", "encoder"))
    moved = sum((first[name] - before[name]).norm() for name in first)
    apart = sum((first[name] - second[name]).norm() for name in first)
    assert moved > 0.01
    assert apart < 1e-3 * moved


def test_lora_is_merged_into_the_result(base, workplace, expandr):
    expandr(*base, "--lora", '{"r": 4, "target_modules": ["query", "value"], "lora_alpha": 64}', "--output", "out")
    before, after = weights(workplace / "encoder"), weights(workplace / "out")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith(("self.query.weight", "self.value.weight"))}
    load_encoder("out")


@pytest.mark.parametrize("network", [tiny_anchordr, tiny_t5])
def test_a_t5_read_at_its_first_decoder_token(workplace, expandr, network):
    network(workplace / "t5")
    (workplace / "t5.yaml").write_text("model: t5\npooling: first-decoder-token\nmax_length: 48\n")
    options = ["train", "retriever", "--config", "retriever-expandr", "--encoder", "t5.yaml", "--max-length", "48"]
    options += ["--query-max-length", "24", *write_rows(workplace), *FEW, "--dev.share", "0.2"]
    options += ["--training.gradient_accumulation_steps", "1", "--training.eval_steps", "3"]
    expandr(*options, "--output", "out")
    after, before = load_encoder("out"), load_encoder("t5.yaml")
    assert after.config.normalize
    unit = before.encode_queries(TEXTS)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    assert np.abs(after.encode_queries(TEXTS) - unit).max() > 1e-3
    checkpointed = [*options, "--training.gradient_checkpointing", "true", "--output", "other"]
    if network is tiny_anchordr:
        assert "--cached" in expandr(*checkpointed, code=2).err
    else:
        expandr(*checkpointed, "--cached", "--training.max_steps", "1")


def test_early_stopping(base, workplace, expandr):
    options = ["--dev.share", "0.3", "--dev.patience", "2", "--training.learning_rate", "0"]
    options += ["--training.eval_steps", "1"]
    expandr(*base, *options, "--training.num_train_epochs", "9", "--output", "out")
    assert read_manifest(workplace / "out").counts["steps"] == 3  # one that is best, two that are no better


def test_a_loss_that_is_no_number(base, workplace, expandr):
    nan = expandr(*base, "--training.learning_rate", "1e30", "--training.max_grad_norm", "0", "--output", "out", code=6)
    assert "the loss is nan" in nan.err
    assert "rows of the batch: r" in nan.err
    assert not (workplace / "out").exists()
    expandr(*base, "--training.max_steps", "1", "--output", "out")  # what never came to a checkpoint is begun anew


def test_a_checkpoint_of_another_architecture(base, workplace, expandr):
    options = [*base, "--training.save_steps", "2"]
    expandr(*options, "--output", "out")
    checkpoints = workplace / "out.training" / "checkpoints"
    for checkpoint in checkpoints.glob("checkpoint-*"):
        save_file({"some.weight": torch.zeros(3)}, checkpoint / "weights.safetensors")
        mark_complete(checkpoint)
    shutil.rmtree(workplace / "out")
    refused = expandr(*options, "--output", "out", code=2)
    assert "a checkpoint of this model" in refused.err
    other = expandr(*options, "--objective.temperature", "0.1", "--output", "out", code=2)
    assert "other settings: objective" in other.err


def test_a_changed_temperature_leaves_the_recorded_trajectory(tmp_path, expandr):
    text = (regressions_dir() / TRAINING / "retriever-tiny.yaml").read_text()
    (tmp_path / "changed.yaml").write_text(text.replace("temperature=0.05", "temperature=0.055"))
    line = ["train", "trajectory", str(tmp_path / "changed.yaml"), "--way", "8", "--output", str(tmp_path / "runs")]
    assert "left their reference" in expandr(*line, code=1).err
