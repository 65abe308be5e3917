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


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return build_index(DOCUMENTS, "flat", tmp_path_factory.mktemp("launcher") / "index", "f")


@pytest.fixture(scope="module")
def run_file(index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "topics.json").write_text(json.dumps({topic_id: {"title": text} for topic_id, text in TOPICS.items()}))
    result = launch(
        "search.lucene", "--index", index.path, "--topics", folder / "topics.json", "--output", folder / "run.txt",
        "--batch-size", "64", "--threads", "2", "--hits", "250",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder / "run.txt"


def test_the_run_is_ours_byte_for_byte(index, run_file):
    ours = [  # Pyserini sorts topics by id
        f"{topic_id} Q0 {hit.doc_id} {hit.rank} {hit.score:.6f} Anserini\n"
        for topic_id, hits in sorted(LuceneSearcher(index).search(TOPICS, hits=250).items())
        for hit in hits
    ]
    assert run_file.read_text(encoding="utf-8") == "".join(ours)


def test_trec_eval_finds_java(run_file, tmp_path):
    (tmp_path / "qrels").write_text("007 0 003 1\n")
    result = launch("eval.trec_eval", "-m", "num_rel", tmp_path / "qrels", run_file, PATH="/nowhere")
    assert result.returncode == 0, result.stderr
    assert "num_rel" in result.stdout


def test_the_placeholder_key_is_gone_when_the_command_runs(tmp_path):
    result = launch("search.lucene", "--help")
    assert result.returncode == 0, result.stderr
    assert "--topics" in result.stdout
    code = (
        "import os, runpy\n"
        "from expandr_ir import pyserini\n"
        "runpy.run_module = lambda *_, **__: print(os.environ.get('OPENAI_API_KEY'))\n"
        "pyserini.run('search.lucene', [])\n"
    )
    given = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    result = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert result.stdout == "None\n", result.stderr


def test_exit_codes_of_the_command_are_passed_on():
    assert launch("search.lucene", "--no-such-option").returncode == 2
