"""Dense search: dot products by hand and by brute force, whatever holds the vectors, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_vectors import Corpus, FakeEncoder

from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError
from expandr_ir.records import Hits
from expandr_ir.retrievers import nearest
from expandr_ir.retrievers.encode import encode_corpus
from expandr_ir.retrievers.nearest import DenseSearchOptions, open_dense, open_named_dense
from expandr_ir.retrievers.vectors import CorpusVectors, HnswOptions


def in_memory(rows, ids=(), shard=1024):
    """Vectors as they are given, in shards of some rows."""
    array = np.array(rows, dtype=np.float32)
    names = ids or [f"d{number}" for number in range(len(array))]
    return CorpusVectors(
        Path("memory"), np.array([name.encode() for name in names]), array.shape[1], {},
        lambda: (array[start : start + shard] for start in range(0, len(array), shard)),
    )  # fmt: skip


def random_rows(count, dim, seed):
    return np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)


def by_topic(rows):
    return {f"{number:03d}": row for number, row in enumerate(rows)}


def test_hits_have_the_largest_dot_products_and_ties_go_by_document_id():
    index = open_dense(in_memory([[1, 0], [0, 2], [-3, 1], [1, 0], [2, 2]], ["z", "b", "é", "a", "c"]))
    run = index.search({"007": np.array([1.0, 0.5]), "7": np.array([0.5, 1], dtype=np.float32)}, hits=4)
    assert run == {
        "007": Hits(["c", "a", "b", "z"], [3.0, 1.0, 1.0, 1.0]),
        "7": Hits(["c", "b", "a", "z"], [3.0, 2.0, 0.5, 0.5]),
    }
    assert list(run) == ["007", "7"]
    assert index.search({}) == {}


whole = st.integers(-3, 3).map(float)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=arrays(np.float32, st.tuples(st.integers(1, 40), st.just(4)), elements=whole),
    topics=arrays(np.float32, st.tuples(st.integers(1, 25), st.just(4)), elements=whole),
    shard=st.integers(1, 7),
    hits=st.integers(1, 45),
)
def test_equal_to_brute_force(rows, topics, shard, hits):
    vectors = {topic_id: row for topic_id, row in by_topic(topics).items() if row.any()}
    run = open_dense(in_memory(rows, shard=shard)).search(vectors, hits)
    for topic_id, row in vectors.items():
        products = {f"d{number}": float(value) for number, value in enumerate(rows @ row)}
        ranking = run[topic_id]
        assert ranking.scores == sorted(products.values(), reverse=True)[:hits]
        assert ranking.scores == [products[doc_id] for doc_id in ranking.doc_ids]
        assert ranking.doc_ids == sorted(set(ranking.doc_ids), key=lambda doc_id: (-products[doc_id], doc_id))


@pytest.mark.parametrize("count", [5, 40])
def test_streamed_search_is_faiss_in_memory_bit_for_bit(monkeypatch, count):
    """FAISS takes other paths for few topics and for many."""
    import faiss

    monkeypatch.setattr(nearest, "BLOCK_ROWS", 2048)
    rows, topics = random_rows(5000, 24, 0), random_rows(count, 24, 1)
    run = open_dense(in_memory(rows)).search(by_topic(topics), hits=300)
    index = faiss.IndexFlatIP(24)
    index.add(rows)
    scores, places = index.search(topics, 300)
    rankings = [Hits([f"d{row}" for row in places[number]], scores[number].tolist()) for number in range(count)]
    assert run == by_topic(rankings)


@pytest.fixture
def sharded(tmp_path):
    return encode_corpus(Corpus(300), FakeEncoder(), tmp_path / "vectors", shard_documents=64)


@pytest.fixture
def topics():
    return by_topic(random_rows(30, 8, 7))


def test_every_form_gives_the_same_run(sharded, topics, tmp_path):
    sharded.to_pyserini_faiss(tmp_path / "faiss")
    sharded.to_pyserini_jsonl(tmp_path / "jsonl", Corpus(300).documents())
    expected = open_dense(sharded).search(topics, 50)
    assert len(expected["000"]) == 50
    for source in (sharded.folder, tmp_path / "faiss", str(tmp_path / "jsonl")):
        assert open_dense(source).search(topics, 50) == expected


def test_hnsw_is_built_once_and_finds_what_flat_finds(sharded, topics):
    options = DenseSearchOptions(kind="hnsw", hnsw=HnswOptions(ef_search=300))
    flat, graph = open_dense(sharded), open_dense(sharded, options)
    assert graph.folder == sharded.folder / "hnsw-16-100"
    built = (graph.folder / "index").stat().st_mtime_ns
    run = open_dense(sharded.folder, options).search(topics, 10)
    assert (graph.folder / "index").stat().st_mtime_ns == built
    expected = flat.search(topics, 10)
    same = sum(len(set(run[topic_id].doc_ids) & set(hits.doc_ids)) for topic_id, hits in expected.items())
    assert same >= 0.95 * 10 * len(topics)
    assert open_dense(graph.folder).search(topics, 10) == run, "a folder of a graph is searched as it is"


def write_index(folder, index, rows):
    import faiss

    folder.mkdir()
    index.add(rows)
    faiss.write_index(index, str(folder / "index"))
    (folder / "docid").write_text("".join(f"d{number}\n" for number in range(len(rows))))
    return folder


def test_other_indexes_are_searched_as_they_are(tmp_path):
    import faiss

    rows = np.array([[3, 0], [1, 1], [1, 0]], dtype=np.float32)
    folder = write_index(tmp_path / "l2", faiss.IndexFlatL2(2), rows)
    assert open_dense(folder).search({"1": np.array([1.0, 0.0])}) == {"1": Hits(["d2", "d1", "d0"], [0.0, -1.0, -4.0])}
    index = faiss.IndexScalarQuantizer(4, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    folder = write_index(tmp_path / "fp16", index, np.eye(4, dtype=np.float32))
    run = open_dense(folder).search({"1": np.array([0, 0, 2.0, 1.0])}, hits=2)
    assert run == {"1": Hits(["d2", "d3"], [2.0, 1.0])}


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0, 2.0, 3.0], r"topic 007: a vector of shape \(3,\)\nExpected: 2 numbers"),
        ([[1.0, 2.0]], r"topic 007: a vector of shape \(1, 2\)"),
        ([1.0, np.nan], "topic 007: a vector that is not finite"),
        ([1.0, -np.inf], "topic 007: a vector that is not finite"),
        ([0.0, 0.0], "topic 007: a vector of zeros"),
    ],
)
def test_topics_that_cannot_be_searched_are_named(vector, message):
    index = open_dense(in_memory([[1, 0], [0, 1]]))
    with pytest.raises(InputError, match=message):
        index.search({"1": np.array([1.0, 0.0]), "007": np.array(vector)})


def test_options_that_do_not_fit(sharded, tmp_path, monkeypatch):
    import faiss

    for device in ("tpu", "cuda:99"):
        with pytest.raises(InputError, match=f"'{device}', and FAISS finds"):
            open_dense(sharded, DenseSearchOptions(device=device))
    sharded.to_pyserini_jsonl(tmp_path / "jsonl", Corpus(300).documents())
    with pytest.raises(InputError, match="has no HNSW graph"):
        open_dense(tmp_path / "jsonl", DenseSearchOptions(kind="hnsw"))
    folder = write_index(tmp_path / "l2", faiss.IndexFlatL2(8), random_rows(3, 8, 0))
    with pytest.raises(InputError, match="IndexFlatL2"):
        open_dense(folder, DenseSearchOptions(kind="hnsw"))
    with pytest.raises(MissingResourceError, match="is not there"):
        open_dense(tmp_path / "nothing")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(NotInstalledError, match="pip install 'faiss-cpu>="):
        open_dense(sharded)


def test_an_index_knows_its_encoder(sharded, tmp_path):
    sharded.to_pyserini_faiss(tmp_path / "faiss")
    for index in (open_dense(sharded), open_dense(tmp_path / "faiss"), open_dense(sharded, DenseSearchOptions("hnsw"))):
        index.check_encoder(FakeEncoder())
        with pytest.raises(InputError, match="prefix is '' there, 'p: ' here"):
            index.check_encoder(FakeEncoder("p: "))
        replace(index, encoder=None).check_encoder(FakeEncoder("p: "))
        with pytest.raises(InputError, match="vectors of 9 dimensions, and the encoder makes 8"):
            replace(index, dim=9).check_encoder(FakeEncoder())


@pytest.mark.java
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_pyserini_searches_our_folder_and_gives_the_same_run(sharded, topics, tmp_path, kind):
    from expandr_ir.jvm import import_pyserini

    sharded.to_pyserini_faiss(tmp_path / "faiss", kind)
    searcher = import_pyserini("pyserini.search.faiss").FaissSearcher(str(tmp_path / "faiss"), None)
    if kind == "hnsw":
        searcher.set_hnsw_ef_search(100)
    theirs = searcher.batch_search(np.stack(list(topics.values())), list(topics), k=20)
    assert open_dense(tmp_path / "faiss").search(topics, 20) == {
        topic_id: Hits([hit.docid for hit in hits], [float(hit.score) for hit in hits])
        for topic_id, hits in theirs.items()
    }


@pytest.mark.java
def test_named_indexes(sharded, topics, tmp_path, monkeypatch):
    sharded.to_pyserini_faiss(tmp_path / "faiss")
    index = open_named_dense(str(tmp_path / "faiss"))
    with pytest.raises(
        InputError, match=r"unknown folder or Pyserini FAISS index.*\n.*\nTry: beir-v1.0.0-scifact.contriever"
    ):
        open_named_dense("beir-v1.0.0-scifact.contrever")
    import pyserini.util

    monkeypatch.setattr(pyserini.util, "download_prebuilt_index", lambda name, verbose: str(tmp_path / "faiss"))
    assert open_named_dense("beir-v1.0.0-scifact.contriever").search(topics, 5) == index.search(topics, 5)

    def fail(name, verbose):
        raise ValueError("Unable to download")

    monkeypatch.setattr(pyserini.util, "download_prebuilt_index", fail)
    with pytest.raises(MissingResourceError, match="could not be downloaded"):
        open_named_dense("beir-v1.0.0-scifact.contriever")
