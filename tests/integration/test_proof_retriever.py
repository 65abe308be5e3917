"""tests/benchmarks/proof_retriever.py on a random encoder and a small collection: tables, and nothing made twice."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_encoders import sentence_transformers_folder, tiny_bert

import expandr_ir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "proof_retriever.py"
WORDS = ["zinc", "flea", "aspirin", "deque", "bird", "vitamin", "egg", "log", "heart", "cold", "song", "evidence"]


def lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def small_data(folder: Path) -> Path:
    """The layout that the script reads, with a document for each pair of words."""
    pairs = [(one, other) for one in WORDS for other in WORDS if one < other][:40]
    documents = [{"_id": f"d{at}", "title": "", "text": f"{one} and {other}"} for at, (one, other) in enumerate(pairs)]
    topics = [{"_id": str(at), "text": f"what of {one} with {other}"} for at, (one, other) in enumerate(pairs)]
    lines(folder / "beir/scifact/corpus.jsonl.gz", documents)
    lines(folder / "beir/scifact/queries.jsonl", topics)
    (folder / "beir/scifact/qrels").mkdir()
    for split, numbers in (("train", range(30)), ("test", range(30, 40))):
        judged = "".join(f"{at}\td{at}\t1\n" for at in numbers)
        (folder / f"beir/scifact/qrels/{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    rows = [
        {"query_id": str(at), "query": topics[at]["text"], "pos": [documents[at]["text"]],
         "neg": [documents[(at + 3) % 40]["text"]]}
        for at in range(30)
    ]  # fmt: skip
    lines(folder / "train/scifact_train_bm25neg.jsonl.gz", rows)
    written = [{"topic_id": str(at), "text": f"{one} and {other} they say"} for at, (one, other) in enumerate(pairs)]
    lines(folder / "expansions/scifact-train/passage.llm-2026.jsonl.gz", written[:30])
    lines(folder / "expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz", written[30:])
    return folder


def test_the_proof_and_that_it_goes_on(tmp_path, shared_home, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(shared_home))
    monkeypatch.setenv("PYTHONPATH", str(Path(expandr_ir.__file__).parents[1]))
    data = small_data(tmp_path / "data")
    network = tiny_bert(tmp_path / "network")
    encoder = sentence_transformers_folder(tmp_path / "encoder", network, pooling="mean", normalize=True)
    recipe = yaml.safe_load(SCRIPT.with_suffix(".yaml").read_text())
    assert set(recipe["variants"]) == {"queries", "expandr", "llm-qe"}
    few = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "eval_steps": 1}
    recipe["common"] |= {"encoder": str(encoder), "max_length": 48, "query_max_length": 48}
    recipe["common"]["training"] |= few
    recipe["evaluate"] = {"max_length": 48}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def run(*options: str) -> str:
        command = [sys.executable, str(SCRIPT), "--data", str(data), "--output", str(tmp_path / "out")]
        command += ["--recipe", str(tmp_path / "recipe.yaml"), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    first = run("--seeds", "0", "1")
    table = (tmp_path / "out" / "table.md").read_text()
    for name in ("untrained", "queries", "expandr", "llm-qe"):
        assert re.search(rf"^\| {name} \| [01]\.\d{{4}}", table, re.MULTILINE), table
    assert "Against training on queries alone" in table
    assert "| at or below the median | 10 |" in table  # each shares 1 of its 3 trigrams
    assert first.count("trained in") == 6
    again = run("--seeds", "0", "1")
    assert "trained in" not in again
    assert ".run: " not in again
    (tmp_path / "out" / "runs" / "expandr-1.mean.run").unlink()
    once_more = run("--seeds", "0", "1")
    assert [line.split(":")[0] for line in once_more.splitlines() if ".run: " in line] == ["expandr-1.mean.run"]
    assert (tmp_path / "out" / "table.md").read_text() == table
