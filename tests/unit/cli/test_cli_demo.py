"""The demo's tour, its answers to single questions, and the command in front of them."""

from __future__ import annotations

import json

import pytest

from expandr_ir.cli import main
from expandr_ir.cli.demo import MEASURES, tour
from expandr_ir.demo import expansions_path
from expandr_ir.io.manifest import read_manifest
from expandr_ir.io.runs import read_run

pytestmark = pytest.mark.java

SPARSE = ["bm25+append", "bm25+repeat", "bm25+adaptive"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_tour(tmp_path):
    comparison = tour(tmp_path, dense=True)
    scores = {run.name: run.scores.means["nDCG@10"] for run in comparison.runs}
    assert list(scores) == [*SPARSE, "minilm", "minilm+mean", "hybrid"]
    assert scores["minilm+mean"] > scores["minilm"] > comparison.baseline.means["nDCG@10"]
    assert scores["hybrid"] > max(scores["bm25+append"], scores["minilm+mean"])
    assert read_manifest(tmp_path / "hybrid.run").details["dense"]["encoder"]


def test_the_tour_writes_its_runs_and_compares_them(tmp_path):
    comparison = tour(tmp_path, dense=False)
    assert (comparison.measures, comparison.topics) == (MEASURES, 153)
    assert [run.name for run in comparison.runs] == SPARSE
    (best,) = (run for run in comparison.runs if run.helped or run.hurt)
    assert best.scores.means["nDCG@10"] == max(run.scores.means["nDCG@10"] for run in comparison.runs)
    assert len(best.helped) == len(best.hurt) == 3
    assert all(change.text and len(change.expansions) == 2 for change in (*best.helped, *best.hurt))
    for name in ("bm25", *SPARSE):
        path = tmp_path / f"{name}.run"
        manifest = read_manifest(path)
        assert manifest.describes(path)
        assert len(read_run(path)) == manifest.counts["topics"] == 153
        assert ("expansions" in manifest.inputs) == (name != "bm25")


def test_the_command_prints_a_table_and_examples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--dense", "false"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("nDCG@10")
    assert out.count("helped most") == out.count("hurt most") == 1
    assert "no topic" not in out
    assert "the runs are in runs/demo" in err
    assert (tmp_path / "runs" / "demo" / "bm25.run").is_file()


@pytest.fixture
def ask(tmp_path, capsys):
    def ask(question, *options, code=0):
        assert main(["demo", "--ask", question, *options]) == code
        return capsys.readouterr().err if code else capsys.readouterr().out

    return ask


def test_a_question_alone(ask):
    ranks = [line.split()[0] for line in ask("number of elements of a sequence", "--hits", "3").splitlines()[::2]]
    assert ranks == ["1.", "2.", "3."]
    assert ask("the of") == "nothing was found\n"


def test_a_question_that_an_llm_expands(ask, tmp_path):
    text = "heapq merge: several sorted inputs become a single sorted output"
    (tmp_path / "recorded.jsonl").write_text(json.dumps({"topic_id": "ask", "text": text}))
    llm = ["--generator", f"replay:{tmp_path / 'recorded.jsonl'}", "--store", str(tmp_path / "store.sqlite")]
    expanded, plain = ask("combine ordered lists", *llm), ask("combine ordered lists")
    assert expanded.startswith(f"  | {text}\n\n1. heapq.merge ")
    assert "1. heapq.merge" not in plain


def test_questions_that_cannot_be_asked(ask):
    assert "the question is blank" in ask(" ", code=2)
    assert "--samples says something to an LLM, and none is named" in ask("merge lists", "--samples", "3", code=2)
    told = ask("combine ordered lists", "--generator", f"replay:{expansions_path()}", code=6)
    assert "none of the 1 topics got an expansion" in told
