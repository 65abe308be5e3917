from __future__ import annotations

import gzip
import json
import logging

import pytest

from expandr_ir.collections import SplitReport, load_collection
from expandr_ir.errors import InputError
from expandr_ir.records import Document, Topic

CORPUS = [
    {"_id": "007", "title": "Fleas", "text": "They jump."},
    {"_id": "7", "text": "Dogs bark.", "metadata": {}},
    {"_id": "D3", "title": None, "text": ""},
]
QUERIES = [{"_id": "q2", "text": "dogs"}, {"_id": "001", "text": "fleas"}, {"_id": "q3", "text": "cats"}]
TEST_QRELS = "query-id\tcorpus-id\tscore\n001\t007\t2\nq2\t7\t1\nz9\t7\t1\n"
TRAIN_QRELS = "query-id\tcorpus-id\tscore\nq3\tD3\t0\n"


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    """A BEIR folder with the splits test and train."""
    path = tmp_path / "pets"
    (path / "qrels").mkdir(parents=True)
    (path / "corpus.jsonl").write_text(lines(CORPUS))
    (path / "queries.jsonl").write_text(lines(QUERIES))
    (path / "qrels" / "test.tsv").write_text(TEST_QRELS)
    (path / "qrels" / "train.tsv").write_text(TRAIN_QRELS)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_beir_folder(folder):
    pets = load_collection(folder)
    assert (pets.name, pets.spec, pets.index_name, pets.remove_own_document) == ("pets", str(folder), None, False)
    assert list(pets.documents()) == [
        Document("007", "Fleas", "They jump."),
        Document("7", "", "Dogs bark."),
        Document("D3", "", ""),
    ]
    assert pets.splits() == ["test", "train"]
    assert pets.default_split == "test"
    assert pets.topics() == {"q2": Topic("q2", "dogs"), "001": Topic("001", "fleas")}
    assert list(pets.topics("test")) == ["q2", "001"]
    assert pets.topics("train") == {"q3": Topic("q3", "cats")}
    assert pets.qrels() == {"001": {"007": 2}, "q2": {"7": 1}, "z9": {"7": 1}}
    assert pets.qrels("train") == {"q3": {"D3": 0}}
    assert pets.report() == SplitReport("test", 2, 1, 1, 3)
    assert repr(pets) == f"<BeirFolder pets: {folder}>"
    with pytest.raises(InputError, match=r"unknown split of .*'tset'[\s\S]*test, train[\s\S]*Try: test"):
        pets.topics("tset")


def test_gzipped_parts_are_the_same_collection(folder):
    plain = load_collection(folder)
    expected = list(plain.documents()), plain.topics(), plain.qrels(), plain.splits()
    for path in [*folder.glob("*.jsonl"), *folder.glob("qrels/*.tsv")]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = load_collection(folder)
    assert (list(packed.documents()), packed.topics(), packed.qrels(), packed.splits()) == expected


@pytest.mark.parametrize(
    ("name", "splits", "default"),
    [
        ("pets", ["dev", "test", "train"], "test"),
        ("msmarco", ["dev", "test", "train"], "dev"),
        ("pets", ["dl19.full"], "dl19.full"),
        ("pets", [], None),
    ],
)
def test_default_split(folder, name, splits, default):
    for path in (folder / "qrels").iterdir():
        path.unlink()
    for split in splits:
        (folder / "qrels" / f"{split}.tsv").write_text(TEST_QRELS)
    collection = load_collection(folder.rename(folder.with_name(name)))
    assert collection.splits() == splits
    assert collection.default_split == default


def test_judgements_as_json_lines_and_files_that_are_none(folder, caplog):
    qrels = folder / "qrels"
    rows = [
        dict(zip(("query-id", "corpus-id", "score"), row.split("\t"), strict=True))
        for row in TEST_QRELS.split("\n")[1:-1]
    ]
    expected = load_collection(folder).qrels("test")
    (qrels / "test.tsv").unlink()
    (qrels / "test.jsonl").write_text(lines(rows))
    (qrels / "dev.jsonl.gz").write_bytes(gzip.compress(lines(rows).encode()))
    pets = load_collection(folder)
    assert pets.splits() == ["dev", "test", "train"]
    assert pets.qrels("test") == pets.qrels("dev") == expected
    assert caplog.messages == []
    for name in ("test.tsv", "test.json", "old.txt", ".hidden"):
        (qrels / name).write_text(TRAIN_QRELS)
    assert load_collection(folder).qrels("test") == {"q3": {"D3": 0}}
    assert caplog.messages == [f"{qrels}: not read as judgements: old.txt, test.json, test.jsonl"]


def test_several_splits_without_a_default_are_listed(folder):
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "dev.tsv")
    pets = load_collection(folder)
    for ask in (pets.topics, pets.qrels, pets.report):
        with pytest.raises(InputError, match="has the splits dev, train, and none of them is its default"):
            ask()
    assert len(pets.topics("dev")) == 2


def test_nothing_judged_means_all_topics(folder):
    for path in (folder / "qrels").iterdir():
        path.unlink()
    (folder / "qrels").rmdir()
    pets = load_collection(folder)
    assert list(pets.topics()) == ["q2", "001", "q3"]
    assert pets.report() == SplitReport(None, 0, 3, 0, 0)
    for ask in (pets.qrels, lambda: pets.topics("test")):
        with pytest.raises(InputError, match="has no judgements"):
            ask()


def test_qrels_of_other_topics_name_examples(folder):
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nother\t7\t1\n")
    with pytest.raises(
        InputError, match=r"split test: no topic has judgements; topics are q2, 001, q3, judged are other"
    ):
        load_collection(folder).topics()


@pytest.mark.parametrize("part", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_part_is_named(folder, part):
    (folder / part).unlink()
    with pytest.raises(InputError, match=f"has no {part}, and no {part}.gz"):
        load_collection(folder)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (lines([*CORPUS, {"_id": "7", "text": "x"}]), r"line 4: document '7' a second time; the first is .*line 2"),
        ("\n" + lines([CORPUS[0], CORPUS[0]]), r"line 3: document '007' a second time; the first is .*line 2"),
        (lines([{"text": "x"}]), r"line 1: no field '_id'"),
        (lines([{"_id": "", "text": "x"}]), r"line 1: an empty id"),
        (lines([{"_id": "a b", "text": "x"}]), r"line 1: white space in the id 'a b'"),
        (lines([{"_id": "1", "title": "x"}]), r"line 1: no field 'text'"),
        (lines([{"_id": "1", "title": ["x"], "text": "x"}]), r"line 1: 'title' is a list"),
        ("\n\n", r"no documents"),
    ],
)
def test_a_bad_corpus_names_file_and_line(folder, corpus, message):
    (folder / "corpus.jsonl").write_text(corpus)
    with pytest.raises(InputError, match=message):
        list(load_collection(folder).documents())


def test_a_count_that_is_not_the_published_one_is_said(folder, caplog):
    scifact = load_collection(folder.rename(folder.with_name("scifact")))
    assert scifact.remove_own_document
    assert repr(scifact).endswith("scifact, 5,183 documents>")
    with caplog.at_level(logging.WARNING):
        assert len(list(scifact.documents())) == 3
    assert "3 documents, but scifact is published with 5183" in caplog.text


def test_the_fingerprint_follows_the_content(folder, home):
    first = load_collection(folder).fingerprint()
    assert len(first) == 64
    assert load_collection(folder).fingerprint() == first
    assert len(list((home / "fingerprints").iterdir())) == 1
    (folder / "queries.jsonl").write_text(lines(QUERIES[:1]))
    assert load_collection(folder).fingerprint() == first
    (folder / "corpus.jsonl").write_text(lines(CORPUS[:2]))
    assert load_collection(folder).fingerprint() != first
    copy = folder.rename(folder.with_name("copy"))
    (copy / "corpus.jsonl").write_text(lines(CORPUS))
    assert load_collection(copy).fingerprint() == first


@pytest.mark.parametrize(
    ("spec", "nearest"),
    [
        ("scifct", "irds:beir/scifact"),
        ("beir/scifact", "expandr download beir/scifact, or irds:beir/scifact"),
        ("beir/scifct", "irds:beir/scifact"),
        ("Demo", "demo"),
        ("msmarco-passages", "irds:msmarco-passage"),
    ],
)
def test_an_unknown_collection_names_the_nearest(spec, nearest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no folder, not demo, and starts neither with irds: nor") as caught:
        load_collection(spec)
    assert caught.value.remedy == nearest


def test_a_mistyped_folder_names_the_one_beside_it(folder):
    with pytest.raises(InputError) as caught:
        load_collection(folder.with_name("pest"))
    assert caught.value.remedy == str(folder)
    with pytest.raises(InputError, match="it is a file"):
        load_collection(folder / "corpus.jsonl")


class Named:
    """A collection of another package."""

    def __init__(self, name):
        self.name = name


def test_an_installed_package_adds_a_scheme(monkeypatch):
    from importlib.metadata import EntryPoint

    point = EntryPoint("mine", f"{__name__}:Named", "expandr_ir.collections")
    monkeypatch.setattr("expandr_ir.registry.entry_points", lambda group: [point] if group == point.group else [])
    assert load_collection("mine:some/name").name == "some/name"
    assert load_collection("mine").name == ""
