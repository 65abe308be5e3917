"""Preferences of fifty SciFact topics by a reward that no CPU rounds, and the recorded training trajectories."""

from __future__ import annotations

import json

import pytest
from recordings import cases, rows, sha, write_rows

QUERIES, CANDIDATES = 50, 6
OPTIONS = cases("preferences")


@pytest.fixture
def candidates(test_data, tmp_path):
    """Rows of fifty train topics, and for each the passages that were recorded for it and for the topics after it."""
    some = rows(test_data / "train" / "scifact_train_bm25neg.jsonl.gz")[:QUERIES]
    recorded = rows(test_data / "expansions" / "scifact-train" / "passage.llm-2026.jsonl.gz")
    texts = {row["topic_id"]: row["text"] for row in recorded}
    ids = [row["query_id"] for row in some]
    order = {topic: [ids[(place + step) % QUERIES] for step in range(CANDIDATES)] for place, topic in enumerate(ids)}
    # Half of the candidates are cut short, so that some topics have equal rewards and some a wide gap.
    objects = [
        {"topic_id": topic, "texts": [texts[other][: 600 if n % 2 else 200] for n, other in enumerate(others)]}
        for topic, others in order.items()
    ]
    write_rows(tmp_path / "rows.jsonl", some)
    write_rows(tmp_path / "candidates.jsonl", objects)
    return ["--rows", "rows.jsonl", "--generator", "replay:candidates.jsonl", "--temperatures", "1.0"]


@pytest.mark.java
@pytest.mark.parametrize("name", OPTIONS)
def test_preferences(expandr, golden, test_data, candidates, tmp_path, name):
    scifact = ["--corpus.collection", test_data / "beir" / "scifact", "--samples", CANDIDATES, "--output", "out"]
    told = expandr("train", "preferences", *candidates, *scifact, *OPTIONS[name], "--format", "json").out
    got = [preference(row) for row in rows(tmp_path / "out" / "preferences.jsonl")]
    golden.check("preferences", name, {"summary": json.loads(told.splitlines()[0]), "preferences": got})


def preference(row):
    """The row with hashes in place of texts, and its rewards to 4 decimals."""
    plain = {name: value for name, value in row.items() if name not in {"prompt", "chosen", "rejected"}}
    hashes = [sha(json.dumps(row[name])) for name in ("prompt", "chosen", "rejected")]
    return hashes, sha(json.dumps(rounded(plain), sort_keys=True))


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["dpo-tiny", "grpo-tiny", "retriever-tiny"])
def test_trajectories(expandr, name):
    told = expandr("train", "trajectory", name).out
    assert told.count("ok   ") == len(told.splitlines()) > 1
