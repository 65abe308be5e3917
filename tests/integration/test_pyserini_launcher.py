"""Pyserini's own commands under this package's Java: the same run, and trec_eval's child process finds Java."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from expandr_ir.records import Document
from expandr_ir.retrievers.lucene.indexing import build_index
from expandr_ir.retrievers.lucene.searcher import LuceneSearcher

pytestmark = [pytest.mark.java, pytest.mark.slow]

DOCUMENTS = [Document(f"{number:03}", f"Title {number % 7}", f"words {'cat ' * (number % 5)}") for number in range(300)]
TOPICS = {"007": "cats and a title 3", "é": "words\n😀 cat", "8": "nothing found here", "9": "title 4 4 4"}


def launch(*arguments, **environment):
    given = {
        key: value for key, value in os.environ.items() if key not in {"OPENAI_API_KEY", "JAVA_HOME"}
    } | environment
    command = [sys.executable, "-m", "expandr_ir.pyserini", *map(str, arguments)]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=280, check=False)


def test_the_run_is_ours_byte_for_byte_and_trec_eval_finds_java(tmp_path):
    index = build_index(DOCUMENTS, "flat", tmp_path / "index", "f")
    (tmp_path / "topics.json").write_text(json.dumps({topic_id: {"title": text} for topic_id, text in TOPICS.items()}))
    result = launch(
        "search.lucene", "--index", index.path, "--topics", tmp_path / "topics.json", "--output", tmp_path / "run.txt",
        "--batch-size", "64", "--threads", "2", "--hits", "250",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    ours = [  # Pyserini sorts topics by id
        f"{topic_id} Q0 {hit.doc_id} {hit.rank} {hit.score:.6f} Anserini\n"
        for topic_id, hits in sorted(LuceneSearcher(index).search(TOPICS, hits=250).items())
        for hit in hits
    ]
    assert (tmp_path / "run.txt").read_text(encoding="utf-8") == "".join(ours)
    (tmp_path / "qrels").write_text("007 0 003 1\n")
    evaluate = ("eval.trec_eval", "-m", "num_rel", tmp_path / "qrels", tmp_path / "run.txt")
    result = launch(*evaluate, PATH="/nowhere")
    assert (result.returncode, "num_rel" in result.stdout) == (0, True), result.stderr
    assert launch("search.lucene", "--no-such-option").returncode == 2


def test_the_placeholder_key_is_gone_when_the_command_runs():
    code = (
        "import os, runpy\n"
        "from expandr_ir import pyserini\n"
        "runpy.run_module = lambda *_, **__: print(os.environ.get('OPENAI_API_KEY'))\n"
        "pyserini.run('search.lucene', [])\n"
    )
    given = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    result = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert result.stdout == "None\n", result.stderr
