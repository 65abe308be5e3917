"""The small LLM that pip brings: converted once, it expands and is trained without a network."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_it_expands_the_demo_and_is_known_by_its_file(expandr, workplace):
    (workplace / "topics.jsonl").write_text('{"_id": "1", "text": "count words in a list"}\n')
    expandr("expand", "--topics", "topics.jsonl", "--generator", "smollm2", "--output", "e.jsonl")
    row = json.loads((workplace / "e.jsonl").read_text())
    assert row["prompt"].startswith("passage-short@")
    assert row["generator"] == {
        "engine": "local",
        "model": "SmolLM2-135M-Instruct.Q4_1",
        "revision": "b179c9523d0e6a0f",
    }
    assert len(row["text"].split()) > 20
    expandr("expand", "--topics", "topics.jsonl", "--generator", "smollm2", "--output", "again.jsonl")
    assert (workplace / "again.jsonl").read_text() == (workplace / "e.jsonl").read_text()
