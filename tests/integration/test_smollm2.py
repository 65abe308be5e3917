"""The small LLM that pip brings, without a network: it is converted once, asked, run and trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_scifact import small_data

from expandr_ir.demo import smollm2_path
from expandr_ir.io.manifest import read_manifest
from expandr_ir.io.runs import read_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GGUF = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOL = ("--generator", "smollm2")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.java
def test_a_question_to_the_demo(expandr, workplace):
    printed = expandr("demo", "--ask", "count words in a list").out
    before, written, after = printed.split("\n\n")
    assert before.startswith("BM25:\n1. ")
    assert len(written.split()) > 20
    assert after.startswith("BM25 with this text:\n1. ")
    assert expandr("demo", "--ask", "count words in a list").out == printed  # from the store


@pytest.mark.java
def test_hyde_on_a_folder(expandr, workplace):
    small_data(workplace)
    options = ["--collection", "beir/scifact", "--encoder", "all-MiniLM-L6-v2", "--samples", 1, "--limit", 3]
    options += ["--generator.decoding.max_new_tokens", 48]
    expandr("run", "--expander", "hyde", *SMOL, *options, "--output", "hyde.run")
    rows = [json.loads(line) for line in Path("hyde.run.expansions.jsonl").read_text().splitlines()]
    writer = {"engine": "local", "model": "SmolLM2-135M-Instruct.Q4_1", "revision": GGUF[:16]}
    assert [row["generator"] for row in rows] == [writer] * 3
    assert len(read_run(Path("hyde.run"))) == 3


@pytest.mark.java
def test_the_demo_ships_what_it_writes_now(expandr, workplace):
    expandr("run", "--expander", "query2doc-zs", *SMOL, "--collection", "demo", "--limit", 2, "--output", "smollm2.run")
    now = [json.loads(line) for line in Path("smollm2.run.expansions.jsonl").read_text().splitlines()]
    shipped = [json.loads(line) for line in smollm2_path().read_text().splitlines()]
    assert [row | {"seconds": 0} for row in now] == [row | {"seconds": 0} for row in shipped[:2]]


def test_it_is_trained_merged_and_adapted(expandr, workplace):
    pytest.importorskip("trl")
    rows = [{"row_id": str(n), "query": f"what of {n}", "positives": [f"Of {n} much is known."]} for n in range(8)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps = ["--sft.max_steps", 2, "--sft.per_device_train_batch_size", 2, "--prompt", "passage-short"]
    expandr("train", "sft", "--model", "smollm2", "--rows", "rows.jsonl", *steps, "--output", "sft")
    base = read_manifest(workplace / "sft/adapter_model.safetensors").details["base"]
    assert (base["model"], base["sha256"]) == ("smollm2", GGUF)
    expandr("train", "merge", "--adapter", "sft", "--output", "merged")
    assert Path("merged/model.safetensors").stat().st_size > 500e6
    decoding = ["--generator.decoding.temperature", 0, "--generator.decoding.max_new_tokens", 24]
    Path("topics.jsonl").write_text('{"_id": "1", "text": "what of 9"}\n')
    for name, llm in {
        "adapted": [*SMOL, "--generator.adapter", "sft"],
        "merged": ["--generator", "local:merged"],
    }.items():
        options = ["--prompt", "passage-short", *decoding, "--output", f"{name}.jsonl"]
        expandr("expand", "--topics", "topics.jsonl", *llm, *options)
    texts = [json.loads(Path(f"{name}.jsonl").read_text())["text"] for name in ("adapted", "merged")]
    assert texts[0] == texts[1]
