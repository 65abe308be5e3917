"""Conditions to steps: where data is looked for, what is lacking, what is downloaded, and which runs are stale."""

from __future__ import annotations

import pytest

from expandr_ir.config import EncoderConfig, GeneratorConfig, generator_config
from expandr_ir.errors import MissingResourceError
from expandr_ir.io.manifest import manifest_path, write_manifest
from expandr_ir.regress import run
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.downloads import Entry, Group, Item
from expandr_ir.regress.reuse import model_sha256, why_stale
from expandr_ir.regress.steps import RegressOptions, plan, search_command
from expandr_ir.regress.worker import make_result


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))


def make(folder):
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("{}")


@pytest.fixture
def steps(folder):
    """The toy's steps by condition."""

    def planned(**options):
        return {step.condition.name: step for step in plan(Regressions(folder), RegressOptions(**options))}

    return planned


@pytest.mark.parametrize(
    ("data", "where"),
    [("data", "data/toy"), ("data", "data/group/toy"), ("x/toy", "x/toy"), ("none", "home/downloads/toy")],
)
def test_a_folder_below_data(tmp_path, steps, data, where):
    make(tmp_path / where)
    step = steps(data=[str(tmp_path / data)])["bm25-flat"]
    assert (step.collection, step.split, step.skip) == (str(tmp_path / where), "test", "")


def test_what_is_not_here(tmp_path, steps):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    assert steps(data=[f"{tmp_path}/data"])["bm25-flat"].skip == f"data not here: toy in {tmp_path}/data"
    make(tmp_path / "data" / "group" / "toy")
    skips = {name: step.skip.partition(" in ")[0] for name, step in steps(data=[f"{tmp_path}/data"]).items()}
    assert skips == {
        "bm25-flat": "",
        "minilm": "",
        "a.x": "expansions not here: toy/a.x.jsonl",
        "hyde": "generator not named: an LLM writes these expansions (--generator NAME)",
        "other": "a published figure, not run",
    }


def test_an_llm_that_a_condition_names_writes_where_the_condition_is_selected(tmp_path, steps, change):
    make(tmp_path / "toy")
    change("conditions.yaml", "tier: live, expander: hyde", "tier: live, expander: hyde, generator: smollm2")
    given = {"data": [str(tmp_path)], "generator": GeneratorConfig("api", "m", revision="2")}
    assert steps(data=[str(tmp_path)])["hyde"].skip == "not selected: smollm2 writes for minutes (--tier live)"
    for selected in ({"tier": ["live"]}, {"condition": ["hyde"]}):
        step = steps(**given, **selected)["hyde"]
        assert (step.skip, step.llm, step.generator) == ("", "smollm2", generator_config("smollm2"))
        assert "--generator smollm2 " in search_command(step, "x.run")
    change("conditions.yaml", "expander: hyde, generator: smollm2", "expander: hyde")
    step = steps(**given)["hyde"]
    assert (step.llm, make_result(step, tmp_path).generator) == ("api:m", "api:m@2")


@pytest.mark.parametrize("name", ["toy/a.x.jsonl", "toy/a.x.jsonl.gz", "a.x.jsonl"])
def test_expansions_plain_or_compressed(tmp_path, steps, name):
    (tmp_path / "toy").mkdir()
    (tmp_path / name).touch()
    planned = steps(expansions=[str(tmp_path)])
    assert (planned["a.x"].expansions, planned["minilm"].expansions) == (tmp_path / name, None)


def test_other_sources(change, steps):
    change("group/toy.yaml", "folder: toy", "folder: toy\nirds: beir/toy/test\npyserini: toy-test\nindex: toy-v1")
    assert steps(source="irds")["bm25-flat"].collection == "irds:beir/toy/test"
    step = steps(source="pyserini")["bm25-flat"]
    assert (step.collection, step.split, step.options.index) == ("pyserini:toy-test", None, "toy-v1.flat")
    assert steps()["bm25-flat"].skip == "data not here: toy in --data DIR (or: --source irds, beir/toy/test)"


def test_what_is_downloaded(tmp_path, steps, monkeypatch):
    group, fetched = Group("https://x/{path}", "", "unzip", "none", "here", {}, "a test"), []
    files = {"beir/toy": "beir/toy", "querygym/a.x": "expansions/toy/a.x.jsonl", "b/other": "o"}
    known = {name: Item(name, group, Entry(), "https://x", file) for name, file in files.items()}
    monkeypatch.setattr(run, "items", lambda: known)
    monkeypatch.setattr(run, "fetch", lambda names, target: fetched.append(names))
    run._download(steps().values(), RegressOptions())
    make(tmp_path / "toy")
    run._download(steps(data=[str(tmp_path)]).values(), RegressOptions())
    assert fetched == [["beir/toy", "querygym/a.x"], ["querygym/a.x"]]


def test_a_model_by_its_files(tmp_path):
    weights, hashes = tmp_path / "model" / "model.safetensors", []
    weights.parent.mkdir()
    for content in (b"1", b"1", b"2"):
        weights.write_bytes(content)
        hashes.append(model_sha256(EncoderConfig(model=str(weights.parent))))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("model", ["nobody/nothing", "package:no_such_package"])
def test_models_that_are_not_here(model):
    with pytest.raises(MissingResourceError, match="model not here"):
        model_sha256(EncoderConfig(model=model))


REQUEST = {"documents": "d1", "search": {"k1": 0.9}, "versions": {"python": "3.11", "torch": "2.9"}}


@pytest.mark.parametrize(
    ("fault", "change", "reason"),
    [
        (None, {}, ""),
        (lambda path: path.unlink(), {}, "new"),
        (lambda path: path.write_text("cut"), {}, "the run was changed since it was made"),
        (lambda path: manifest_path(path).unlink(), {}, "it has no manifest: it was not finished"),
        (lambda path: manifest_path(path).write_text("{"), {}, "its manifest cannot be read"),
        (None, {"search": {"k1": 1.2}, "versions": {}}, "the search changed"),
        (None, {"versions": {"python": "3.12", "torch": "2.9"}}, "made by python 3.11, here is 3.12"),
    ],
)
def test_a_stale_run_is_said_to_be(tmp_path, fault, change, reason):
    path = tmp_path / "a.run"
    path.write_text("1 Q0 d1 1 1.0 x\n")
    write_manifest(path, details={"request": REQUEST})
    if fault:
        fault(path)
    assert why_stale(path, REQUEST | change) == reason
