"""`expandr train rounds` with the real verbs, from CACM's bare corpus: killed, taken up again, the same."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from tiny_encoders import tiny_bert
from tiny_models import tiny_llama

from expandr_ir.train.rounds.config import RoundsOptions
from expandr_ir.train.rounds.plan import plan
from expandr_ir.train.rounds.report import read_done

pytestmark = [pytest.mark.slow, pytest.mark.java, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("EXPANDR_TEST_ROUNDS", "1"))
"""Two take twice as long, and were the same byte for byte, too."""

KINDS = ("synthesize", "measure", "preferences", "dpo", "merge", "expand", "mine", "retriever")
"""In the order in which a run comes to them first."""

QUICK = ("synthesize", "merge", "expand", "mine")
"""Over in seconds, most of which their imports take."""


OPTIONS = """
prompt: topic
patience: 2
min_pairs: 2
synthesize: {without_llm: true, documents: 100, queries: 1, round_trip: null, dev_share: 0.2}
preferences: {queries: 24, temperatures: [1.0], samples: 4, rewards: {retriever: 1.0}, threshold: none}
dpo:
  dev_share: 0.2
  heldout: {topics: 8, samples: 1, decoding: {max_new_tokens: 12}}
  dpo: {learning_rate: 1.0e-3, max_steps: 4, per_device_train_batch_size: 4, max_length: 64, eval_strategy: steps,
        eval_steps: 2, save_steps: 2, logging_steps: 1, gradient_checkpointing: false}
  lora: {r: 4, target_modules: all-linear}
mine: {hits: 10, negatives: 2}
retriever:
  max_length: 48
  query_max_length: 32
  data: {negatives: 1}
  dev: {share: 0.2}
  training: {learning_rate: 1.0e-4, max_steps: 4, per_device_train_batch_size: 4, eval_steps: 2, save_steps: 2,
             logging_steps: 1}
"""


def configuration(folder, corpus):
    encoder = {"model": str(tiny_bert(folder / "encoder")), "pooling": "mean", "normalize": True}
    generator = {"engine": "local", "model": str(tiny_llama(folder / "llm")), "local": {"dtype": "float32"}}
    generator["decoding"] = {"temperature": 1.0, "max_new_tokens": 12}
    for name, block in (("encoder", encoder), ("generator", generator)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(block))
    models = {name: str(folder / f"{name}.yaml") for name in ("encoder", "generator")}
    path = folder / "rounds.yaml"
    path.write_text(OPTIONS + yaml.safe_dump({"corpus": str(corpus), "rounds": ROUNDS, **models}))
    return path


def start(config, output):
    argv = ["-m", "expandr_ir", "train", "rounds", "--config", str(config), "--output", str(output)]
    environment = os.environ | {"EXPANDR_STORE": str(output.parent / f"{output.name}.sqlite"), "OMP_NUM_THREADS": "1"}
    log = (output.parent / f"{output.name}.log").open("a")
    return subprocess.Popen([sys.executable, *argv], stdout=log, stderr=subprocess.STDOUT, env=environment)


def children(process):
    """The process ids of the steps that a process runs."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def running_kind(config, output):
    """The kind of the step that has begun and is not done; None between two steps."""
    steps = plan(RoundsOptions(**yaml.safe_load(config.read_text()), output=str(output)))
    begun = (step for step in steps if any((output / step.name).glob("*.yaml")))
    return next((step.kind for step in begun if read_done(step) is None), None)


def test_killed_in_every_kind_of_step_it_gives_the_same(tmp_path, test_data):
    config = configuration(tmp_path, test_data / "classic" / "cacm" / "corpus.jsonl.gz")
    output = tmp_path / "killed"
    for kind in KINDS:
        process = start(config, output)
        while running_kind(config, output) != kind and process.poll() is None:
            time.sleep(0.1)
        assert process.poll() is None
        time.sleep(0.2 if kind in QUICK else 2)  # into the middle of it
        assert kind in QUICK or running_kind(config, output) == kind, "it was too quick to be killed"
        running = children(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while any(map(is_alive, running)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(map(is_alive, running))
    assert start(config, output).wait() == 0
    whole = tmp_path / "whole"
    assert start(config, whole).wait() == 0

    data = {folder: json.loads((folder / "rounds.json").read_text()) for folder in (output, whole)}
    assert [one["round"] for one in data[whole]["rounds"]] == list(range(ROUNDS + 1))
    for ours, theirs in zip(data[output]["rounds"], data[whole]["rounds"], strict=True):
        assert ours["steps"]["measure"]["dev"] == pytest.approx(theirs["steps"]["measure"]["dev"], abs=1e-6)
        for name in ("preferences", "dpo"):
            mine, other = ours["steps"].get(name), theirs["steps"].get(name)
            assert mine == other or without_seconds(mine) == pytest.approx(without_seconds(other), abs=1e-4)
    for number in range(1, ROUNDS + 1):
        for name in (
            "01-preferences/preferences/preferences.jsonl",
            f"03-merge/expander-{number}/model.safetensors",
            f"06-retriever/retriever-{number}/model.safetensors",
        ):
            assert (output / f"round-{number}" / name).read_bytes() == (whole / f"round-{number}" / name).read_bytes()
    refused = subprocess.run(
        [sys.executable, "-m", "expandr_ir", "train", "rounds", "--config", str(config), "--output", str(output),
         "--samples", "2"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "samples: 1, now 2" in refused.stderr


def without_seconds(figures):
    flat = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": number for inner, number in value.items()}
        elif name != "seconds":
            flat[name] = value
    return flat
