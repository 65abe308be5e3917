"""Exported topics give stock Pyserini's search the run that `expandr search` gives."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from expandr_ir import pyserini
from expandr_ir.aggregate import TEXTUAL
from expandr_ir.demo import expansions_path
from expandr_ir.io.runs import read_run

pytestmark = pytest.mark.java


@pytest.fixture
def stock(monkeypatch):
    """Runs Pyserini's own search; returns topic_id -> doc_ids."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))

    def search(index, topics, output, *more):
        arguments = ["search.lucene", "--index", index, "--topics", topics, "--output", output, "--hits", "1000"]
        assert pyserini.main([*arguments, "--batch-size", "64", "--threads", "2", *more]) == 0
        return ids(output)

    return search


def ids(run):
    return {topic_id: hits.doc_ids for topic_id, hits in read_run(Path(run)).items()}


@pytest.mark.slow  # Pyserini reads one stored field a hit
@pytest.mark.parametrize("aggregation", sorted(TEXTUAL))
def test_the_run_is_the_same_for_every_aggregation_that_is_a_text(expandr, tmp_path, stock, aggregation):
    given = ["--collection", "demo", "--expansions", expansions_path(), "--aggregation", aggregation]
    index = expandr("index", "--collection", "demo").out.splitlines()[0]
    expandr("search", *given, "--output", "ours.run")
    expandr("export", "topics", *given, "--output", "topics.json")
    theirs = stock(index, str(tmp_path / "topics.json"), str(tmp_path / "theirs.run"))
    ours = ids(tmp_path / "ours.run")
    assert len(ours) == 153
    assert theirs == ours


def test_ids_line_breaks_and_own_documents_survive(expandr, tmp_path, stock):
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    texts = {"007": "cats\nand \t dogs", "1e3": "ein Fuß, ünïcödé", "a.b": "cats again"}
    rows = [json.dumps({"_id": doc_id, "text": text}) + "\n" for doc_id, text in texts.items()]
    (folder / "corpus.jsonl").write_text("".join(rows))
    (folder / "queries.jsonl").write_text("".join(rows))
    judged = "".join(f"{topic_id}\ta.b\t1\n" for topic_id in texts)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    expanded = [
        json.dumps({"topic_id": topic_id, "text": f"{text}\r\nFuß und \U0001f600 cats"}) + "\n"
        for topic_id, text in texts.items()
    ]
    (tmp_path / "e.jsonl").write_text("".join(expanded))
    given = ["--collection", folder, "--expansions", "e.jsonl"]
    index = expandr("index", "--collection", folder).out.splitlines()[0]
    expandr("export", "topics", *given, "--output", "topics.json")
    for choice, more in {"keep": [], "remove": ["--remove-query"]}.items():
        expandr("search", *given, "--own-document", choice, "--output", "ours.run")
        theirs = stock(index, str(tmp_path / "topics.json"), str(tmp_path / "theirs.run"), *more)
        assert theirs == ids(tmp_path / "ours.run")
        assert all((one in found) == (choice == "keep") for one, found in theirs.items())


def test_weights_have_no_text_and_the_export_says_so(expandr, tmp_path):
    given = ["--collection", "demo", "--expansions", expansions_path(), "--aggregation", "weighted"]
    done = expandr("export", "topics", *given, "--output", "topics.json", code=2)
    assert "'weighted' weights terms and has no form as a text" in done.err
    assert "Try: expandr search" in done.err
    assert list(tmp_path.iterdir()) == []
    done = expandr("export", "topics", "--collection", "demo", "--output", "topics.tsv", code=2)
    assert "ends in .json" in done.err
