"""Dense and sparse search with expansions inside Pyserini: its classes, its commands, its files, and our own search."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from tiny_encoders import tiny_bert

import expandr_ir
from expandr_ir.aggregate import SPARSE, DenseOptions, SparseOptions, dense_vectors
from expandr_ir.collections import load_collection
from expandr_ir.config import EncodeOptions, EncoderConfig
from expandr_ir.demo import expansions_path
from expandr_ir.encoders import load_encoder
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import write_jsonl
from expandr_ir.io.runs import read_run
from expandr_ir.io.topics import write_topics_json
from expandr_ir.jvm import import_pyserini
from expandr_ir.pyserini.encoded_queries import write_encoded_queries, write_vector_topics
from expandr_ir.pyserini.lookup import Lookup
from expandr_ir.records import Document, ExpandedTopic, Expansion, Topic
from expandr_ir.retrievers.nearest import open_dense
from expandr_ir.retrievers.vectors import CorpusVectors

pytestmark = pytest.mark.java

HITS = 20
TOPICS = {
    "007": ("do fleas jump", ["A flea's hind legs store energy.", "Fleas leap two hundred times their length."]),
    "é": ("keep the last\tlines of a log", ["collections.deque has a maximum length.", ""]),
    "3": ("zinc, colds", ["", " "]),
    "4": ("aspirin", ["Aspirin thins the blood.", "Aspirin lowers the risk of heart attacks."]),
}
MODEL = {"pooling": "mean", "normalize": True, "similarity": "cosine", "max_length": 48}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All that a dense search needs; its path has names of other encoders in it."""
    folder = tmp_path_factory.mktemp("finance-contriever-sentence-dse")
    tiny_bert(folder / "bert")
    model = {"model": str(folder / "bert"), **MODEL, "options": {"devices": ["cpu"], "precision": "float32"}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(model))
    rows = [{"topic_id": key, "topic_text": text, "texts": texts} for key, (text, texts) in TOPICS.items()]
    write_jsonl(folder / "expansions.jsonl", rows)
    write_topics_json(folder / "topics.json", {key: text for key, (text, _) in TOPICS.items()})
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    options = EncodeOptions(devices=["cpu"], precision="float32")
    return load_encoder(EncoderConfig(str(folder / "bert"), **MODEL, options=options))


@pytest.fixture(scope="module")
def expanded():
    return {
        key: ExpandedTopic(Topic(key, text), tuple(Expansion(i, each) for i, each in enumerate(texts)))
        for key, (text, texts) in TOPICS.items()
    }


@pytest.fixture(scope="module")
def vectors(encoder, expanded):
    return dense_vectors("mean", expanded, encoder, DenseOptions())[1]


@pytest.fixture(scope="module")
def documents(encoder):
    words = ["flea", "legs", "jump", "log", "deque", "line", "zinc", "cold", "aspirin", "heart", "risk", "blood"]
    texts = [f"{first} {second} {number}" for number, first in enumerate(words) for second in words]
    return {f"d{number}": vector for number, vector in enumerate(encoder.encode_documents(texts))}


@pytest.fixture(scope="module")
def index(folder, documents):
    """A FAISS folder as Pyserini has it."""
    import faiss

    found = folder / "index"
    found.mkdir()
    flat = faiss.IndexFlatIP(32)
    flat.add(np.stack(list(documents.values())))
    faiss.write_index(flat, str(found / "index"))
    (found / "docid").write_text("".join(f"{doc_id}\n" for doc_id in documents))
    return found


@pytest.fixture(scope="module")
def ours(index, expanded, vectors):
    """The run of this package's own search."""
    return open_dense(index).search(dict(zip(expanded, vectors, strict=True)), HITS)


def plugin(folder, **changes):
    """The YAML file of the plug-in."""
    config = {"encoder": str(folder / "tiny.yaml"), "aggregation": "mean", "topics": str(folder / "topics.json")}
    config |= {"expansions": str(folder / "expansions.jsonl")}
    path = folder / f"plugin-{len(list(folder.glob('plugin-*')))}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (config | changes).items() if value is not None}))
    return path


def faiss_searcher(index, encoder):
    return import_pyserini("pyserini.search.faiss").FaissSearcher(str(index), encoder)


def same(found, run):
    """Whether Pyserini's hits of each topic are those of a run."""
    assert {key: [hit.docid for hit in hits] for key, hits in found.items()} == {
        key: hits.doc_ids for key, hits in run.items()
    }
    for key, hits in found.items():
        np.testing.assert_allclose([hit.score for hit in hits], run[key].scores, atol=2e-5)


def test_in_process_batch_and_single_searches_give_our_run(folder, index, ours):
    encoder = expandr_ir.ExpandRQueryEncoder.from_yaml(plugin(folder))
    searcher = faiss_searcher(index, encoder)
    texts = [text for text, _ in TOPICS.values()]
    same(searcher.batch_search(texts, list(TOPICS), HITS), ours)
    same({key: searcher.search(text, HITS) for key, (text, _) in TOPICS.items()}, ours)


def test_encode_gives_one_vector_and_encode_batch_one_a_text(encoder, expanded, vectors):
    given = expandr_ir.ExpandRQueryEncoder(encoder, Lookup(expanded.values()), "mean")
    vector = given.encode("aspirin")
    assert (vector.shape, vector.dtype) == ((32,), np.float32)
    np.testing.assert_array_equal(vector, vectors[3])
    batch = given.encode_batch(["aspirin", "do  fleas\njump ", "aspirin"])
    assert (batch.shape, batch.dtype) == ((3, 32), np.float32)
    np.testing.assert_array_equal(batch, vectors[[3, 0, 3]])


def test_an_unknown_topic_is_named_and_so_are_topics_searched_alone(encoder, expanded, caplog):
    given = expandr_ir.ExpandRQueryEncoder(encoder, Lookup(expanded.values()), "mean")
    with pytest.raises(InputError, match="no expansions of the topic 'do cats purr'"):
        given.encode_batch(["aspirin", "do cats purr"])
    with caplog.at_level(logging.WARNING):
        given.encode("zinc, colds")
    assert "1 of 4 topics have only empty expansions: searched alone" in caplog.text


def test_a_live_generator_writes_what_is_not_known(folder, encoder, tmp_path):
    store = {"store": str(tmp_path / "store.sqlite"), "samples": 2}
    path = plugin(folder, generator="echo", expansions=None, topics=None, expand=store)
    live = expandr_ir.ExpandRQueryEncoder.from_yaml(path)
    found = live.encode_batch(["do cats purr", "do dogs bark"])
    assert [len(live.lookup.topics[key].expansions) for key in ("do cats purr", "do dogs bark")] == [2, 2]
    wanted = dense_vectors("mean", live.lookup.topics, encoder, DenseOptions())[1]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    again = expandr_ir.ExpandRQueryEncoder.from_yaml(path)
    np.testing.assert_allclose(again.encode("do cats purr"), found[0], atol=1e-6)


def test_without_expansions_only_none_works(folder, encoder):
    alone = expandr_ir.ExpandRQueryEncoder.from_yaml(plugin(folder, aggregation="none", expansions=None, topics=None))
    np.testing.assert_array_equal(alone.encode("do cats purr"), encoder.encode_queries(["do cats purr"])[0])
    with pytest.raises(InputError, match="'mean' without expansions"):
        expandr_ir.ExpandRQueryEncoder.from_yaml(plugin(folder, expansions=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator": "echo"}, "expansions and a generator"),
        ({"topics": None}, "expansions without their topics"),
        ({"aggregation": "maen"}, "Try: mean"),
        ({"agregation": "mean"}, "agregation"),
        ({"encoder": "contreiver"}, "Try: contriever"),
    ],
)
def test_a_yaml_that_does_not_fit_says_so(folder, changes, message):
    with pytest.raises(InputError, match=message):
        expandr_ir.ExpandRQueryEncoder.from_yaml(plugin(folder, **changes))


def test_pyserini_takes_no_other_class_for_it(folder):
    from expandr_ir.pyserini.query_encoder import register

    module = import_pyserini("pyserini.search.faiss.__main__")
    register()
    register()
    classes = import_pyserini("pyserini.encode").query_encoder_class_map
    assert next(iter(classes)) == "expandr:"
    assert {"contriever", "ance", "auto"} <= classes.keys()

    def encoder(name, prefix=None, device="cpu"):
        return module.init_query_encoder(name, None, None, "", None, device, 256, "cls", False, prefix)

    path = plugin(folder)
    assert type(encoder(f"expandr:{path}")) is expandr_ir.ExpandRQueryEncoder
    with pytest.raises(InputError, match="--query-prefix"):
        encoder(f"expandr:{path}", "query: ")
    with pytest.raises(MissingResourceError, match=r"nothing\.yaml is not there"):
        encoder("expandr:nothing.yaml")


def test_encoded_queries_in_process(folder, index, ours, vectors):
    texts = {key: text for key, (text, _) in TOPICS.items()}
    written = write_encoded_queries(folder / "encoded", texts, vectors).parent
    given = import_pyserini("pyserini.encode").QueryEncoder(str(written))
    same(faiss_searcher(index, given).batch_search(list(texts.values()), list(texts), HITS), ours)


def launch(*arguments, module="expandr_ir.pyserini"):
    given = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.slow
def test_lucene_s_own_dense_index_takes_our_jsonl_and_our_vectors(folder, documents, expanded, ours, vectors, tmp_path):
    from expandr_ir.jvm import in_java, java_class

    ids, rows = np.array([doc_id.encode() for doc_id in documents]), np.stack(list(documents.values()))
    corpus = CorpusVectors(tmp_path, ids, 32, {}, lambda: iter([rows]))
    corpus.to_pyserini_jsonl(tmp_path / "corpus", (Document(doc_id, "", "") for doc_id in documents))
    with in_java("indexing"):
        java_class("io.anserini.index.IndexFlatDenseVectors").main(
            ["-collection", "JsonDenseVectorCollection", "-input", str(tmp_path / "corpus"), "-index",
             str(tmp_path / "index"), "-generator", "DenseVectorDocumentGenerator", "-threads", "1"]
        )  # fmt: skip
    write_vector_topics(tmp_path / "vectors.json", list(expanded), vectors)
    result = launch(
        "search.lucene", "--dense", "--flat", "--index", tmp_path / "index", "--topics", tmp_path / "vectors.json",
        "--hits", HITS, "--batch-size", "64", "--output", tmp_path / "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    run = read_run(tmp_path / "run")
    assert {key: hits.doc_ids for key, hits in run.items()} == {key: hits.doc_ids for key, hits in ours.items()}


@pytest.mark.slow
def test_what_is_wrong_ends_the_command_with_our_words(folder, index, tmp_path):
    search = ["search.faiss", "--index", index, "--topics", folder / "topics.json", "--output", tmp_path / "run"]
    result = launch(*search, "--encoder", "expandr:nothing.yaml")
    assert (result.returncode, "nothing.yaml is not there" in result.stderr) == (4, True)


@pytest.fixture(scope="module")
def demo():
    """The demo's index and expanded topics."""
    from expandr_ir.retrievers.lucene.indexing import cached_index

    collection = load_collection("demo")
    return cached_index(collection, "flat"), read_expansions(expansions_path(), collection.topics())


@pytest.mark.parametrize("aggregation", sorted(SPARSE))
def test_the_lucene_searcher_gives_our_bm25(demo, aggregation):
    from expandr_ir.retrievers.bm25 import sparse_queries
    from expandr_ir.retrievers.lucene.searcher import LuceneSearcher

    index, topics = demo
    run = LuceneSearcher(index).search(sparse_queries(aggregation, topics, SparseOptions()), hits=100)
    searcher = expandr_ir.ExpandRLuceneSearcher(str(index.path), Lookup(topics.values()), aggregation)
    texts = [topic.topic.text for topic in topics.values()]
    batch = searcher.batch_search(texts, list(topics), 100, threads=2)
    for topic_id, text in zip(topics, texts, strict=True):
        ours = list(zip(run[topic_id].doc_ids, run[topic_id].scores, strict=True))
        assert [(hit.docid, pytest.approx(hit.score, abs=2e-6)) for hit in batch[topic_id]] == ours
        if int(topic_id, 36) % 10 == 0:
            assert [hit.docid for hit in searcher.search(text, 100)] == run[topic_id].doc_ids


def test_the_lucene_searcher_keeps_pyserini_s_other_arguments(demo):
    index, _ = demo
    searcher = expandr_ir.ExpandRLuceneSearcher(str(index.path), {"sort a list": ["sorted"]}, "weighted")
    assert searcher.search("sort a list", 3, fields={"contents": 2.0})
    searcher.set_rocchio()
    with pytest.raises(InputError, match="feedback"):
        searcher.search("sort a list", 3)
    searcher.unset_rocchio()
    query = import_pyserini("pyserini.search.lucene.querybuilder").get_term_query("deque")
    assert searcher.search(query, 3)
    with pytest.raises(InputError, match="no expansions of the topic 'never heard of'"):
        searcher.search("never heard of")


def test_a_prebuilt_index_by_its_name(demo, monkeypatch):
    index, topics = demo
    module = import_pyserini("pyserini.search.lucene._searcher")
    known = {"named": str(index.path)}

    def download(name, verbose):
        if name not in known:
            raise ValueError(name)
        return known[name]

    monkeypatch.setattr(module, "download_prebuilt_index", download)
    monkeypatch.setattr(module.LuceneIndexReader, "validate", lambda *_, **__: True)
    lookup = Lookup(topics.values())
    searcher = expandr_ir.ExpandRLuceneSearcher.from_prebuilt_index("named", lookup, "repeat")
    assert searcher.prebuilt_index_name == "named"
    assert searcher.search(next(iter(topics.values())).topic.text, 3)
    with pytest.raises(InputError, match="'unnamed' is no index"):
        expandr_ir.ExpandRLuceneSearcher.from_prebuilt_index("unnamed", lookup, "repeat")


@pytest.mark.slow
def test_three_routes_through_pyserini_give_the_run_of_expandr_search(folder, expandr, tmp_path, monkeypatch):
    """On the demo, with the commands as a user types them."""
    from expandr_ir import pyserini

    monkeypatch.setattr(sys, "argv", list(sys.argv))
    encoder = ["--encoder", folder / "tiny.yaml"]
    expanded = ["--collection", "demo", "--expansions", expansions_path()]
    expandr("encode", "--collection", "demo", *encoder, "--faiss", "faiss")
    expandr("search", *expanded, *encoder, "--retriever", "dense", "--hits", 100, "--output", "ours.run")
    expandr("export", "topics", "--collection", "demo", "--output", "topics.json")
    expandr("export", "encoded-queries", *expanded, *encoder, "--output", "encoded")
    given = {"topics": None, "collection": "demo", "expansions": str(expansions_path())}
    routes = {
        "encoder": ["--encoder", f"expandr:{plugin(folder, **given)}"],
        "encoded": ["--encoded-queries", "encoded"],
    }
    for name, route in routes.items():
        search = ["search.faiss", "--index", "faiss", "--topics", "topics.json", "--output", f"{name}.run"]
        assert pyserini.main([*search, *route, "--hits", "100", "--batch-size", "1000"]) == 0
    assert (tmp_path / "encoder.run").read_bytes() == (tmp_path / "encoded.run").read_bytes()
    ours, theirs = read_run(tmp_path / "ours.run"), read_run(tmp_path / "encoder.run")
    assert len(ours) == 153
    assert theirs.keys() == ours.keys()
    for topic_id, hits in ours.items():
        np.testing.assert_allclose(theirs[topic_id].scores, hits.scores, atol=2e-6)
        assert above_the_last(theirs[topic_id]) == above_the_last(hits)


def above_the_last(hits):
    """The documents that no tie could push out: FAISS leaves the order of equal scores open, we go by the id."""
    return {hit.doc_id for hit in hits if hit.score > hits.scores[-1] + 4e-6}
