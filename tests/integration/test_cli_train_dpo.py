"""`expandr train dpo`, `sft` and `merge` through the command line, on a model of 0.3 M parameters."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny_encoders
import tiny_models
from alignment_fixtures import options, write_preferences, write_rows

from expandr_ir.cli import main
from expandr_ir.config import GeneratorConfig, LocalOptions
from expandr_ir.generators import load_generator
from expandr_ir.io.manifest import read_manifest
from expandr_ir.records import Decoding, GenerationRequest, Message, SampleKey, Topic

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpo")
    tiny_models.tiny_llama(folder / "base")
    tiny_encoders.tiny_bert(folder / "bert")
    tiny_encoders.sentence_transformers_folder(folder / "encoder", folder / "bert", pooling="mean", normalize=True)
    write_preferences(folder / "preferences.jsonl")
    write_rows(folder / "rows.jsonl")
    return folder


def command(place, output, *more):
    return options(place / "base", place / "preferences.jsonl", output, *more)


@pytest.fixture(scope="module")
def heldout(place):
    return [
        *("--dev-share", "0.2", "--heldout.rows", str(place / "rows.jsonl"), "--heldout.topics", "4"),
        *("--heldout.encoder", str(place / "encoder"), "--heldout.decoding.max_new_tokens", "6"),
    ]


@pytest.fixture(scope="module")
def trained(place, heldout):
    assert main(command(place, place / "trained", *heldout)) == 0
    return place / "trained"


@pytest.fixture(scope="module")
def whole(place):
    """Six steps on all rows, a checkpoint after each."""
    assert main(command(place, place / "whole", *SIX)) == 0
    return place / "whole"


SIX = ("--dev-share", "0", "--dpo.max_steps", "6", "--dpo.save_steps", "1", "--dpo.save_total_limit", "9")


def curves(folder):
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


def training(folder):
    return [(point["step"], point["loss"], point["grad_norm"]) for point in curves(folder) if "grad_norm" in point]


def greedy(config, count=6):
    generator = load_generator(config)
    requests = [
        GenerationRequest(
            Topic(str(n), "t"), (Message("user", f"Query: fleas {n}"),), (SampleKey(0, str(n), n),), GREEDY
        )
        for n in range(count)
    ]
    return {generation.key: generation.text for generation in generator.generate(requests)}


GREEDY = Decoding(temperature=0.0, max_new_tokens=24)


def test_the_checkpoint_with_the_highest_gate_is_kept(trained):
    from safetensors.torch import load_file

    points = {point["step"]: point for point in curves(trained) if "eval_gate" in point}
    assert list(points) == [0, 2, 4]
    for point in points.values():
        assert {f"eval_heldout_{name}" for name in ("reward", "mrr", "mrr_topic", "empty")} <= point.keys()
    margins = [point["eval_rewards/margins"] for point in curves(trained) if "eval_rewards/margins" in point]
    assert margins[0] == 0
    assert margins[-1] > 0
    best = max((2, 4), key=lambda step: points[step]["eval_gate"])
    kept = load_file(trained / "adapter_model.safetensors")
    checkpoint = load_file(trained / f"checkpoint-{best}" / "adapter_model.safetensors")
    assert all((kept[name] == checkpoint[name]).all() for name in checkpoint)
    manifest = read_manifest(trained / "adapter_model.safetensors")
    assert manifest.describes(trained / "adapter_model.safetensors")
    assert manifest.counts["rows"] + manifest.counts["dev_rows"] == 32
    assert (manifest.counts["steps"], manifest.counts["best_step"]) == (4, best)
    assert manifest.details["precision"] == "float32"
    card = (trained / "README.md").read_text()
    assert "held-out reward" in card
    assert '"learning_rate": 0.001' in card


def test_the_same_command_again_does_nothing_and_another_one_is_refused(place, heldout, trained, capsys, caplog):
    written = (trained / "adapter_model.safetensors").stat().st_mtime_ns
    assert main(command(place, trained, *heldout, "--dpo.report_to", "[]")) == 0
    assert "complete before" in caplog.text
    reward = read_manifest(trained / "adapter_model.safetensors").details["start"]["heldout_reward"]
    assert f"before {reward:.4f}, kept " in capsys.readouterr().out
    assert main(command(place, trained, *heldout, "--dpo.beta", "0.2")) == 2
    assert "holds a run with other settings: dpo" in capsys.readouterr().err
    assert (trained / "adapter_model.safetensors").stat().st_mtime_ns == written


def test_killed_and_taken_up_again_it_is_the_same_run(place, whole, caplog):
    from safetensors.torch import load_file

    killed = place / "killed"
    process = subprocess.Popen([sys.executable, "-m", "expandr_ir", *command(place, killed, *SIX)])
    while not (killed / "checkpoint-2" / "complete.json").is_file():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "adapter_model.safetensors").is_file()
    newest = max(killed.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    half = killed / f"checkpoint-{int(newest.name[11:]) + 1}"
    shutil.copytree(newest, half)
    (half / "complete.json").unlink()
    (half / "adapter_model.safetensors").write_bytes(b"half")
    assert main(command(place, killed, *SIX)) == 0
    assert f"{half} is passed over" in caplog.text
    for one, other in zip(training(killed), training(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-6)
    one, other = (load_file(folder / "adapter_model.safetensors") for folder in (whole, killed))
    assert all((one[name] - other[name]).abs().max() < 1e-7 for name in one)


@pytest.mark.parametrize("option", ["--dpo.precompute_ref_log_probs", "--dpo.gradient_checkpointing"])
def test_what_saves_memory_changes_nothing(place, whole, tmp_path, option):
    assert main(command(place, tmp_path / "saving", *SIX, option, "true")) == 0
    for one, other in zip(training(whole), training(tmp_path / "saving"), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_merged_and_uploaded_it_writes_what_base_and_adapter_write(place, trained, tmp_path, monkeypatch, capsys):
    import huggingface_hub

    calls = []

    class Address(str):
        repo_id = "me/mine"

    monkeypatch.setattr(
        huggingface_hub, "create_repo", lambda name, **how: calls.append((name, how)) or Address("https://hub/me/mine")
    )
    monkeypatch.setattr(huggingface_hub, "upload_folder", lambda **how: calls.append(how))
    merged = tmp_path / "merged"
    line = ["train", "merge", "--adapter", str(trained), "--output", str(merged), "--push-to-hub", "mine", "--private"]
    assert main(line) == 0
    assert calls[0] == ("mine", {"private": True, "exist_ok": True})
    assert (calls[1]["repo_id"], calls[1]["folder_path"]) == ("me/mine", str(merged))
    assert "https://hub/me/mine" in capsys.readouterr().out
    local = LocalOptions(dtype="float32")
    base = greedy(GeneratorConfig("local", str(place / "base"), local=local))
    adapted = greedy(GeneratorConfig("local", str(place / "base"), adapter=str(trained), local=local))
    assert greedy(GeneratorConfig("local", str(merged), local=local)) == adapted
    assert adapted != base
    assert {"README.md", "generation_config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"} <= {
        path.name for path in merged.iterdir()
    }
    assert "The adapter is merged" in (merged / "README.md").read_text()
    assert read_manifest(merged / "model.safetensors").details["training"]["counts"]["steps"] == 4


def test_a_base_that_was_moved_is_the_same_and_another_one_is_refused(place, trained, tmp_path, capsys):
    shutil.copytree(place / "base", tmp_path / "moved")
    tiny_models.tiny_llama(tmp_path / "other", seed=5)
    merge = ["train", "merge", "--adapter", str(trained)]
    assert main([*merge, "--base", str(tmp_path / "moved"), "--output", str(tmp_path / "a")]) == 0
    assert main([*merge, "--base", str(tmp_path / "other"), "--output", str(tmp_path / "b")]) == 2
    said = capsys.readouterr().err
    assert "was trained over" in said
    assert not (tmp_path / "b").exists()


def test_an_adapter_of_another_size_is_refused_without_a_record_too(place, trained, tmp_path, capsys):
    from expandr_ir.train.align.trajectory_inputs import new_network

    other = tmp_path / "other"
    tokenizer = tiny_models.tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(other)
    new_network(tokenizer, 64, 2, 64, seed=0).save_pretrained(other)
    shutil.copytree(trained, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors.manifest.json").unlink()
    line = ["train", "merge", "--adapter", str(tmp_path / "adapter"), "--base", str(other)]
    assert main([*line, "--output", str(tmp_path / "merged")]) == 2
    assert "does not fit" in capsys.readouterr().err


def test_a_whole_model_is_not_merged(place, tmp_path, capsys):
    assert main(["train", "merge", "--adapter", str(place / "base"), "--output", str(tmp_path / "m")]) == 2
    assert "there is nothing to merge" in capsys.readouterr().err


def test_an_adapter_is_no_start_of_a_training_until_it_is_merged(place, trained, tmp_path, capsys):
    assert main(options(trained, place / "preferences.jsonl", tmp_path / "run", "--dev-share", "0")) == 2
    assert f"expandr train merge --adapter {trained}" in capsys.readouterr().err
    assert main(["train", "merge", "--adapter", str(trained), "--output", str(tmp_path / "merged")]) == 0
    line = options(tmp_path / "merged", place / "preferences.jsonl", tmp_path / "run", "--dev-share", "0")
    assert main([*line, "--dpo.max_steps", "1"]) == 0


def test_two_processes_evaluate_and_keep_the_same_checkpoint(place, heldout, tmp_path):
    output = tmp_path / "two"
    line = command(place, output, *heldout, "--dpo.per_device_train_batch_size", "2")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", "expandr_ir", *line, "--dpo.precompute_ref_log_probs", "true"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_manifest(output / "adapter_model.safetensors").details["processes"] == 2
    assert [point["step"] for point in curves(output) if "eval_gate" in point] == [0, 2, 4]
    assert (output / "checkpoint-4" / "rng_state_1.pth").is_file()


def test_a_base_without_chat_template_is_refused_until_one_is_given_to_accelerate_too(place, tmp_path, capsys):
    shutil.copytree(place / "base", tmp_path / "bare")
    template = (tmp_path / "bare" / "chat_template.jinja").rename(tmp_path / "mine.jinja")
    line = options(tmp_path / "bare", place / "preferences.jsonl", tmp_path / "run", "--dev-share", "0")
    assert main(line) == 2
    assert "--chat-template FILE.jinja" in capsys.readouterr().err
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "-m", "expandr_ir"]
    line = [*launch, *line, "--chat-template", str(template), "--dpo.max_steps", "1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "chat_template.jinja").read_text() == template.read_text()


def test_prompts_that_fill_the_whole_length_are_refused_when_none_is_left(place, tmp_path, capsys):
    assert main(command(place, tmp_path / "run", "--dpo.max_length", "5")) == 2
    assert "fill the whole length" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_there_is_and_trains_nothing(place, tmp_path, capsys):
    line = command(place, tmp_path / "run", "--dry-run", "--dev-share", "0", "--dpo.max_steps", "-1")
    assert main([*line, "--dpo.num_train_epochs", "2"]) == 0
    said = capsys.readouterr().out.split("\n")
    assert any(line.split() == ["rows", "32"] for line in said)
    assert any(line.split() == ["steps", "16"] for line in said)  # 32 rows in steps of 4, twice
    assert not (tmp_path / "run").exists()


def test_a_warm_up_learns_and_its_result_can_be_aligned(place, tmp_path):
    line = ["train", "sft", "--model", str(place / "base"), "--rows", str(place / "rows.jsonl"), "--lora", "null"]
    line += ["--sft.max_steps", "6", "--sft.learning_rate", "1e-3", "--sft.bf16", "false", "--sft.use_cpu", "true"]
    line += ["--sft.logging_steps", "1", "--prompt", "topic", "--sft.gradient_checkpointing", "false"]
    assert main([*line, "--output", str(tmp_path / "warm")]) == 0
    losses = [point["loss"] for point in curves(tmp_path / "warm") if "loss" in point]
    assert losses[-1] < losses[0]
    assert main(options(tmp_path / "warm", place / "preferences.jsonl", tmp_path / "run", "--dev-share", "0")) == 0


def test_a_changed_setting_leaves_the_recorded_trajectory(tmp_path):
    from expandr_ir.config import TRAINING, regressions_dir

    text = (regressions_dir() / TRAINING / "dpo-tiny.yaml").read_text()
    (tmp_path / "changed.yaml").write_text(text.replace("--dpo.beta=0.1", "--dpo.beta=0.11"))
    line = ["train", "trajectory", str(tmp_path / "changed.yaml"), "--way", "2x4", "--output", str(tmp_path / "runs")]
    assert main(line) == 1
