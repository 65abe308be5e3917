"""The demo's tour, its answers to single questions, and the command in front of them."""

from __future__ import annotations

import json

import pytest

from expandr_ir.cli import main
from expandr_ir.cli.demo import MEASURES, DemoOptions, answer, tour
from expandr_ir.config import GeneratorConfig
from expandr_ir.demo import expansions_path
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.io.manifest import read_manifest
from expandr_ir.io.runs import read_run

pytestmark = pytest.mark.java

SPARSE = ("bm25+append", "bm25+repeat", "bm25+adaptive")
DENSE = ("minilm", "minilm+mean", "hybrid")


@pytest.fixture
def ask(tmp_path):
    def ask(question, generator, hits):
        store = str(tmp_path / "store.sqlite") if generator else None
        return answer(DemoOptions(ask=question, generator=generator, hits=hits, store=store))

    return ask


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_tour(tmp_path):
    comparison = tour(tmp_path / "runs", dense=True)
    assert [run.name for run in comparison.runs] == [*SPARSE, *DENSE]
    scores = {run.name: run.scores.means["nDCG@10"] for run in comparison.runs}
    assert scores["minilm+mean"] > scores["minilm"] > comparison.baseline.means["nDCG@10"]
    assert scores["hybrid"] > max(scores["bm25+append"], scores["minilm+mean"])
    assert read_manifest(tmp_path / "runs" / "hybrid.run").details["dense"]["encoder"]


def test_the_tour_writes_its_runs_and_compares_them(tmp_path):
    comparison = tour(tmp_path / "runs", dense=False)
    assert comparison.measures == MEASURES
    assert [run.name for run in comparison.runs] == list(SPARSE)
    assert comparison.topics == 153
    shown = [run for run in comparison.runs if run.helped or run.hurt]
    assert len(shown) == 1
    assert shown[0].scores.means["nDCG@10"] == max(run.scores.means["nDCG@10"] for run in comparison.runs)
    assert len(shown[0].helped) == len(shown[0].hurt) == 3
    assert all(change.text and len(change.expansions) == 2 for change in (*shown[0].helped, *shown[0].hurt))
    for name in ("bm25", *SPARSE):
        path = tmp_path / "runs" / f"{name}.run"
        assert len(read_run(path)) == 153
        manifest = read_manifest(path)
        assert manifest.describes(path)
        assert manifest.counts["topics"] == 153
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


def test_a_question_alone(ask):
    answer = ask("number of elements of a sequence", None, 3)
    assert answer.expanded.expansions == ()
    assert [hit.rank for hit, _ in answer.hits] == [1, 2, 3]
    assert all(hit.doc_id == document.doc_id for hit, document in answer.hits)


def test_a_question_that_finds_nothing(ask, capsys):
    assert ask("the of", None, 3).hits == ()
    assert main(["demo", "--ask", "the of"]) == 0
    assert capsys.readouterr().out == "nothing was found\n"


def test_a_question_that_an_llm_expands(ask, tmp_path, capsys):
    text = "heapq merge: several sorted inputs become a single sorted output"
    recorded = tmp_path / "recorded.jsonl"
    recorded.write_text(json.dumps({"topic_id": "ask", "text": text}) + "\n")
    answer = ask("combine ordered lists", GeneratorConfig("replay", str(recorded)), 20)
    assert [one.text for one in answer.expanded.expansions] == [text]
    assert "heapq.merge" in {hit.doc_id for hit, _ in answer.hits}
    assert answer.hits != ask("combine ordered lists", None, 20).hits
    given = [
        "--ask",
        "combine ordered lists",
        "--generator",
        f"replay:{recorded}",
        "--store",
        str(tmp_path / "store.sqlite"),
        "--hits",
        "2",
    ]
    assert main(["demo", *given, "--store", str(tmp_path / "store.sqlite")]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"  | {text}\n\n1. ")
    assert "\n2. " in out
    assert "\n3. " not in out


def test_what_is_said_to_an_llm_needs_one(capsys):
    assert main(["demo", "--ask", "merge sorted lists", "--samples", "3"]) == 2
    assert "--samples says something to an LLM, and none is named" in capsys.readouterr().err


def test_an_llm_that_writes_nothing_and_a_blank_question(ask):
    with pytest.raises(ExpandrError, match="none of the 1 topics got an expansion"):
        ask("combine ordered lists", GeneratorConfig("replay", str(expansions_path())), 5)
    with pytest.raises(InputError, match="the question is blank"):
        ask(" ", None, 5)
