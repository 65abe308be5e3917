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

from expandr_ir.io.manifest import manifest_path
from expandr_ir.train.rounds.config import RoundsOptions
from expandr_ir.train.rounds.plan import plan
from expandr_ir.train.rounds.report import read_done

pytestmark = [pytest.mark.slow, pytest.mark.java, pytest.mark.timeout(3600)]

KINDS = ("measure", "preferences", "dpo", "retriever")
"""Steps that take long enough to be killed in their middle, as a run comes to them; unit tests kill every command."""

OPTIONS = """
prompt: topic
rounds: 1
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


@pytest.fixture
def config(tmp_path, test_data):
    """The options' file."""
    encoder = {"model": str(tiny_bert(tmp_path / "encoder")), "pooling": "mean", "normalize": True}
    generator = {"engine": "local", "model": str(tiny_llama(tmp_path / "llm")), "local": {"dtype": "float32"}}
    generator["decoding"] = {"temperature": 1.0, "max_new_tokens": 12}
    fixed = {"corpus": str(test_data / "classic" / "cacm" / "corpus.jsonl.gz")}
    for name, block in (("encoder", encoder), ("generator", generator)):
        fixed[name] = str(tmp_path / f"{name}.yaml")
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(block))
    path = tmp_path / "rounds.yaml"
    path.write_text(OPTIONS + yaml.safe_dump(fixed))
    return path


def start(config, output):
    argv = ["-m", "expandr_ir", "train", "rounds", "--config", str(config), "--output", str(output)]
    environment = os.environ | {"EXPANDR_STORE": str(output.parent / f"{output.name}.sqlite"), "OMP_NUM_THREADS": "1"}
    log = (output.parent / f"{output.name}.log").open("a")
    return subprocess.Popen([sys.executable, *argv], stdout=log, stderr=subprocess.STDOUT, env=environment)


def steps_of_parent(process):
    """The process ids of the steps that a process runs."""
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, check=False)
    return [int(line) for line in listing.stdout.split()]


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


def test_killed_in_every_long_step_it_gives_the_same(tmp_path, config):
    output, whole = tmp_path / "killed", tmp_path / "whole"
    for kind in KINDS:
        process = start(config, output)
        while running_kind(config, output) != kind and process.poll() is None:
            time.sleep(0.1)
        time.sleep(2)  # into the middle of it
        assert running_kind(config, output) == kind, "it was too quick to be killed"
        running = steps_of_parent(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while any(map(is_alive, running)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(map(is_alive, running))
    assert start(config, output).wait() == 0
    assert start(config, whole).wait() == 0

    ours, theirs = (json.loads((folder / "rounds.json").read_text())["rounds"] for folder in (output, whole))
    assert [row["round"] for row in theirs] == [0, 1]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["steps"]["measure"]["dev"] == pytest.approx(other["steps"]["measure"]["dev"], abs=1e-6)
    for name in ("preferences", "dpo"):
        mine, other = (flat(rounds[1]["steps"][name]) for rounds in (ours, theirs))
        assert mine == pytest.approx(other, abs=1e-4)
    encoder = output / "round-1/06-retriever/retriever-1"
    for name in (
        "01-preferences/preferences/preferences.jsonl",
        "03-merge/expander-1/model.safetensors",
        "06-retriever/retriever-1/model.safetensors",
    ):
        assert (output / "round-1" / name).read_bytes() == (whole / "round-1" / name).read_bytes()

    # As a kill between the retriever and its manifest leaves it.
    manifest_path(encoder).unlink()
    trained = (encoder / "model.safetensors").stat().st_mtime_ns
    assert start(config, output).wait() == 0
    assert manifest_path(encoder).is_file()
    assert (encoder / "model.safetensors").stat().st_mtime_ns == trained
    assert "is there already, by these options and rows" in (tmp_path / "killed.log").read_text()


def flat(figures):
    """The figures by dotted names, without the seconds."""
    values = {name: value for name, value in figures.items() if not isinstance(value, dict) and name != "seconds"}
    inner = {name: value for name, value in figures.items() if isinstance(value, dict)}
    return values | {f"{name}.{key}": value for name, group in inner.items() for key, value in group.items()}
