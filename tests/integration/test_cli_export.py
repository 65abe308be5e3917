"""Exported topics give stock Pyserini's search the run that `expandr search` gives."""

from __future__ import annotations

import json
import sys

import pytest

from expandr_ir import pyserini
from expandr_ir.aggregate import TEXTUAL
from expandr_ir.demo import expansions_path, topics
from expandr_ir.io.runs import read_run

pytestmark = pytest.mark.java


@pytest.fixture
def both(expandr, monkeypatch):
    """The same search by us and, with exported topics, by Pyserini itself: topic_id -> doc_ids of each."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))

    def search(collection, *given, own_document="auto", theirs=()):
        given = ["--collection", collection, *given]
        index = expandr("index", "--collection", collection).out.splitlines()[0]
        expandr("search", *given, "--own-document", own_document, "--output", "ours.run")
        expandr("export", "topics", *given, "--output", "topics.json")
        stock = ["search.lucene", "--index", index, "--topics", "topics.json", "--output", "theirs.run", *theirs]
        assert pyserini.main([*stock, "--hits", "1000", "--batch-size", "64", "--threads", "2"]) == 0
        runs = [read_run("ours.run"), read_run("theirs.run")]
        return [{topic_id: hits.doc_ids for topic_id, hits in run.items()} for run in runs]

    return search


@pytest.mark.parametrize("aggregation", sorted(TEXTUAL))
def test_the_run_is_the_same_for_every_aggregation_that_is_a_text(both, tmp_path, aggregation):
    few = list(topics().items())[:15]  # Pyserini reads one stored field a hit
    (tmp_path / "few.tsv").write_text("".join(f"{topic_id}\t{topic.text}\n" for topic_id, topic in few))
    expanded = ["--expansions", expansions_path(), "--aggregation", aggregation]
    ours, theirs = both("demo", "--topics", "few.tsv", *expanded)
    assert len(ours) == 15
    assert theirs == ours


def test_ids_line_breaks_and_own_documents_survive(both, tmp_path):
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    texts = {"007": "cats\nand \t dogs", "1e3": "ein Fuß, ünïcödé", "a.b": "cats again"}
    rows = "".join(json.dumps({"_id": doc_id, "text": text}) + "\n" for doc_id, text in texts.items())
    (folder / "corpus.jsonl").write_text(rows)
    (folder / "queries.jsonl").write_text(rows)
    judged = "".join(f"{topic_id}\ta.b\t1\n" for topic_id in texts)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    expanded = ({"topic_id": topic_id, "text": f"{text}\r\nFuß \U0001f600 cats"} for topic_id, text in texts.items())
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in expanded))
    for choice, options in {"keep": [], "remove": ["--remove-query"]}.items():
        ours, theirs = both(folder, "--expansions", "e.jsonl", own_document=choice, theirs=options)
        assert theirs == ours
        assert all((topic_id in doc_ids) == (choice == "keep") for topic_id, doc_ids in ours.items())


def test_weights_have_no_text_and_the_export_says_so(expandr, tmp_path):
    given = ["--collection", "demo", "--expansions", expansions_path(), "--aggregation", "weighted"]
    done = expandr("export", "topics", *given, "--output", "topics.json", code=2)
    assert "'weighted' weights terms and has no form as a text" in done.err
    assert "Try: expandr search" in done.err
    assert list(tmp_path.iterdir()) == []
    done = expandr("export", "topics", "--collection", "demo", "--output", "topics.tsv", code=2)
    assert "ends in .json" in done.err
