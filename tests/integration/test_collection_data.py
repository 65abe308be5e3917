"""The real collections and expansion files give the counts they are known by."""

from __future__ import annotations

import pytest

from expandr_ir.collections import SplitReport, load_collection
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.topics import read_topics


@pytest.mark.parametrize(
    ("folder", "split", "documents", "report"),
    [
        ("beir/scifact", "test", 5183, SplitReport("test", 300, 809, 0, 339)),
        ("beir/scifact", "train", 5183, SplitReport("train", 809, 300, 0, 919)),
        ("classic/cacm", None, 3204, SplitReport("test", 52, 12, 0, 796)),
        ("classic/cranfield", None, 1400, SplitReport("test", 225, 0, 0, 1837)),
        ("msmarco-dl-pool", "dl19.full", 30005, SplitReport("dl19.full", 43, 54, 0, 9260)),
        ("msmarco-dl-pool", "dl20.pool", 30005, SplitReport("dl20.pool", 54, 43, 0, 5148)),
    ],
)
def test_counts(test_data, caplog, folder, split, documents, report):
    collection = load_collection(test_data / folder)
    assert sum(1 for _ in collection.documents()) == documents
    assert caplog.text == ""
    assert collection.report(split) == report
    assert len(collection.topics(split)) == report.topics
    assert (split or collection.default_split) in collection.splits()
    assert collection.remove_own_document == folder.startswith("beir/")


FILES = {
    ("beir/scifact", "test"): "scifact",
    ("beir/scifact", "train"): "scifact-train",
    ("msmarco-dl-pool", "dl19.full"): "dl19",
    ("msmarco-dl-pool", "dl20.full"): "dl20",
}


@pytest.mark.parametrize(("collection", "folder"), FILES.items())
def test_every_expansions_file_reads(test_data, collection, folder):
    topics = load_collection(test_data / collection[0]).topics(collection[1])
    files = sorted((test_data / "expansions" / folder).glob("*.jsonl.gz"))
    assert files
    for path in files:
        found = read_expansions(path, topics)
        assert list(found) == list(topics)
        assert (found.missing, found.counts["failed"], found.counts["other_rows"]) == ((), 0, 0)
        samples = 8 if path.name.startswith("hyde") else 1
        assert {len(topic.expansions) for topic in found.values()} == {samples}


def test_empty_expansions_are_counted(test_data):
    topics = load_collection(test_data / "beir" / "scifact").topics("test")
    found = read_expansions(test_data / "expansions/scifact/query2doc-cot.Qwen2.5-7B-Instruct.jsonl.gz", topics)
    assert found.counts["empty"] == 29
    assert all(topic.query_repeats for topic in found.values())


def test_searched_texts_are_topics(test_data):
    path = test_data / "expansions/scifact/query2doc-zs.gpt-4.1.jsonl.gz"
    searched = read_topics(path, field="searched")
    topics = load_collection(test_data / "beir" / "scifact").topics("test")
    expanded = read_expansions(path, topics)
    assert searched.keys() == topics.keys()
    assert expanded["907"].expansions[0].extra == {"searched": searched["907"].text}
    assert searched["907"].text == " ".join([topics["907"].text] * 5 + [expanded["907"].expansions[0].text])
