"""Hard negatives over a collection whose BM25 hits and vectors are known."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

from expandr_ir.errors import InputError
from expandr_ir.io.manifest import read_manifest
from expandr_ir.records import Hits
from expandr_ir.train.data import mine as mining
from expandr_ir.train.data.mine import MineOptions, mine
from expandr_ir.train.data.rows import read_rows

DOCUMENTS = {
    "pos": "zinc shortens colds",
    "twin": "zinc shortens colds",
    "near": "zinc colds weak",
    "far": "zinc in batteries",
    "other": "deque of lines",
    "vague": "colds last a week",
}
BM25 = ["twin", "pos", "near", "vague", "far"]
DENSE = {"pos": 0.8, "twin": 0.8, "near": 0.77, "vague": 0.7, "far": 0.2, "other": 0.1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A collection of one topic; what BM25 and the encoder find is as above."""
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    topics = [{"_id": f"t{at}", "text": f"does zinc help against colds {at}"} for at in range(4)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, topics)))
    judged = "".join(f"t{at}\tpos\t1\nt{at}\tother\t0\n" for at in range(3))
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}t3\tfar\t0\n")
    monkeypatch.setattr(mining, "BM25", FakeBM25)
    monkeypatch.setattr(mining, "EncoderSource", FakeEncoder)
    FakeBM25.searched = []
    return folder


class FakeBM25:
    searched: ClassVar[list[list[str]]] = []
    broken_at = None

    def __init__(self, collection, hits, own_document):
        self.hits = hits
        assert own_document == "keep"

    def search(self, topics):
        if len(FakeBM25.searched) == FakeBM25.broken_at:
            raise KeyboardInterrupt
        FakeBM25.searched.append(list(topics))
        return dict.fromkeys(topics, Hits(BM25[: self.hits], [0.0] * min(self.hits, len(BM25))))


class FakeEncoder:
    def __init__(self, collection, encoder):
        pass

    def encode(self, topics):
        return dict.fromkeys((topic.topic_id for topic in topics), "vector")

    def rank(self, vectors, hits):
        return dict.fromkeys(vectors, sorted(DENSE, key=lambda key: -DENSE[key])[:hits])

    def score(self, vector, doc_ids):
        return {key: float(np.float32(DENSE[key])) for key in doc_ids}


def mined(folder, tmp_path, **options):
    output = tmp_path / "rows.jsonl"
    result = mine(MineOptions(collection=str(folder), output=str(output), **options))
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row.row_id for row in read_rows(output)] == ["t0", "t1", "t2"]
    assert {row.positives for row in read_rows(output)} == {("zinc shortens colds",)}
    assert read_manifest(output).counts == result.figures
    return result.figures, lines[0]


def test_bm25_without_positives_and_their_copies(folder, tmp_path):
    counts, row = mined(folder, tmp_path, negatives=2)
    assert row["negative_ids"] == ["near", "vague"]
    assert row["negatives"] == ["zinc colds weak", "colds last a week"]
    nonzero = {name: count for name, count in counts.items() if count}
    assert nonzero == {"topics": 3, "without_relevant": 1, "negatives": 6, "copies": 3}


def test_the_margin_to_the_positive(folder, tmp_path):
    counts, row = mined(folder, tmp_path, encoder="any", negatives=9)
    assert row["negative_ids"] == ["vague", "far"]  # near has .77, above .95 x .8 = .76; twin has .8
    assert row["negative_scores"] == [0.7, 0.2]
    assert (counts["above_margin"], counts["fewer"], counts["none"]) == (6, 3, 0)
    _, row = mined(folder, tmp_path / "1", encoder="any", margin=0.97)
    assert row["negative_ids"] == ["near", "vague", "far"]


def test_both_sources_in_turn(folder, tmp_path):
    _, row = mined(folder, tmp_path, sources=["bm25", "dense"], encoder="any", margin=1)
    assert row["negative_ids"] == ["near", "vague", "far", "other"]
    _, row = mined(folder, tmp_path / "1", sources=["dense"], encoder="any", skip=4, margin=1)
    assert row["negative_ids"] == ["far", "other"]


def test_what_was_killed_goes_on(folder, tmp_path, monkeypatch):
    whole, _ = mined(folder, tmp_path / "whole", topics_at_once=1)
    FakeBM25.searched = []
    monkeypatch.setattr(FakeBM25, "broken_at", 2)
    with pytest.raises(KeyboardInterrupt):
        mined(folder, tmp_path, topics_at_once=1)
    assert not (tmp_path / "rows.jsonl").exists()
    partial = tmp_path / ".rows.jsonl.partial"
    partial.write_bytes(partial.read_bytes()[:-9])  # the last line was cut
    monkeypatch.setattr(FakeBM25, "broken_at", None)
    assert mined(folder, tmp_path, topics_at_once=1)[0] == whole
    assert FakeBM25.searched == [["t0"], ["t1"], ["t1"], ["t2"]]
    assert (tmp_path / "rows.jsonl").read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()
    assert not partial.exists()
    monkeypatch.setattr(FakeBM25, "broken_at", len(FakeBM25.searched))
    with pytest.raises(KeyboardInterrupt):
        mined(folder, tmp_path)
    with pytest.raises(InputError, match="begun with other options"):
        mined(folder, tmp_path, hits=7)


@pytest.mark.parametrize(
    "options", [{"hits": 0}, {"negatives": 0}, {"skip": 100}, {"margin": 0}, {"margin": 1.1}, {"sources": ["dense"]}]
)
def test_options_that_make_no_sense(options):
    with pytest.raises(InputError):
        MineOptions(collection="demo", output="x", **options)
