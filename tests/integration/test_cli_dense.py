"""encode, dense and hybrid search, fuse and exported query vectors at the command line, on a tiny encoder."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from tiny_encoders import sentence_transformers_folder, tiny_bert

from expandr_ir.io.manifest import read_manifest
from expandr_ir.io.runs import read_run
from expandr_ir.retrievers.fusion import rrf

pytestmark = [pytest.mark.java, pytest.mark.slow]

DOCUMENTS = {
    "d1": ("Goldfish", "Goldfish grow all their lives and remember for months."),
    "d2": ("", "A pond in winter: fish rest near the bottom."),
    "d3": ("Bread", "Flour, water, salt and yeast become bread."),
    "d4": ("Yeast", "Yeast eats sugar and gives gas."),
}
TOPICS = {"t1": "how long do goldfish remember", "t2": "why does dough rise"}
EXPANSIONS = {"t1": "Goldfish remember for months.", "t2": ""}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_encoder(folder, seed):
    network = tiny_bert(folder / "network", seed=seed)
    return sentence_transformers_folder(folder / "encoder", network, pooling="mean", normalize=True)


@pytest.fixture
def given(workplace, tmp_path_factory):
    """A collection, an encoder and expansions."""
    (workplace / "small" / "qrels").mkdir(parents=True)
    rows = [{"_id": key, "title": title, "text": text} for key, (title, text) in DOCUMENTS.items()]
    write_jsonl(workplace / "small" / "corpus.jsonl", rows)
    write_jsonl(workplace / "small" / "queries.jsonl", [{"_id": key, "text": text} for key, text in TOPICS.items()])
    (workplace / "small" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nt1\td1\t1\nt2\td4\t1\n")
    write_jsonl(workplace / "e.jsonl", [{"topic_id": key, "text": text} for key, text in EXPANSIONS.items()])
    return ["--collection", "small", "--encoder", make_encoder(tmp_path_factory.mktemp("encoder"), seed=0)]


@pytest.fixture
def searched(expandr, given):
    """Runs `expandr search` and reads what it wrote."""

    def search(name, *options):
        expandr("search", *given, *options, "--output", name)
        return read_run(name), read_manifest(Path(name))

    return search


def test_hybrid_is_the_fusion_of_its_parts(expandr, searched):
    alone, manifest = searched("alone.run", "--retriever", "dense")
    assert {topic_id: len(hits) for topic_id, hits in alone.items()} == {"t1": 4, "t2": 4}
    assert manifest.details["dense"]["encoder"]
    dense, manifest = searched("d.run", "--retriever", "dense", "--expansions", "e.jsonl")
    assert (manifest.details["name"], manifest.counts["topics_searched_alone"]) == ("dense-mean", 1)
    assert dense["t2"] == alone["t2"]
    assert dense["t1"] != alone["t1"]
    sparse, _ = searched("s.run", "--expansions", "e.jsonl", "--aggregation", "append")
    hybrid = ["--retriever", "hybrid", "--expansions", "e.jsonl"]
    fused, manifest = searched("h.run", *hybrid, "--sparse-aggregation", "append", "--fuse.rrf-k", "10")
    assert manifest.details["name"] == "rrf(bm25-append,dense-mean)"
    assert {key: hits.doc_ids for key, hits in fused.items()} == {
        key: hits.doc_ids for key, hits in rrf([sparse, dense], k=10).items()
    }
    told = expandr("fuse", "s.run", "d.run", "--fuse.rrf-k", "10", "--output", "f.run").err
    assert read_run("f.run") == fused
    assert "1 topics have hits in some runs only" in told  # BM25 has none for t2
    assert "two or more" in expandr("fuse", "s.run", "--output", "g.run", code=2).err
    _, manifest = searched("x.run", *hybrid, "--fusion", "exp4fuse", "--with-topics-alone")
    assert manifest.details["name"] == "exp4fuse(bm25-none,dense-none,bm25-repeat,dense-mean)"


def test_encoded_once_searched_from_a_folder(expandr, searched, given, workplace, tmp_path_factory):
    told = expandr("encode", *given, "--output", "vectors", "--faiss", "faiss", "--jsonl", "jsonl").out.splitlines()
    assert told == [
        "vectors",
        "4 vectors of 32 dimensions; documents 4, truncated 1, empty 0, zero 0",
        "faiss",
        "jsonl",
    ]
    assert (workplace / "faiss" / "docid").read_text().split() == list(DOCUMENTS)
    expected, _ = searched("own.run", "--retriever", "dense")
    for folder in ("faiss", "vectors", "jsonl"):
        assert searched(f"{folder}.run", "--retriever", "dense", "--index", folder)[0] == expected
    other = make_encoder(tmp_path_factory.mktemp("other"), seed=1)
    command = ["search", "--collection", "small", "--retriever", "dense", "--index", "faiss", "--encoder", other]
    assert "vectors of another encoder" in expandr(*command, "--output", "no.run", code=2).err


def test_query_vectors_for_stock_pyserini(expandr, given, workplace):
    export = ["export", "encoded-queries", *given, "--expansions", "e.jsonl", "--output"]
    expandr(*export, "queries")
    rows = pickle.loads((workplace / "queries" / "embedding.pkl").read_bytes())
    assert list(rows["text"]) == list(TOPICS.values())
    expandr(*export, "v.json")
    vectors = json.loads((workplace / "v.json").read_text())
    assert json.loads(vectors["t1"]["title"]) == pytest.approx(rows["embedding"][0].tolist())
