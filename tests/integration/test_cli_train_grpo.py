"""`expandr train grpo` through the command line: a model of 0.3 M parameters, BM25 and a tiny encoder as rewards."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny_encoders
import tiny_models
from alignment_fixtures import WORDS

from expandr_ir.cli import main
from expandr_ir.io.files import write_jsonl
from expandr_ir.io.manifest import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.java]

ROWS = 24


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, an encoder, and a collection whose topics ask for documents that share words with others."""
    folder, draw = tmp_path_factory.mktemp("grpo"), random.Random(0)
    tiny_models.tiny_llama(folder / "base")
    tiny_encoders.tiny_bert(folder / "bert")
    tiny_encoders.sentence_transformers_folder(folder / "encoder", folder / "bert", pooling="mean", normalize=True)
    topics = {f"t{n}": f"{' '.join(draw.sample(WORDS, 2))} {n}" for n in range(ROWS)}
    documents = {f"d{n}": f"{' '.join(draw.sample(WORDS, 5))} {n}" for n in range(ROWS)}
    (folder / "collection" / "qrels").mkdir(parents=True)
    write_jsonl(folder / "collection" / "corpus.jsonl", [{"_id": i, "text": text} for i, text in documents.items()])
    write_jsonl(folder / "collection" / "queries.jsonl", [{"_id": i, "text": text} for i, text in topics.items()])
    judged = "".join(f"t{n}\td{n}\t1\n" for n in range(ROWS))
    (folder / "collection" / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def command(place, output, *more):
    """A short run in float32: three steps of two groups of four texts."""
    collection = str(place / "collection")
    return [
        *("train", "grpo", "--model", str(place / "base"), "--rows", collection, "--output", str(output)),
        *("--corpus.collection", collection, "--corpus.repeats", "1", "--corpus.smoothing", "0.1", "--prompt", "topic"),
        *("--rewards", '{"search": 1, "retriever": 0.1}', "--encoder", str(place / "encoder"), "--dev-share", "0.2"),
        *("--grpo.num_generations", "4", "--grpo.per_device_train_batch_size", "4", "--grpo.max_steps", "3"),
        *("--grpo.gradient_accumulation_steps", "2", "--grpo.max_completion_length", "12", "--grpo.beta", "0.04"),
        *("--grpo.save_steps", "1", "--grpo.save_total_limit", "9", "--grpo.logging_steps", "1"),
        *("--grpo.learning_rate", "1e-3", "--grpo.bf16", "false", "--grpo.use_cpu", "true"),
        *("--grpo.gradient_checkpointing", "false", "--lora.r", "4", *more),
    ]


@pytest.fixture(scope="module")
def trained(place):
    """The folder of a run, and its exit code."""
    return place / "trained", main(command(place, place / "trained"))


def curves(folder):
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


def gates(folder):
    return [point["eval_gate"] for point in curves(folder) if "eval_gate" in point]


def training(folder):
    points = [point for point in curves(folder) if "grad_norm" in point]
    return [[point[name] for name in ("step", "loss", "grad_norm", "reward", "kl")] for point in points]


def test_rewards_gate_card_and_counts(trained):
    folder, code = trained
    start, *others = gates(folder)
    assert [point["eval_reward"] for point in curves(folder) if "eval_reward" in point] == [start, *others]
    assert len(others) == 3
    assert code == (0 if max(others) > start else 1)
    steps = [point for point in curves(folder) if "grad_norm" in point]
    for point in steps:
        total = point["rewards/search"] + 0.1 * point["rewards/retriever"]
        assert point["reward"] == pytest.approx(total, abs=1e-6)
        assert 0 < point["reward_share"] < 1
    manifest = read_manifest(folder / "adapter_model.safetensors")
    assert manifest.counts["rows"] + manifest.counts["dev_rows"] == ROWS
    constant = sum(round(2 * point["frac_reward_zero_std"]) for point in steps)
    assert manifest.counts["groups"] == 6
    assert manifest.counts["constant_groups"] == constant
    assert 0 < manifest.seconds["rewards"] < manifest.seconds["train"]
    assert manifest.details["prompt"]["id"] == "topic"
    card = (folder / "README.md").read_text()
    assert "(GRPO)" in card
    assert "| step | loss | reward |" in card
    assert "--prompt topic" in card


def test_the_same_command_again_does_nothing_and_another_reward_is_refused(place, trained, capsys, caplog):
    folder, code = trained
    assert main(command(place, folder)) == code
    assert "complete before" in caplog.text
    assert main(command(place, folder, "--corpus.smoothing", "0.2")) == 2
    assert "holds a run with other settings: rewards" in capsys.readouterr().err


def test_killed_and_taken_up_again_it_is_the_same_run(place, trained, caplog):
    from safetensors.torch import load_file

    killed = place / "killed"
    process = subprocess.Popen([sys.executable, "-m", "expandr_ir", *command(place, killed)])
    while not (killed / "checkpoint-1" / "complete.json").is_file():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for newer in killed.glob("checkpoint-[23]"):
        shutil.rmtree(newer)
    assert main(command(place, killed)) == trained[1]
    assert "going on from" in caplog.text
    for one, other in zip(training(killed), training(trained[0]), strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-7)
    gates = [
        [point["eval_gate"] for point in curves(folder) if "eval_gate" in point] for folder in (killed, trained[0])
    ]
    assert gates[0][-3:] == pytest.approx(gates[1][-3:], abs=1e-6)
    one, other = (load_file(folder / "adapter_model.safetensors") for folder in (trained[0], killed))
    assert all((one[name] - other[name]).abs().max() < 1e-6 for name in one)


def test_a_model_that_gets_no_better_is_told(place, tmp_path, caplog):
    """Evaluations draw the same random numbers: without a learning rate they have the same rewards."""
    assert main(command(place, tmp_path / "run", "--grpo.learning_rate", "0", "--grpo.max_steps", "2")) == 1
    assert "by the gate no checkpoint is better" in caplog.text
    assert len(set(gates(tmp_path / "run"))) == 1


def test_held_out_topics_are_tried_too(place, tmp_path):
    heldout = ["--heldout.rows", str(place / "collection"), "--heldout.split", "train", "--heldout.topics", "4"]
    heldout += ["--heldout.encoder", str(place / "encoder"), "--heldout.decoding.max_new_tokens", "6"]
    main(command(place, tmp_path / "run", *heldout, "--grpo.max_steps", "1"))
    rewards = [point["eval_heldout_reward"] for point in curves(tmp_path / "run") if "eval_gate" in point]
    assert gates(tmp_path / "run") == rewards
    assert len(rewards) == 2


def test_answers_are_written_once_for_the_reward_that_reads_them(place, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "store.sqlite"))
    more = ["--rewards", '{"self": 1}', "--encoder", str(place / "encoder"), "--grpo.max_steps", "1"]
    generator = {"engine": "replay", "model": str(tmp_path / "answers.jsonl")}
    (tmp_path / "answerer.yaml").write_text(json.dumps(generator))
    write_jsonl(tmp_path / "answers.jsonl", [{"topic_id": f"t{n}", "texts": ["flea"]} for n in range(1, ROWS)])
    main(command(place, tmp_path / "run", *more, "--answer-generator", str(tmp_path / "answerer.yaml")))
    assert "1 rows are left out: the LLM has no answer" in caplog.text
    manifest = read_manifest(tmp_path / "run" / "adapter_model.safetensors")
    assert manifest.counts["rows"] + manifest.counts["dev_rows"] == ROWS - 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--corpus.collection", "demo", "--corpus.split", "test"], "has no relevant document in demo, split test"),
        (["--corpus.aggregation", "repaet"], "Try: repeat"),
        (["--rewards", '{"serach": 1}'], "Try: search"),
        (["--grpo.gradient_accumulation_steps", "99"], "rows, and texts for 99 rows at a time"),
        (["--grpo.steps_per_generation", "4"], "checkpoints every 1 steps, and texts for 2 steps"),
        (["--grpo.num_workers", "1"], "unknown option"),
    ],
)
def test_what_does_not_fit_ends_before_the_model_is_loaded(place, tmp_path, capsys, more, message):
    assert main(command(place, tmp_path / "run", *more)) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("run/checkpoint-*"))


def test_a_dry_run_counts_groups_and_texts(place, tmp_path, capsys):
    line = command(place, tmp_path / "run", "--dry-run", "--dev-share", "0", "--grpo.max_steps", "-1")
    assert main([*line, "--grpo.num_train_epochs", "2"]) == 0
    said = {" ".join(line.split()[:-1]): line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert (said["rows"], said["rows a step"], said["steps"]) == (str(ROWS), "2", str(ROWS))
    assert not (tmp_path / "run").exists()


def test_two_processes_share_the_groups(place, tmp_path):
    output = tmp_path / "two"
    line = command(place, output, "--grpo.gradient_accumulation_steps", "1", "--grpo.max_steps", "2")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "expandr_ir"]
    done = subprocess.run([*launch, *line], capture_output=True, text=True, check=False)
    manifest = read_manifest(output / "adapter_model.safetensors")
    assert manifest is not None, done.stderr[-3000:]
    assert (manifest.details["processes"], manifest.counts["groups"]) == (2, 4)
    assert len(gates(output)) == 3
