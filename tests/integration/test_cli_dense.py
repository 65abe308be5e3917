"""encode, dense and hybrid search, fuse, run and exported query vectors at the command line, on a tiny encoder."""

from __future__ import annotations

import json
import pickle

import pytest
from tiny_encoders import sentence_transformers_folder, tiny_bert

from expandr_ir.cli import main
from expandr_ir.io.expansions import read_expansions
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection") / "small"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": key, "title": title, "text": text} for key, (title, text) in DOCUMENTS.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    topics = [{"_id": key, "text": text} for key, text in TOPICS.items()]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in topics))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nt1\td1\t1\nt2\td4\t1\n")
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return _encoder(tmp_path_factory.mktemp("encoder"), seed=0)


@pytest.fixture
def expansions(tmp_path):
    path = tmp_path / "e.jsonl"
    rows = [{"topic_id": key, "text": text} for key, text in EXPANSIONS.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def searched(tmp_path, folder):
    """Runs `expandr search` and reads what it wrote."""

    def search(name, *options):
        output = tmp_path / name
        assert main(["search", "--collection", str(folder), "--output", str(output), *options]) == 0
        return read_run(output), read_manifest(output)

    return search


def test_dense_search_with_and_without_expansions(searched, encoder, expansions):
    dense = ["--retriever", "dense", "--encoder", encoder]
    alone, manifest = searched("alone.run", *dense)
    assert {topic: len(hits) for topic, hits in alone.items()} == {"t1": 4, "t2": 4}
    assert manifest.details["name"] == "dense-none"
    assert manifest.details["dense"]["encoder"]
    mean, manifest = searched("mean.run", *dense, "--expansions", expansions)
    assert manifest.details["name"] == "dense-mean"
    assert manifest.counts["topics_searched_alone"] == 1
    assert mean["t2"] == alone["t2"]
    assert mean["t1"] != alone["t1"]


def test_hybrid_is_the_fusion_of_its_parts(searched, encoder, expansions, tmp_path):
    dense, _ = searched("d.run", "--retriever", "dense", "--encoder", encoder, "--expansions", expansions)
    sparse, _ = searched("s.run", "--expansions", expansions, "--aggregation", "append")
    hybrid = ["--retriever", "hybrid", "--encoder", encoder, "--expansions", expansions]
    fused, manifest = searched("h.run", *hybrid, "--sparse-aggregation", "append", "--fuse.rrf-k", "10")
    assert manifest.details["name"] == "rrf(bm25-append,dense-mean)"
    expected = rrf([sparse, dense], k=10)
    assert {topic: hits.doc_ids for topic, hits in fused.items()} == {t: h.doc_ids for t, h in expected.items()}
    output = tmp_path / "f.run"
    runs = [str(tmp_path / "s.run"), str(tmp_path / "d.run")]
    assert main(["fuse", *runs, "--fuse.rrf-k", "10", "--output", str(output)]) == 0
    assert read_run(output) == fused


def test_exp4fuse_searches_the_topics_alone_as_well(searched, encoder, expansions):
    hybrid = ["--retriever", "hybrid", "--encoder", encoder, "--expansions", expansions, "--fusion", "exp4fuse"]
    _, manifest = searched("x.run", *hybrid, "--with-topics-alone")
    assert manifest.details["name"] == "exp4fuse(bm25-none,dense-none,bm25-repeat,dense-mean)"


def test_encoded_once_searched_from_a_folder(searched, folder, encoder, tmp_path, capsys):
    faiss = tmp_path / "faiss"
    options = ["--collection", str(folder), "--encoder", encoder]
    assert main(["encode", *options, "--output", str(tmp_path / "vectors"), "--faiss", str(faiss)]) == 0
    assert "4 vectors" in capsys.readouterr().out
    assert (faiss / "docid").read_text().split() == list(DOCUMENTS)
    dense = ["--retriever", "dense", "--encoder", encoder]
    own, _ = searched("own.run", *dense)
    assert own == searched("faiss.run", *dense, "--index", str(faiss))[0]
    assert own == searched("vectors.run", *dense, "--index", str(tmp_path / "vectors"))[0]


def test_an_expander_runs_end_to_end_and_goes_on(folder, encoder, tmp_path, capsys):
    output = tmp_path / "hyde.run"
    store = str(tmp_path / "store.sqlite")
    command = ["run", "--expander", "hyde", "--collection", str(folder), "--generator", "echo", "--encoder", encoder]
    command += ["--samples", "2", "--store", store, "--format", "json", "--output", str(output)]
    assert main([*command, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["to generate"] == 4
    assert not output.exists()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["generated"] == 4
    first = read_run(output)
    written = read_expansions(f"{output}.expansions.jsonl", _topics())
    assert [len(topic.expansions) for topic in written.values()] == [2, 2]
    manifest = read_manifest(output)
    assert manifest.details["name"] == "dense-hyde"
    assert manifest.config["expander"]["samples"] == 8
    assert manifest.inputs["expansions"].is_unchanged()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["generated"] == 0
    assert read_run(output) == first


def test_query_vectors_for_stock_pyserini(folder, encoder, expansions, tmp_path):
    options = ["--collection", str(folder), "--encoder", encoder, "--expansions", expansions]
    queries = tmp_path / "queries"
    assert main(["export", "encoded-queries", *options, "--output", str(queries)]) == 0
    with (queries / "embedding.pkl").open("rb") as stream:
        rows = pickle.load(stream)
    assert list(rows["text"]) == list(TOPICS.values())
    assert main(["export", "encoded-queries", *options, "--output", str(tmp_path / "v.json")]) == 0
    vectors = json.loads((tmp_path / "v.json").read_text())
    assert json.loads(vectors["t1"]["title"]) == pytest.approx(rows["embedding"][0].tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--retriever", "dense"], "--encoder"),
        (["--retriever", "dense", "--encoder", "all-MiniLM-L6-v3"], "Try: all-MiniLM-L6-v2"),
        (["--retriever", "hybrid", "--encoder", "E", "--aggregation", "mean"], "--sparse-aggregation mean"),
        (["--retriever", "dense", "--encoder", "E", "--aggregation", "maen"], "Try: mean"),
        (["--fusion", "rff"], "Try: rrf"),
    ],
)
def test_bad_arguments(folder, encoder, expansions, tmp_path, capsys, options, message):
    options = [encoder if option == "E" else option for option in options]
    output = tmp_path / "no.run"
    command = ["search", "--collection", str(folder), "--expansions", expansions, "--output", str(output)]
    assert main([*command, *options]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_an_index_of_another_encoder_is_refused(folder, encoder, tmp_path_factory, tmp_path, capsys):
    faiss = tmp_path / "faiss"
    assert main(["encode", "--collection", str(folder), "--encoder", encoder, "--faiss", str(faiss)]) == 0
    other = _encoder(tmp_path_factory.mktemp("other"), seed=1)
    command = ["search", "--collection", str(folder), "--retriever", "dense", "--index", str(faiss)]
    assert main([*command, "--encoder", other, "--output", str(tmp_path / "no.run")]) == 2
    assert "encoder" in capsys.readouterr().err


def test_one_run_is_not_fused(tmp_path, capsys):
    assert main(["fuse", "a.run", "--output", str(tmp_path / "f.run")]) == 2
    assert "two or more" in capsys.readouterr().err


def _encoder(folder, seed):
    network = tiny_bert(folder / "network", seed=seed)
    return str(sentence_transformers_folder(folder / "encoder", network, pooling="mean", normalize=True))


def _topics():
    from expandr_ir.records import Topic

    return {topic_id: Topic(topic_id, text) for topic_id, text in TOPICS.items()}
