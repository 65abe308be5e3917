"""Dense search of SciFact with all-MiniLM-L6-v2: the figures of the data's README, and Pyserini's own searcher."""

from __future__ import annotations

import numpy as np
import pytest

from expandr_ir.aggregate.dense import DenseOptions, dense_vectors
from expandr_ir.collections import load_collection
from expandr_ir.encoders import load_encoder
from expandr_ir.evaluate import score_run
from expandr_ir.jvm import import_pyserini
from expandr_ir.records import Hits
from expandr_ir.retrievers import plain
from expandr_ir.retrievers.encode import encode_corpus
from expandr_ir.retrievers.nearest import open_dense

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def ties_by_id(hits):
    """FAISS leaves equal scores in the order of its rows."""
    ranked = sorted(((hit.docid, float(hit.score)) for hit in hits), key=lambda pair: (-pair[1], pair[0]))
    return Hits([doc_id for doc_id, _ in ranked], [score for _, score in ranked])


@pytest.mark.java
def test_figures_and_the_run_of_pyserini_on_our_export(test_data, tmp_path, common_home, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(common_home))
    scifact, encoder = load_collection(test_data / "beir" / "scifact"), load_encoder("all-MiniLM-L6-v2")
    vectors = encode_corpus(scifact, encoder)
    assert (len(vectors), vectors.check()) == (5183, 0)
    assert vectors.counts == {"documents": 5183, "truncated": 3681, "empty": 0, "zero": 0}
    lengths = np.concatenate([np.linalg.norm(shard, axis=1) for shard in vectors.shards()])
    assert lengths == pytest.approx(1, abs=1e-3)
    topics = dict(zip(*dense_vectors("none", plain(scifact.topics().values()), encoder, DenseOptions()), strict=True))
    run = open_dense(vectors).search(topics, hits=1000)
    assert score_run(run, scifact.qrels(), ["nDCG@10"]).means["nDCG@10"] == pytest.approx(0.6451, abs=0.001)
    vectors.to_pyserini_faiss(tmp_path / "faiss")
    searcher = import_pyserini("pyserini.search.faiss").FaissSearcher(str(tmp_path / "faiss"), None)
    theirs = searcher.batch_search(np.stack(list(topics.values())), list(topics), k=1000)
    assert run == {topic_id: ties_by_id(theirs[topic_id]) for topic_id in run}
    assert open_dense(tmp_path / "faiss").search(topics, hits=1000) == run
