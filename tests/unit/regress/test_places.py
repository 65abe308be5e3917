"""Where data is found, and what is downloaded where it is not."""

from __future__ import annotations

import pytest

from expandr_ir.config import EncoderConfig
from expandr_ir.regress.loading import Regressions
from expandr_ir.regress.needed import needed
from expandr_ir.regress.places import NotHereError, Places, model_identity
from expandr_ir.regress.plan import Selection, plan, select


def make(folder):
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("{}")
    return folder


@pytest.fixture
def spec(folder):
    return Regressions(folder).load("toy")


@pytest.mark.parametrize(("data", "where"), [("data", "data/toy"), ("data", "data/group/toy"), ("x/toy", "x/toy")])
def test_a_folder_below_data(tmp_path, spec, data, where):
    make(tmp_path / where)
    assert Places([tmp_path / data]).collection(spec) == str(tmp_path / where)


def test_what_is_not_here(tmp_path, spec):
    (tmp_path / "data" / "toy").mkdir(parents=True)
    with pytest.raises(NotHereError, match=r"data not here: toy in .*data"):
        Places([tmp_path / "data"]).collection(spec)


@pytest.mark.parametrize("name", ["toy/a.x.jsonl", "toy/a.x.jsonl.gz", "a.x.jsonl"])
def test_expansions_plain_or_compressed(tmp_path, spec, name):
    (tmp_path / "toy").mkdir()
    (tmp_path / name).touch()
    assert Places((), [tmp_path]).recorded(spec, spec.conditions["a.x"]) == tmp_path / name
    assert Places((), [tmp_path]).recorded(spec, spec.conditions["minilm"]) is None


def test_expansions_that_are_not_here(tmp_path, spec):
    with pytest.raises(NotHereError, match=r"expansions not here: toy/a\.x\.jsonl in "):
        Places((), [tmp_path]).recorded(spec, spec.conditions["a.x"])


def test_steps_say_what_they_lack(tmp_path, folder):
    regressions = Regressions(folder)
    make(tmp_path / "data" / "toy")
    steps = plan(select(regressions, Selection()), Places([tmp_path / "data"]))
    assert {step.condition.name: step.skip.partition(":")[0] for step in steps} == {
        "bm25-flat": "",
        "minilm": "",
        "a.x": "expansions not here",
        "hyde": "generator not named",
        "other": "a published figure, not run",
    }


def test_what_is_downloaded(tmp_path, folder):
    chosen = select(Regressions(folder), Selection())
    files = {"beir/toy": "beir/toy", "expansions/toy/a.x.jsonl": "querygym/toy/a.x", "beir/other": "beir/other"}
    assert needed(chosen, Places(), files) == ["beir/toy", "querygym/toy/a.x"]
    make(tmp_path / "toy")
    assert needed(chosen, Places([tmp_path]), files) == ["querygym/toy/a.x"]
    assert needed(chosen, Places([tmp_path]), {}) == []


def test_a_model_by_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    first = model_identity(EncoderConfig(model=str(model)))
    assert model_identity(EncoderConfig(model=str(model))) == first
    (model / "model.safetensors").write_bytes(b"2")
    assert model_identity(EncoderConfig(model=str(model))) != first


def test_models_that_are_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for model in ("nobody/nothing", "package:no_such_package"):
        with pytest.raises(NotHereError, match="model not here"):
            model_identity(EncoderConfig(model=model))
