"""Conditions to steps: where data is looked for, what is lacking, and what is downloaded."""

from __future__ import annotations

import pytest

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import MissingResourceError
from expandr_ir.regress import run
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.downloads import Entry, Group, Item
from expandr_ir.regress.reuse import model_sha256
from expandr_ir.regress.steps import RegressOptions, plan


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))


def make(folder):
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("{}")
    return folder


@pytest.fixture
def steps(folder):
    """The toy's steps by condition."""

    def planned(**options):
        return {one.condition.name: one for one in plan(Regressions(folder), RegressOptions(**options))}

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
    skips = {name: step.skip for name, step in steps(data=[f"{tmp_path}/data"]).items()}
    assert skips["bm25-flat"] == f"data not here: toy in {tmp_path}/data"
    assert skips["other"] == "a published figure, not run"
    make(tmp_path / "data" / "group" / "toy")
    skips = {name: step.skip.partition(" in ")[0] for name, step in steps(data=[f"{tmp_path}/data"]).items()}
    assert skips == {
        "bm25-flat": "",
        "minilm": "",
        "a.x": "expansions not here: toy/a.x.jsonl",
        "hyde": "generator not named: an LLM writes these expansions (--generator NAME)",
        "other": "a published figure, not run",
    }


@pytest.mark.parametrize("name", ["toy/a.x.jsonl", "toy/a.x.jsonl.gz", "a.x.jsonl"])
def test_expansions_plain_or_compressed(tmp_path, steps, name):
    (tmp_path / "toy").mkdir()
    (tmp_path / name).touch()
    found = steps(expansions=[str(tmp_path)])
    assert (found["a.x"].expansions, found["minilm"].expansions) == (tmp_path / name, None)


def test_other_sources(folder, change, steps):
    change("group/toy.yaml", "folder: toy", "folder: toy\nirds: beir/toy/test\npyserini: toy-test\nindex: toy-v1")
    assert steps(source="irds")["bm25-flat"].collection == "irds:beir/toy/test"
    step = steps(source="pyserini")["bm25-flat"]
    assert (step.collection, step.split, step.options.index) == ("pyserini:toy-test", None, "toy-v1.flat")
    assert steps()["bm25-flat"].skip == "data not here: toy in --data DIR (or: --source irds, beir/toy/test)"


def test_what_is_downloaded(tmp_path, steps, monkeypatch):
    def item(name, file):
        group = Group("https://x/{path}", file, "unzip", "none", "here", {}, "a test")
        return Item(name, group, Entry(), "https://x", file)

    known = [item("beir/toy", "beir/toy"), item("querygym/a.x", "expansions/toy/a.x.jsonl"), item("b/other", "o")]
    fetched = []
    monkeypatch.setattr(run, "items", lambda: {one.name: one for one in known})
    monkeypatch.setattr(run, "fetch", lambda names, target: fetched.extend(names))
    run._download(steps().values(), RegressOptions())
    assert fetched == ["beir/toy", "querygym/a.x"]
    fetched.clear()
    make(tmp_path / "toy")
    run._download(steps(data=[str(tmp_path)]).values(), RegressOptions())
    assert fetched == ["querygym/a.x"]


def test_a_model_by_its_files(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    first = model_sha256(EncoderConfig(model=str(model)))
    assert model_sha256(EncoderConfig(model=str(model))) == first
    (model / "model.safetensors").write_bytes(b"2")
    assert model_sha256(EncoderConfig(model=str(model))) != first


@pytest.mark.parametrize("model", ["nobody/nothing", "package:no_such_package"])
def test_models_that_are_not_here(model):
    with pytest.raises(MissingResourceError, match="model not here"):
        model_sha256(EncoderConfig(model=model))
