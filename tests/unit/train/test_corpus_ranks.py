"""Ranks of positives in a collection: batches that are there are not searched again; ids must be topics."""

import json

import numpy as np
import pytest

from expandr_ir.errors import InputError
from expandr_ir.records import Hits, Topic
from expandr_ir.train import corpus_ranks as module
from expandr_ir.train.corpus_ranks import CorpusOptions, corpus_ranks

QUERIES = [Topic(f"t{n}", f"query {n}") for n in range(5)]
CANDIDATES = [["a", "b"], ["a"], ["b", "c", "a"], ["c"], ["a", "c"]]
RANKINGS = {"a": ["d0", "d1", "d2"], "b": ["d2", "x", "d1"], "c": ["x", "y"]}


class FakeRetriever:
    """Ranks by the candidate's text alone; it can die after so many searches."""

    def __init__(self, die_after=None):
        self.details, self.seconds = {"k1": 0.9}, {}
        self.searches, self.die_after = 0, die_after

    def search(self, topics, aggregation):
        if self.searches == self.die_after:
            raise KeyboardInterrupt
        self.searches += 1
        assert aggregation == "repeat"
        rankings = {name: RANKINGS[one.expansions[0].text] for name, one in topics.items()}
        return {name: Hits(ids, [float(-n) for n in range(len(ids))]) for name, ids in rankings.items()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d0", "text": "x"}) + "\n")
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": q.topic_id, "text": q.text}) + "\n" for q in QUERIES)
    )
    judged = "".join(f"t{n}\td1\t2\nt{n}\td2\t1\nt{n}\td0\t0\n" for n in range(5))
    (tmp_path / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return tmp_path


def options(folder, **others):
    return CorpusOptions(collection=str(folder), batch_queries=2, **others)


def run(folder, work, retriever, monkeypatch):
    monkeypatch.setattr(module, "_open", lambda *_: (retriever, "repeat"))
    return corpus_ranks(QUERIES, CANDIDATES, options(folder), work)


def test_ranks_by_hand(folder, tmp_path, monkeypatch):
    found = run(folder, tmp_path / "work", FakeRetriever(), monkeypatch)
    by_text = {"a": [2, 3], "b": [3, 1], "c": [0, 0]}  # of d1 and d2
    for texts, own in zip(CANDIDATES, found, strict=True):
        assert own.ranks.tolist() == [by_text[text] for text in texts]
        assert own.grades.tolist() == [2.0, 1.0]


def test_a_run_that_broke_off_goes_on(folder, tmp_path, monkeypatch):
    whole = run(folder, tmp_path / "whole", FakeRetriever(), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "broken", FakeRetriever(die_after=2), monkeypatch)
    again = FakeRetriever()
    found = run(folder, tmp_path / "broken", again, monkeypatch)
    assert again.searches == 1
    assert all(np.array_equal(one.ranks, other.ranks) for one, other in zip(whole, found, strict=True))
    last = FakeRetriever()
    run(folder, tmp_path / "broken", last, monkeypatch)
    assert last.searches == 0
    assert [path.suffix for path in (tmp_path / "broken").iterdir()] == [".npy"]


def test_a_query_that_the_collection_does_not_know(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="query 'elsewhere' has no relevant document"):
        corpus_ranks([Topic("elsewhere", "q")], [["a"]], options(folder), tmp_path / "work")
    with pytest.raises(InputError, match="without a collection"):
        corpus_ranks(QUERIES, CANDIDATES, CorpusOptions(), tmp_path / "work")
    with pytest.raises(InputError, match="hits is 0"):
        CorpusOptions(hits=0)
