"""`expandr regress` on real collections: what holds, what does not, and what is left alone."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from expandr_ir import jvm
from expandr_ir.config import regressions_dir
from expandr_ir.encoders import encoder_config
from expandr_ir.io.runs import read_run
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.results import read_results
from expandr_ir.regress.reuse import model_sha256

pytestmark = [pytest.mark.java, pytest.mark.timeout(900)]

QUICK = ("bm25-flat", "query2doc-zs.gpt-4.1", "csqe.Qwen2.5-7B-Instruct")


@pytest.fixture
def regress(expandr, test_data):
    """Runs `expandr regress --format json` on the real data, and returns what it printed."""

    def run(*argv, code=0, data=test_data, expansions=test_data / "expansions", output="out"):
        where = ["--data", data, "--expansions", expansions, "--output", output]
        done = expandr("regress", *argv, *where, "--format", "json", code=code)
        return json.loads(done.out) if done.out else done

    return run


@pytest.fixture
def own(tmp_path):
    """A copy of the regressions to break."""
    return shutil.copytree(regressions_dir(), tmp_path / "regressions")


def conditions(*names):
    return [word for name in names for word in ("--condition", name)]


def verdicts(told):
    return {(one["condition"], value["metric"]): value["verdict"] for one in told["results"] for value in one["values"]}


def test_figures_hold_and_the_second_time_nothing_is_done(regress, workplace, monkeypatch):
    told = regress("--collection", "scifact", *conditions(*QUICK))
    assert set(verdicts(told).values()) <= {"OK", "NEW"}
    assert verdicts(told)["bm25-flat", "R@1000"] == "OK"
    assert told["runs"]["searched"] == 3

    before = {path: path.stat().st_mtime_ns for path in (workplace / "out").rglob("*.run*")}
    monkeypatch.setattr(jvm, "start", None)
    started = time.perf_counter()
    again = regress("--collection", "scifact", *conditions(*QUICK))
    assert time.perf_counter() - started < 3
    assert (again["runs"]["searched"], again["runs"]["kept"]) == (0, 3)
    assert again["results"] == told["results"]
    assert {path: path.stat().st_mtime_ns for path in (workplace / "out").rglob("*.run*")} == before


def test_a_folder_of_results_lives_on(regress, expandr, workplace, test_data, caplog):
    argv = ["regress", "--collection", "cacm", *conditions("bm25-flat"), "--data", str(test_data), "--output", "out"]
    regress("--collection", "cacm", *conditions("bm25-flat"))
    code = (
        f"import sys; from expandr_ir.cli import main; main({argv!r}); "
        "print({'torch', 'jnius', 'pyserini', 'transformers'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "0 runs searched, 1 as they were" in done.stdout
    assert done.stdout.endswith("set()\n"), "nothing heavy is imported"

    run = workplace / "out" / "cacm" / "bm25-flat.run"
    content = run.read_bytes()
    run.write_bytes(content[:1000])
    expandr(*argv)
    assert "cacm/bm25-flat: searching (the run was changed since it was made)" in caplog.text
    assert run.read_bytes() == content

    last = regress("--collection", "dl20-pool", *conditions("bm25-flat"))
    assert [result.collection for result in read_results(workplace / "out").results] == ["cacm", "dl20-pool"]
    resumed = json.loads(expandr("regress", "--resume", "--output", "out", "--format", "json").out)
    assert resumed["results"] == last["results"]
    assert "takes all other options" in expandr("regress", "--resume", "--output", "out", "--tier", "near", code=2).err


def test_the_printed_command_gives_the_same_run(regress, expandr, workplace):
    told = regress("--collection", "scifact", *conditions("lamer.gpt-4.1"))
    (result,) = told["results"]
    made = read_run(workplace / "out" / result["run"])
    words = shlex.split(result["command"])
    words[-1] = "again.run"
    expandr(*words[1:])
    assert read_run(workplace / "again.run") == made


def test_a_broken_expected_value_fails(regress, own):
    path = own / "beir" / "scifact.yaml"
    text = path.read_text()
    assert text.count("bm25-flat: [0.6789,") == 1
    path.write_text(text.replace("bm25-flat: [0.6789,", "bm25-flat: [0.6788,"))
    told = regress("--collection", "scifact", *conditions("bm25-flat"), "--regressions", own, code=1)
    assert verdicts(told) == {
        ("bm25-flat", "nDCG@10"): "FAIL",
        ("bm25-flat", "R@100"): "OK",
        ("bm25-flat", "R@1000"): "OK",
    }
    assert told["results"][0]["values"][0]["reason"] == "0.0001 higher than 0.6788"


def test_changed_expansions_fail_missing_ones_are_skipped_and_empty_ones_counted(regress, test_data, tmp_path):
    name = "mugi.gpt-4.1"
    path = tmp_path / "own" / "scifact" / f"{name}.jsonl"
    path.parent.mkdir(parents=True)
    with gzip.open(test_data / "expansions" / "scifact" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]

    def run(rows, code):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        told = regress("--collection", "scifact", *conditions(name), expansions=path.parents[1], code=code)
        return told["results"][0], told["runs"]["searched"]

    assert run(rows, 0)[1] == 1
    result, searched = run([rows[0] | {"searched": "something else altogether"}, *rows[1:]], 1)
    assert (result["values"][0]["verdict"], searched) == ("FAIL", 1)
    result, _ = run(rows[3:], 0)
    assert result["values"][0]["verdict"] == "SKIP"
    assert result["values"][0]["reason"].startswith("expansions missing: 3 of 300 topics have none in ")
    result, _ = run([row | {"text": "", "searched": " "} for row in rows[:30]] + rows[30:], 1)
    assert result["empty"] == 30


def test_another_version_of_the_data_stops_before_searching(regress, test_data, tmp_path, workplace):
    source, folder = test_data / "classic" / "cacm", tmp_path / "data" / "cacm"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("corpus*"), copy_function=shutil.copyfile)
    with gzip.open(source / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        (folder / "corpus.jsonl").write_text("".join(list(lines)[:-1]), encoding="utf-8")
    done = regress("--collection", "cacm", *conditions("bm25-flat"), data=tmp_path / "data", code=2)
    assert "has 3,203 documents, " in done.err
    assert "Expected: 3,204 documents, 181,270 terms" in done.err
    assert not list((workplace / "out").rglob("*.run"))


def test_a_broken_index_stops_and_is_named(regress, workplace, monkeypatch, tmp_path):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))
    regress("--collection", "cacm", *conditions("bm25-flat"))
    (index,) = (tmp_path / "home" / "indexes").glob("cacm-flat-*")
    shutil.rmtree(workplace / "out")
    for path in index.glob("segments_*"):
        path.write_bytes(b"broken")
    done = regress("--collection", "cacm", *conditions("bm25-flat"), code=2)
    assert str(index) in done.err
    assert f"rm -r {index}" in done.err


def test_record_and_promote(regress, expandr, own, workplace):
    told = regress("--collection", "cacm", *conditions("bm25+rm3"), "--regressions", own, "--record", "mine.json")
    assert set(verdicts(told).values()) <= {"NEW", "OK"}
    expandr("regress", "--promote", "mine.json", "--regressions", own, "--output", "out")
    told = regress("--collection", "cacm", *conditions("bm25+rm3"), "--regressions", own)
    assert set(verdicts(told).values()) == {"OK"}


def test_a_model_is_looked_for_where_the_hub_keeps_it(regress, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    told = regress("--collection", "cacm", *conditions("contriever"))
    assert told["results"][0]["values"][0]["reason"] == "model not here: facebook/contriever"
    folder = tmp_path / "hub" / "models--facebook--contriever"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "model.safetensors").write_bytes(b"weights")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert len(model_sha256(encoder_config("contriever"))) == 64


def test_an_llm_writes(regress, workplace, own):
    argv = ["--collection", "cacm", *conditions("query2doc"), "--generator", "echo", "--seed", "1"]
    path = own / "classic" / "cacm.yaml"
    path.write_text(path.read_text().replace("sets: [plain]", "sets: [plain, live]"))
    told = regress(*argv, "--regressions", own, "--record", "mine.json")
    (result,) = told["results"]
    assert set(verdicts(told).values()) == {"NEW"}
    assert (result["samples"], result["missing"]) == (1, 0)
    assert (workplace / "out" / "cacm" / "query2doc.expansions.jsonl").is_file()
    (record,) = json.loads((workplace / "mine.json").read_text())["records"]
    assert (record["generator"], record["seed"]) == ("echo:echo", 1)
    assert regress(*argv, "--regressions", own)["runs"]["kept"] == 1


@pytest.mark.slow
def test_dense_figures_of_scifact(regress, common_home, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(common_home))
    told = regress("--collection", "scifact", "--tier", "near")
    dense = {
        name: verdict for (name, metric), verdict in verdicts(told).items() if "minilm" in name and metric == "nDCG@10"
    }
    assert "FAIL" not in verdicts(told).values()
    assert len(dense) == 4
    assert set(dense.values()) <= {"OK", "OK*"}


@pytest.mark.timeout(600)
def test_a_trajectory_is_trained_and_judged(expandr, workplace):
    pytest.importorskip("trl")
    argv = ["regress", "--collection", "training", "--condition", "dpo-tiny.1x8", "--output", "out", "--format", "json"]
    (result,) = json.loads(expandr(*argv).out)["results"]
    assert [value["metric"] for value in result["values"]] == [
        *("loss max", "loss mean", "grad_norm max", "grad_norm mean")
    ]
    assert {value["verdict"] for value in result["values"]} <= {"OK", "OK*"}
    assert result["command"].startswith("expandr train trajectory ")


def test_pyserinis_names_are_pyserinis():
    info = jvm.import_pyserini("pyserini.prebuilt_index_info")
    topics = getattr(jvm.import_pyserini("pyserini.search")._base, "topics_mapping", None)
    if topics is None:
        pytest.skip("this version of Pyserini fetches the list of its topics from a network")
    regressions = Regressions()
    named = [one for one in map(regressions.load, regressions.files) if one.facts.pyserini]
    assert len(named) == 28
    for one in named:
        assert one.facts.pyserini in topics
        assert one.lucene_index("flat") in info.TF_INDEX_INFO
        assert {one.dense_index(name) for name in one.facts.dense_indexes} <= info.FAISS_INDEX_INFO.keys()
        statistics = info.TF_INDEX_INFO[one.lucene_index("flat")]
        assert one.facts.statistics["flat"] == {
            "documents": statistics["documents"],
            "terms": statistics["total_terms"],
        }
