"""`expandr regress` on real collections: what holds, what does not, and what is left alone."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import sys
import time

import pytest

from expandr_ir import jvm
from expandr_ir.config import regressions_dir
from expandr_ir.io.runs import read_run
from expandr_ir.regress import reuse
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.results import read_results

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


def copied(folder, target):
    """A collection's files, to be changed."""
    shutil.copytree(folder, target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def test_figures_hold_and_the_second_time_nothing_is_done(regress, workplace, monkeypatch):
    told = regress("--collection", "scifact", *conditions(*QUICK))
    assert set(verdicts(told).values()) <= {"OK", "NEW"}
    assert verdicts(told)["bm25-flat", "R@1000"] == "OK"
    assert told["runs"]["searched"] == 3
    by_name = {one["condition"]: one for one in told["results"]}
    assert by_name["csqe.Qwen2.5-7B-Instruct"]["baseline"] == "bm25-flat"
    assert by_name["query2doc-zs.gpt-4.1"]["topics"] == 300

    before = {path: path.stat().st_mtime_ns for path in (workplace / "out").rglob("*.run*")}
    monkeypatch.setattr(jvm, "start", None)
    started = time.perf_counter()
    again = regress("--collection", "scifact", *conditions(*QUICK))
    assert time.perf_counter() - started < 3
    assert (again["runs"]["searched"], again["runs"]["kept"]) == (0, 3)
    assert again["results"] == told["results"]
    assert {path: path.stat().st_mtime_ns for path in (workplace / "out").rglob("*.run*")} == before


def test_nothing_heavy_is_imported_when_nothing_is_to_be_done(regress, start, test_data):
    regress("--collection", "cacm", *conditions("bm25-flat"))
    process = start(
        "regress", "--collection", "cacm", "--condition", "bm25-flat", "--data", test_data, "--output", "out"
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "0 runs searched, 1 as they were" in out
    code = (
        "import sys; from expandr_ir.cli import main; "
        f"main(['regress', '--collection', 'cacm', '--condition', 'bm25-flat', '--data', {str(test_data)!r}, "
        "'--output', 'out']); print({'torch', 'jnius', 'pyserini', 'transformers'} & sys.modules.keys())"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.endswith("set()\n"), done.stdout


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


def expansions_with(source, target, change):
    """A copy of a file of expansions, its rows changed."""
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    target.parent.mkdir(parents=True)
    target.write_text("".join(json.dumps(row) + "\n" for row in change(rows)), encoding="utf-8")
    return target.parents[1]


def test_a_broken_expansion_fails_and_the_run_is_made_anew(regress, test_data, tmp_path):
    name = "query2doc-zs.gpt-4.1"
    regress("--collection", "scifact", *conditions(name))

    def broken(rows):
        rows[0]["searched"] = "something else altogether"
        return rows

    folder = expansions_with(
        test_data / "expansions" / "scifact" / f"{name}.jsonl.gz",
        tmp_path / "own" / "scifact" / f"{name}.jsonl",
        broken,
    )
    told = regress("--collection", "scifact", *conditions(name), expansions=folder, code=1)
    assert verdicts(told)[name, "nDCG@10"] == "FAIL"
    assert told["runs"]["searched"] == 1


def test_missing_expansions_are_skipped_and_empty_ones_counted(regress, test_data, tmp_path):
    name = "mugi.gpt-4.1"
    source = test_data / "expansions" / "scifact" / f"{name}.jsonl.gz"
    short = expansions_with(source, tmp_path / "short" / "scifact" / f"{name}.jsonl", lambda rows: rows[3:])
    told = regress("--collection", "scifact", *conditions(name), expansions=short)
    assert told["results"][0]["values"][0]["verdict"] == "SKIP"
    assert told["results"][0]["values"][0]["reason"].startswith("expansions missing: 3 of 300 topics have none in ")

    def emptied(rows):
        return [row | {"text": "", "searched": " "} if number < 30 else row for number, row in enumerate(rows)]

    empty = expansions_with(source, tmp_path / "empty" / "scifact" / f"{name}.jsonl", emptied)
    told = regress("--collection", "scifact", *conditions(name), expansions=empty, code=1)
    assert told["results"][0]["empty"] == 30


def test_another_version_of_the_data_stops_before_searching(regress, test_data, tmp_path, workplace):
    folder = copied(test_data / "classic" / "cacm", tmp_path / "data" / "cacm")
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        kept = list(lines)[:-1]
    (folder / "corpus.jsonl.gz").unlink()
    (folder / "corpus.jsonl").write_text("".join(kept), encoding="utf-8")
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


def test_a_run_that_was_changed_is_made_anew(regress, workplace, caplog):
    regress("--collection", "cacm", *conditions("bm25-flat"))
    run = workplace / "out" / "cacm" / "bm25-flat.run"
    good = run.read_bytes()
    run.write_bytes(good[:1000])
    regress("--collection", "cacm", *conditions("bm25-flat"))
    assert "cacm/bm25-flat: searching (the run was changed since it was made)" in caplog.text
    assert run.read_bytes() == good


def test_a_run_of_another_version_is_made_anew_and_said(expandr, workplace, test_data, monkeypatch, caplog):
    argv = ["regress", "--collection", "cacm", *conditions("bm25-flat"), "--data", test_data, "--output", "out"]
    versions = reuse.installed_versions()
    monkeypatch.setattr(reuse, "installed_versions", lambda: versions | {"pyserini": "0.1"})
    expandr(*argv)
    monkeypatch.undo()
    monkeypatch.chdir(workplace)
    done = expandr(*argv)
    assert f"searching (made by pyserini 0.1, here is {versions['pyserini']})" in caplog.text
    assert "1 runs searched" in done.out


def test_results_of_several_commands_stand_together(regress, workplace):
    regress("--collection", "cacm", *conditions("bm25-flat"))
    regress("--collection", "dl20-pool", *conditions("bm25-flat"))
    found = read_results(workplace / "out")
    assert [one.collection for one in found.results] == ["cacm", "dl20-pool"]


def test_resume_takes_the_options_of_the_last_command(expandr, regress):
    first = regress("--collection", "cacm", *conditions("bm25-flat"))
    done = expandr("regress", "--resume", "--output", "out", "--format", "json")
    assert json.loads(done.out)["results"] == first["results"]
    assert "takes all other options" in expandr("regress", "--resume", "--output", "out", "--tier", "near", code=2).err


def test_record_and_promote(regress, expandr, own, workplace):
    told = regress("--collection", "cacm", *conditions("bm25+rm3"), "--regressions", own, "--record", "mine.json")
    before = verdicts(told)
    expandr("regress", "--promote", "mine.json", "--regressions", own, "--output", "out")
    after = verdicts(regress("--collection", "cacm", *conditions("bm25+rm3"), "--regressions", own))
    assert set(before.values()) <= {"NEW", "OK"}
    assert set(after.values()) == {"OK"}


def test_what_is_not_here_is_skipped_with_the_reason(regress, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    told = regress("--collection", "cacm", *conditions("contriever"))
    assert told["results"][0]["values"][0]["reason"] == "model not here: facebook/contriever"
    told = regress("--collection", "scifact", *conditions("hyde"))
    assert "--generator NAME" in told["results"][0]["values"][0]["reason"]
    told = regress("--collection", "nfcorpus", *conditions("bm25-flat"))
    assert told["results"][0]["values"][0]["reason"].startswith("data not here: nfcorpus in ")


def test_an_llm_writes(regress, workplace):
    argv = ["--collection", "cacm", *conditions("query2doc"), "--generator", "echo", "--seed", "1"]
    own = shutil.copytree(regressions_dir(), workplace / "regressions")
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
def test_all_of_scifact(regress):
    told = regress("--collection", "scifact", "--tier", "exact", "--tier", "near")
    found = verdicts(told)
    assert "FAIL" not in found.values()
    assert sum(verdict == "OK" for verdict in found.values()) >= 46
    dense = {name: verdict for (name, metric), verdict in found.items() if "minilm" in name and metric == "nDCG@10"}
    assert len(dense) == 4
    assert set(dense.values()) <= {"OK", "OK*"}
    again = regress("--collection", "scifact", "--tier", "exact", "--tier", "near")
    assert again["runs"]["searched"] == 0
    assert again["results"] == told["results"]


def test_models_are_looked_for_where_the_hub_keeps_them(monkeypatch, tmp_path):
    model = tmp_path / "models--facebook--contriever"
    (model / "snapshots" / "abc").mkdir(parents=True)
    (model / "snapshots" / "abc" / "model.safetensors").write_bytes(b"weights")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    from expandr_ir.encoders import encoder_config

    assert len(reuse.model_sha256(encoder_config("contriever"))) == 64


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
