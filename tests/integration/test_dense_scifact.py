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


@pytest.fixture(scope="module")
def scifact(test_data):
    return load_collection(test_data / "beir" / "scifact")


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def vectors(scifact, encoder, shared_home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPANDR_HOME", str(shared_home))
        return encode_corpus(scifact, encoder)


@pytest.fixture(scope="module")
def topics(scifact, encoder):
    return dict(zip(*dense_vectors("none", plain(scifact.topics().values()), encoder, DenseOptions()), strict=True))


@pytest.fixture(scope="module")
def run(vectors, topics, encoder):
    index = open_dense(vectors)
    index.check_encoder(encoder)
    return index.search(topics, hits=1000)


def test_corpus_vectors(vectors):
    assert len(vectors) == 5183
    assert vectors.check() == 0
    assert vectors.counts == {"documents": 5183, "truncated": 3681, "empty": 0, "zero": 0}
    lengths = np.concatenate([np.linalg.norm(shard, axis=1) for shard in vectors.shards()])
    assert lengths == pytest.approx(1, abs=1e-3)


def test_topics_alone(scifact, run):
    assert score_run(run, scifact.qrels(), ["nDCG@10"]).means["nDCG@10"] == pytest.approx(0.6451, abs=0.001)


def ties_by_id(pairs):
    """FAISS leaves equal scores in the order of its rows."""
    ranked = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    return Hits([doc_id for doc_id, _ in ranked], [score for _, score in ranked])


@pytest.mark.java
def test_pyserini_gives_the_same_run_on_our_export(vectors, topics, run, tmp_path):
    vectors.to_pyserini_faiss(tmp_path / "faiss")
    searcher = import_pyserini("pyserini.search.faiss").FaissSearcher(str(tmp_path / "faiss"), None)
    found = searcher.batch_search(np.stack(list(topics.values())), list(topics), k=1000)
    assert run == {topic_id: ties_by_id([(hit.docid, float(hit.score)) for hit in found[topic_id]]) for topic_id in run}
    assert open_dense(tmp_path / "faiss").search(topics, hits=1000) == run
