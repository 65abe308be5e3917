"""Preferences against what their manifest says of their making."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError
from expandr_ir.generators.identity import identify
from expandr_ir.manifest import write_manifest
from expandr_ir.prompts import load_prompt
from expandr_ir.train.dpo import DpoOptions, check_writer, dpo_data, heldout_prompt

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))
import tiny_models
from alignment_fixtures import write_preferences


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def made_by(path, generator, prompt="topic"):
    """The preferences with a manifest that says who wrote them."""
    found = load_prompt(prompt)
    provenance = {
        "generator": asdict(generator),
        "prompt": {"id": f"{found.id}@{found.version}", "sha256": found.sha256},
        "encoder": None,
    }
    write_manifest(path, command=["test"], started=datetime.now(UTC), details={"provenance": provenance})
    return str(path)


def local(model, **fields):
    return identify(GeneratorConfig("local", str(model), **fields))


def test_preferences_that_the_model_wrote_itself(tmp_path, model):
    path = made_by(write_preferences(tmp_path / "p.jsonl"), local(model))
    check_writer(DpoOptions(model=str(model), preferences=path))
    model.rename(tmp_path / "moved")
    check_writer(DpoOptions(model=str(tmp_path / "moved"), preferences=path))


def test_preferences_that_another_llm_wrote_are_refused_unless_asked_for(tmp_path, model):
    path = made_by(write_preferences(tmp_path / "p.jsonl"), local(model))
    (model / "config.json").write_text('{"other": 1}')
    with pytest.raises(InputError, match=r"(?s)another LLM: revision .*--other-llm"):
        check_writer(DpoOptions(model=str(model), preferences=path))
    check_writer(DpoOptions(model=str(model), preferences=path, other_llm=True))
    with pytest.raises(InputError, match="another LLM: model 'model', not 'org/other'"):
        check_writer(DpoOptions(model="org/other", preferences=path))


def test_texts_of_a_server_cannot_be_checked_which_is_said(tmp_path, model, caplog):
    served = identify(GeneratorConfig("api", "served"))
    path = made_by(write_preferences(tmp_path / "p.jsonl"), served)
    check_writer(DpoOptions(model=str(model), preferences=path))
    assert "came from api:served" in caplog.text


def test_preferences_without_a_manifest_are_taken_as_they_are(tmp_path, model):
    path = str(write_preferences(tmp_path / "p.jsonl"))
    check_writer(DpoOptions(model=str(model), preferences=path))
    assert heldout_prompt(None, path).id == "passage"


def test_held_out_topics_are_asked_with_the_preferences_own_prompt(tmp_path, model):
    path = made_by(write_preferences(tmp_path / "p.jsonl"), local(model), "topic")
    assert heldout_prompt(None, path).id == "topic"
    assert heldout_prompt("topic", path).id == "topic"
    with pytest.raises(InputError, match=r"(?s)made with prompt topic@1.*--prompt topic"):
        heldout_prompt("passage", path)


def test_preferences_that_were_changed_are_refused(tmp_path, model):
    path = made_by(write_preferences(tmp_path / "p.jsonl"), local(model))
    write_preferences(tmp_path / "p.jsonl", seed=9)
    with pytest.raises(InputError, match="is not what its manifest was written for"):
        check_writer(DpoOptions(model=str(model), preferences=path))


def test_held_out_preferences_must_be_of_other_prompts(tmp_path):
    train = write_preferences(tmp_path / "train.jsonl", 12)
    options = DpoOptions(model="m", preferences=str(train), dev_preferences=str(train))
    with pytest.raises(InputError, match="12 held-out prompts are trained on too"):
        dpo_data(options, tiny_models.tiny_tokenizer(), 100)
    dev = write_preferences(tmp_path / "dev.jsonl", 12, seed=5)
    found = dpo_data(
        DpoOptions(model="m", preferences=str(train), dev_preferences=str(dev)), tiny_models.tiny_tokenizer(), 100
    )
    counts = found.train.counts_with(found.dev)
    assert counts["rows"] == counts["dev_rows"] == 12
