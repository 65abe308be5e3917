"""Pyserini's own names with its downloads placed by hand: the collection that the folder gives."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import expandr_ir
from expandr_ir.collections import load_collection

ASK = """
import json
from expandr_ir.collections import load_collection
c = load_collection("pyserini:beir-v1.0.0-scifact-test")
topics = {topic_id: topic.text for topic_id, topic in c.topics().items()}
print(json.dumps([c.name, c.splits(), topics, c.qrels()]))
"""


@pytest.mark.java
def test_scifact_by_its_name(tmp_path, test_data):
    """Java finds its cache by user.home, which is set when it starts: hence a process of its own."""
    scifact = load_collection(test_data / "beir" / "scifact")
    cache = tmp_path / ".cache" / "pyserini" / "topics-and-qrels"
    cache.mkdir(parents=True)
    topics = "".join(f"{topic.topic_id}\t{topic.text}\n" for topic in scifact.topics("test").values())
    (cache / "topics.beir-v1.0.0-scifact.test.tsv.gz").write_bytes(gzip.compress(topics.encode()))
    rows = [f"{t} 0 {d} {grade}\n" for t, grades in scifact.qrels("test").items() for d, grade in grades.items()]
    (cache / "qrels.beir-v1.0.0-scifact.test.txt").write_text("".join(rows))
    env = os.environ | {
        "JAVA_TOOL_OPTIONS": f"-Duser.home={tmp_path}",
        "PYTHONPATH": str(Path(expandr_ir.__file__).parents[1]),
    }
    done = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, splits, texts, qrels = json.loads(done.stdout.splitlines()[-1])
    assert (name, splits) == ("scifact", ["beir-v1.0.0-scifact-test"])
    assert texts == {topic_id: topic.text for topic_id, topic in scifact.topics("test").items()}
    assert list(texts) == sorted(texts, key=int)
    assert qrels == scifact.qrels("test")
