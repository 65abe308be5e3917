"""The proofs of tests/benchmarks on random encoders and a small collection: tables, figures, and nothing made twice."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from small_scifact import small_data
from tiny_encoders import sentence_transformers_folder, tiny_bert
from tiny_models import tiny_llama

import expandr_ir
from expandr_ir.config import TRAINING, regressions_dir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def proof(tmp_path, shared_home, monkeypatch):
    """Runs a proof with some of its recipe changed; returns what it printed."""
    monkeypatch.setenv("EXPANDR_HOME", str(shared_home))
    monkeypatch.setenv("PYTHONPATH", str(Path(expandr_ir.__file__).parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = small_data(tmp_path / "data")

    def run(script: str, file: Path, *options: str, code: int = 0) -> str:
        command = [sys.executable, str(SCRIPTS / script), "--data", str(data), "--output", str(tmp_path / "out")]
        done = subprocess.run([*command, "--proof", str(file), *options], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout

    return run


def proof_file(name: str, folder: Path, change) -> Path:
    """A copy of a proof's file with a changed recipe and nothing recorded."""
    content = yaml.safe_load((regressions_dir() / TRAINING / "proofs" / f"{name}.yaml").read_text())
    content.pop("recorded", None)
    change(content["recipe"])
    path = folder / "proof.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def tiny_encoder(folder: Path) -> Path:
    return sentence_transformers_folder(
        folder / "encoder", tiny_bert(folder / "network"), pooling="mean", normalize=True
    )


def test_the_proof_of_the_retriever_and_that_it_goes_on(tmp_path, proof):
    def smaller(recipe):
        assert list(recipe["variants"]) == ["queries", "expandr", "expandr+alone", "llm-qe"]
        recipe["common"] |= {"encoder": str(tiny_encoder(tmp_path)), "max_length": 48, "query_max_length": 48}
        recipe["common"]["training"] |= {"num_train_epochs": 1, "per_device_train_batch_size": 16, "eval_steps": 1}
        recipe["evaluate"] = {"max_length": 48}

    file = proof_file("retriever-scifact", tmp_path, smaller)
    first = proof("proof_retriever.py", file, "--seeds", "0", "1", "--record")
    table = (tmp_path / "out" / "table.md").read_text()
    for name in ("untrained", "queries", "expandr", r"expandr\+alone", "llm-qe"):
        assert re.search(rf"^\| {name} \| [01]\.\d{{4}}", table, re.MULTILINE), table
    assert "| mean of topic and expansion | expandr | queries | " in table
    assert "| at or below the median | 10 | llm-qe |" in table  # each shares 1 of its 3 trigrams
    assert first.count("trained in") == 8
    recorded = yaml.safe_load(file.read_text())["recorded"]
    assert recorded["seeds"] == [0, 1]
    assert len(recorded["figures"]) == 20
    (tmp_path / "out" / "runs" / "expandr-1.mean.run").unlink()
    again = proof("proof_retriever.py", file, "--seeds", "0", "1")
    assert "20 of 20 figures are within" in again
    assert "trained in" not in again
    assert [line.split(":")[0] for line in again.splitlines() if ".run: " in line] == ["expandr-1.mean.run"]
    assert (tmp_path / "out" / "table.md").read_text() == table
    name = "expandr, mean, nDCG@10"
    file.write_text(file.read_text().replace(f"{name}: ", f"{name}: 9"))
    assert f"FAIL {name}" in proof("proof_retriever.py", file, "--seeds", "0", "1", "--table-only", code=1)


@pytest.mark.java
def test_the_proof_of_rounds_and_that_it_goes_on(tmp_path, proof):
    def smaller(recipe):
        recipe |= {"encoder": str(tiny_encoder(tmp_path)), "decoding": {"max_new_tokens": 8}}
        steps = {"max_steps": 4, "save_steps": 4, "logging_steps": 2}
        recipe["small_expander"] |= {
            "learnt_share": 0.5, "vocabulary": 300, "hidden_size": 64, "layers": 1, "context": 64, "passage_words": 6,
            "passages": 1, "documents": steps, "topics": steps,
        }  # fmt: skip
        rounds = recipe["rounds"]
        rounds |= {"rounds": 1, "min_pairs": 2, "mine": {"negatives": 1, "hits": 10}}
        rounds["preferences"]["samples"] = 3
        rounds["dpo"]["dpo"] = {"max_steps": 2, "save_steps": 2, "per_device_train_batch_size": 4, "max_length": 64}
        rounds["dpo"] |= {"dev_share": 0.3, "heldout": {"topics": 6, "samples": 1}}
        rounds["retriever"] |= {"max_length": 48, "query_max_length": 32, "dev": {"share": 0.3}}
        rounds["retriever"]["training"] |= {"max_steps": 2, "eval_steps": 2, "save_steps": 2}
        rounds["retriever"]["training"] |= {"per_device_train_batch_size": 8}

    file = proof_file("rounds-scifact", tmp_path, smaller)
    proof("proof_rounds.py", file, "--seeds", "0", "--record")
    table = (tmp_path / "out" / "table.md").read_text()
    for row in ("topics alone", "RM3", "before", "round 1", "gpt-4.1", "topics alone, round 1"):
        assert re.search(rf"^\| {row} \|.* [01]\.\d{{4}} \|", table, re.MULTILINE), table
    for name in ("similarity", "margin", "retriever", "self", "BM25 RR", "MiniLM RR"):
        assert re.search(
            rf"^\| {name} \| round 1 \| before \| [+-]0\.\d{{4}} \| <?[01]\.\d{{4}} ", table, re.MULTILINE
        ), table
    for name, label in (("heldout-reward", "round 1, seed 0"), ("retrieved", "BM25 + trained MiniLM")):
        assert label in [text.text for text in ET.parse(tmp_path / "out" / f"{name}.svg").iter() if text.text]
    figures = yaml.safe_load(file.read_text())["recorded"]["figures"]
    assert 0 < figures["before, similarity"] <= 1
    models = sorted((tmp_path / "out").glob("rounds-0/round-*/*/*/model.safetensors"))
    made = [path.stat().st_mtime_ns for path in models]
    assert len(made) >= 2
    (tmp_path / "out" / "runs" / "round-1.0.sparse.run").unlink()
    assert f"{len(figures)} of {len(figures)} figures are within" in proof("proof_rounds.py", file, "--seeds", "0")
    assert [path.stat().st_mtime_ns for path in models] == made
    assert (tmp_path / "out" / "table.md").read_text() == table


@pytest.mark.java
def test_the_proof_of_alignment_and_that_it_goes_on(tmp_path, proof):
    def smaller(recipe):
        assert list(recipe["transfer"]) == ["cacm", "cranfield", "dl19", "dl20"]
        generator = tmp_path / "tiny.yaml"
        generator.write_text(yaml.safe_dump({"engine": "local", "model": str(tiny_llama(tmp_path / "llama"))}))
        states = {name: recipe["states"][name] for name in ("sft", "sft, dpo retriever", "sft, grpo search")}
        recipe |= {"generator": str(generator), "encoder": str(tiny_encoder(tmp_path)), "states": states}
        recipe |= {"expand": {"samples": 2}, "repeats": [2, 5], "transfer": {"again": ["beir/scifact", "test"]}}
        recipe["decoding"]["max_new_tokens"] = recipe["candidates"]["max_new_tokens"] = 12
        recipe["candidates"]["samples"] = 2
        recipe["answers"] = {"scifact": {"gpt-4.1": "query2doc-zs.gpt-4.1"}}
        for name in ("sft", "dpo"):
            recipe[name] |= {"max_steps": 2, "per_device_train_batch_size": 2}
        recipe["grpo"] |= {"max_steps": 1, "num_generations": 2, "gradient_accumulation_steps": 1, "save_steps": 1}
        recipe["grpo"] |= {"per_device_train_batch_size": 2, "max_completion_length": 12}

    file = proof_file("align-smollm2", tmp_path, smaller)
    first = proof("proof_align.py", file, "--seeds", "0", "--record")
    assert [len(re.findall(f"^train {verb}", first, re.MULTILINE)) for verb in ("split", "sft", "dpo", "grpo")] == [
        1
    ] * 4
    table = (tmp_path / "out" / "table.md").read_text()
    for row in ("topics alone", "RM3", "gpt-4.1", "plain", "sft", "sft, dpo retriever", "sft, grpo search"):
        assert re.search(rf"^\| {row} \| [01]\.\d{{4}}", table, re.MULTILINE), table
    assert "| BM25, chosen repeats | sft | topics alone | " in table
    assert len(re.findall(r"^\| what of .* \| [+-]\d\.\d{3} \| ", table, re.MULTILINE)) == 6
    for name in ("repeats", "gains"):
        ET.parse(tmp_path / "out" / f"{name}.svg")
    figures = yaml.safe_load(file.read_text())["recorded"]["figures"]
    assert figures["scifact, plain, cut off"] > 0.5  # a random network seldom ends
    assert figures["again, sft, MiniLM, R@100"] == figures["scifact, sft, MiniLM, R@100"]
    made = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").glob("seed-*/*/merged/model.safetensors"))]
    assert len(made) == 3
    (tmp_path / "out" / "runs" / "again" / "sft.0.sparse.run").unlink()
    again = proof("proof_align.py", file, "--seeds", "0")
    assert f"{len(figures)} of {len(figures)} figures are within" in again
    assert not re.search("^(train|expand) ", again, re.MULTILINE)
    assert (tmp_path / "out" / "table.md").read_text() == table
