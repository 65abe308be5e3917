"""Collections of ir_datasets through its real API: registered data, downloads placed by hand, and no network.

ir_datasets reads its home folder once, when it is imported: each test asks in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import expandr_ir
from expandr_ir.collections import load_collection
from expandr_ir.io.files import open_bytes

PRELUDE = """
import json, sys
from dataclasses import astuple
from expandr_ir.collections import load_collection
from expandr_ir.errors import ExpandrError

def attempt(what):
    try:
        return what()
    except ExpandrError as error:
        return [type(error).__name__, error.found, error.expected, error.remedy]

def summary(spec, split=None):
    c = load_collection(spec)
    return {
        "name": c.name, "splits": c.splits(), "remove_own": c.remove_own_document, "index": c.index_name,
        "topics": attempt(lambda: {key: topic.text for key, topic in c.topics(split).items()}),
        "qrels": attempt(lambda: c.qrels(split)),
        "documents": attempt(lambda: [astuple(document) for document in c.documents()]),
    }
"""


@pytest.fixture
def ask(tmp_path):
    """Runs code that ends in an expression, with ir_datasets at home under tmp_path and without a network."""

    def run(code, **extra):
        statements, _, expression = code.strip().rpartition("\n")
        env = os.environ | {
            "IR_DATASETS_HOME": str(tmp_path / "irds"),
            "IR_DATASETS_TMP": str(tmp_path / "tmp"),
            "IR_DATASETS_DL_TRIES": "1",
            "EXPANDR_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(Path(expandr_ir.__file__).parents[1]),
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
        }
        program = f"{PRELUDE}\n{statements}\nprint(json.dumps({expression}), file=sys.stdout)\n"
        done = subprocess.run(
            [sys.executable, "-c", program], env=env | extra, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


REGISTERED = """
import ir_datasets
from ir_datasets.datasets.base import Dataset

def register(name, folder="."):
    own = ir_datasets.create_dataset(f"{folder}/docs.tsv", f"{folder}/queries.tsv", f"{folder}/qrels.txt")
    whole = Dataset(own.docs_handler(), own.queries_handler(), own.qrels_handler())
    for part, dataset in {name: Dataset(own.docs_handler()), f"{name}/test": whole, f"{name}-alone": own}.items():
        ir_datasets.registry.register(part, dataset)

register("mine")
"""


def place(folder, docs="", queries="", qrels=""):
    folder.mkdir(exist_ok=True)
    for name, content in {"docs.tsv": docs, "queries.tsv": queries, "qrels.txt": qrels}.items():
        (folder / name).write_text(content)


def test_a_registered_data_set(ask, tmp_path):
    documents = "007\tThey jump.\n7\tDogs bark.\n"
    place(tmp_path, documents, "q2\tdogs\n001\tfleas\nq3\tcats\n", "001 0 007 2\nq2 0 7 0\n")
    expected = {
        "name": "mine-test",
        "splits": ["test"],
        "remove_own": False,
        "index": None,
        "topics": {"q2": "dogs", "001": "fleas"},
        "qrels": {"001": {"007": 2}, "q2": {"7": 0}},
        "documents": [["007", "", "They jump."], ["7", "", "Dogs bark."]],
    }
    test, named, alone, before, same, after = ask(
        f"{REGISTERED}\n"
        "before, same = [load_collection(spec).fingerprint() for spec in ('irds:mine', 'irds:mine/test')]\n"
        "summaries = summary('irds:mine/test'), summary('irds:mine/test', 'test'), summary('irds:mine-alone')\n"
        "with open('docs.tsv', 'a') as stream: stream.write('8\\tCats.\\n')\n"
        "[*summaries, before, same, load_collection('irds:mine').fingerprint()]"
    )
    assert test == named == expected
    assert alone == expected | {"name": "mine-alone", "splits": ["mine-alone"]}
    assert before == same != after


def test_a_part_that_is_not_there_names_the_ids_that_have_it(ask, tmp_path):
    place(tmp_path)
    found = ask(f"{REGISTERED}\nsummary('irds:mine')")
    assert found["splits"] == []
    assert found["topics"] == [
        "InputError",
        "irds:mine has no topics",
        "an id that has them: mine/test",
        "irds:mine/test",
    ]
    assert found["qrels"][1:] == ["irds:mine has no judgements", "an id that has them: mine/test", "irds:mine/test"]
    scifact = ask("attempt(load_collection('irds:beir/scifact').qrels)")
    assert scifact[2:] == ["an id that has them: beir/scifact/test, beir/scifact/train", "irds:beir/scifact/test"]


BAD = [
    ("1\ta\n1\tb\n", "1\tx\n", "1 0 1 1\n", "documents", "document 2: document '1' a second time"),
    ("", "1\tx\n", "1 0 1 1\n", "documents", "no documents"),
    ("1\n", "1\tx\n", "1 0 1 1\n", "documents", "cannot read its documents (RuntimeError: expected 2 fields"),
    ("1\ta\n", "1\tx\n1\ty\n", "1 0 1 1\n", "topics", "topic '1' a second time"),
    ("1\ta\n", "1\t \n", "1 0 1 1\n", "topics", "topic '1' has no text"),
    ("1\ta\n", "1\tx\n", "1 0 1 1\n1 0 1 2\n", "qrels", "has grade 2, but 1 before"),
    ("1\ta\n", "1\tx\n", "1 0 1 x\n", "qrels", "cannot read its qrels (ValueError"),
    ("1\ta\n", "1\tx\n", "2 0 1 1\n", "topics", "topics are 1, judged are 2"),
]


def test_bad_registered_data(ask, tmp_path):
    for number, (*parts, _, _) in enumerate(BAD):
        place(tmp_path / f"{number}", *parts)
    register = f"for n in range({len(BAD)}): register(f'bad{{n}}', n)"
    summaries = ask(f"{REGISTERED}\n{register}\n[summary(f'irds:bad{{n}}/test') for n in range({len(BAD)})]")
    for found, (*_, part, message) in zip(summaries, BAD, strict=True):
        assert found[part][0] == "InputError"
        assert message in found[part][1]


def msmarco(tmp_path):
    """A handful of passages where ir_datasets keeps MS MARCO's, as it would have written them."""
    folder = tmp_path / "irds" / "msmarco-passage"
    (folder / "trec-dl-2019").mkdir(parents=True)
    (folder / "dev" / "small").mkdir(parents=True)
    (folder / "collection.tsv").write_text("0\tfleas jump\n1\tdogs bark\n")
    (folder / "trec-dl-2019" / "queries.tsv").write_text("19335\tfleas\n999\tunjudged\n")
    (folder / "trec-dl-2019" / "qrels").write_text("19335 Q0 0 3\n")
    (folder / "dev" / "small" / "queries.tsv").write_text("2\tdogs\n")
    (folder / "dev" / "small" / "qrels").write_text("2\t0\t1\t1\n")
    return folder


def test_msmarco_with_files_placed_by_hand(ask, tmp_path):
    (msmarco(tmp_path) / "irds_version.txt").write_text("v2")
    dl19, dev, first, second = ask(
        "specs = [f'irds:msmarco-passage/{i}' for i in ('trec-dl-2019/judged', 'dev/small')]\n"
        "[*map(summary, specs), *(load_collection(spec).fingerprint() for spec in specs)]"
    )
    assert (dl19["name"], dl19["splits"], dl19["remove_own"]) == ("dl19", ["trec-dl-2019/judged"], False)
    assert dl19["documents"] == [["0", "", "fleas jump"], ["1", "", "dogs bark"]]
    assert (dl19["topics"], dl19["qrels"]) == ({"19335": "fleas"}, {"19335": {"0": 3}})
    assert (dev["name"], dev["splits"], dev["topics"]) == ("msmarco-passage", ["dev/small"], {"2": "dogs"})
    assert first == second


def test_a_placed_collection_is_not_deleted(ask, tmp_path):
    folder = msmarco(tmp_path)
    error = ask("attempt(lambda: load_collection('irds:msmarco-passage/dev/small'))")
    assert error[0] == "InputError"
    assert "ir_datasets would delete it" in error[1]
    assert "irds_version.txt" in error[3]
    assert (folder / "collection.tsv").read_text() == "0\tfleas jump\n1\tdogs bark\n"


def test_without_a_network_the_file_to_place_is_named(ask, tmp_path):
    nfcorpus, dl19 = ask("[summary('irds:beir/nfcorpus/test'), summary('irds:msmarco-passage/trec-dl-2019')]")
    place = tmp_path / "irds" / "beir" / "nfcorpus" / "source.zip"
    for part in ("topics", "qrels", "documents"):
        kind, found, expected, remedy = nfcorpus[part]
        assert kind == "MissingResourceError"
        assert "BEIR/datasets/nfcorpus.zip could not be fetched" in found
        assert expected == f"the file {place} (md5 a89dba18a62ef92f7d323ec890a0d38d)"
        assert str(place) in remedy
    home = tmp_path / "irds" / "msmarco-passage"
    assert str(home / "trec-dl-2019" / "qrels") in dl19["qrels"][2]
    assert str(home / "collectionandqueries.tar.gz") in dl19["documents"][2]


def test_a_small_download_that_ir_datasets_keeps_no_copy_of(ask, tmp_path):
    qrels = tmp_path / "irds" / "msmarco-passage" / "trec-dl-2019" / "qrels"
    qrels.parent.mkdir(parents=True)
    qrels.write_text("19335 Q0 0 3\n")
    code = "attempt(load_collection('irds:msmarco-passage/trec-dl-2019').topics)"
    kind, _, expected, remedy = ask(code)
    place = tmp_path / "irds" / "downloads" / "eda71eccbe4d251af83150abe065368c"
    assert kind == "MissingResourceError"
    assert str(place) in expected
    assert remedy.endswith("set IR_DATASETS_SMALL_FILE_SIZE=0")
    code = "import ir_datasets\nfiles = ir_datasets.util.DownloadConfig.context('msmarco-passage')"
    code += "\n[type(mirror).__name__ for mirror in files['trec-dl-2019/queries'].mirrors]"
    assert ask(code) == ["RequestsDownload"]
    assert ask(code, IR_DATASETS_SMALL_FILE_SIZE="0") == ["LocalDownload", "RequestsDownload"]


def test_data_that_has_to_be_asked_for(ask, tmp_path):
    kind, _, expected, remedy = ask("attempt(lambda: list(load_collection('irds:disks45/nocr').documents()))")
    assert kind == "MissingResourceError"
    assert str(tmp_path / "irds" / "disks45") in expected
    assert remedy == "read how to get it: https://ir-datasets.com/disks45.html"


def test_an_unknown_id_names_the_nearest(ask):
    kind, found, expected, remedy = ask("attempt(lambda: load_collection('irds:beir/scifct/test'))")
    assert (kind, found, remedy) == (
        "InputError",
        "unknown collection 'irds:beir/scifct/test'",
        "irds:beir/scifact/test",
    )
    assert "beir/scifact/test" in expected
    assert "in all" in ask("attempt(lambda: load_collection('irds:'))")[2]


def test_a_broken_download(ask, tmp_path):
    source = tmp_path / "irds" / "beir" / "scifact" / "source.zip"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"PK\x03\x04 not a zip")
    scifact = ask("summary('irds:beir/scifact/test')")
    for part in ("topics", "documents"):
        kind, found, _, remedy = scifact[part]
        assert kind == "InputError"
        assert f"cannot read its {part} (BadZipFile" in found
        assert str(tmp_path / "irds" / "beir") in remedy


def test_scifact_is_the_same_through_ir_datasets(ask, tmp_path, test_data):
    folder = test_data / "beir" / "scifact"
    source = tmp_path / "irds" / "beir" / "scifact" / "source.zip"
    source.parent.mkdir(parents=True)
    with zipfile.ZipFile(source, "w") as packed:
        packed.writestr("scifact/corpus.jsonl", open_bytes(folder / "corpus.jsonl.gz").read())
        packed.write(folder / "queries.jsonl", "scifact/queries.jsonl")
        for split in ("train", "test"):
            packed.write(folder / "qrels" / f"{split}.tsv", f"scifact/qrels/{split}.tsv")
    mine = load_collection(folder)
    theirs = ask("summary('irds:beir/scifact/test')")
    assert (theirs["name"], theirs["remove_own"], theirs["splits"]) == ("scifact", True, ["test"])
    assert theirs["topics"] == {key: topic.text for key, topic in mine.topics("test").items()}
    assert theirs["qrels"] == mine.qrels("test")
    assert theirs["documents"] == [[one.doc_id, one.title, one.text] for one in mine.documents()]
