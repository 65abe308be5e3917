"""Preferences as they are trained on: checked, parted, held against what their manifest says of their making."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import tiny_models
from alignment_fixtures import write_preferences

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError
from expandr_ir.generators.base import identify
from expandr_ir.prompts import load_prompt
from expandr_ir.train.align.dpo import DpoOptions, check_writer, heldout_prompt, tokenized_preferences


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def made_by(engine, model):
    """The provenance of preferences that this LLM wrote with the prompt `topic`."""
    prompt = load_prompt("topic")
    recorded = {"id": f"{prompt.id}@{prompt.version}", "sha256": prompt.sha256}
    return {"generator": asdict(identify(GeneratorConfig(engine, str(model)))), "prompt": recorded}


def options(model="m", **others):
    return DpoOptions(model=str(model), **{"preferences": "p.jsonl"} | others)


def test_the_writer_must_be_the_model(tmp_path, model, caplog):
    provenance = made_by("local", model)
    check_writer(options(model), provenance)
    moved = model.rename(tmp_path / "moved")
    check_writer(options(moved), provenance)
    check_writer(options(moved), made_by("api", "served"))
    assert "came from api:served" in caplog.text
    (moved / "config.json").write_text('{"other": 1}')
    with pytest.raises(InputError, match=r"(?s)p.jsonl comes from another LLM: .*revision .*--other-llm"):
        check_writer(options(moved), provenance)
    check_writer(options(moved, other_llm=True), provenance)
    with pytest.raises(InputError, match="another LLM: model 'model', not 'org/other'"):
        check_writer(options("org/other"), provenance)


def test_held_out_topics_have_the_preferences_own_prompt(model):
    provenance = made_by("local", model)
    assert heldout_prompt(options(), None).id == "passage"
    assert heldout_prompt(options(), provenance).id == heldout_prompt(options(prompt="topic"), provenance).id == "topic"
    with pytest.raises(InputError, match=r"(?s)another prompt: id 'topic@1', not 'passage@1'.*--prompt topic"):
        heldout_prompt(options(prompt="passage"), provenance)
    with pytest.raises(InputError, match=r"(?s)prompt 'lost' is none of conf/prompts.*--prompt FILE.yaml"):
        heldout_prompt(options(), {"prompt": {"id": "lost@1", "sha256": ""}})


def test_held_out_preferences_must_be_of_other_prompts(tmp_path):
    train, dev = (str(write_preferences(tmp_path / f"{n}.jsonl", 12, seed=n)) for n in (0, 5))
    tokenizer = tiny_models.tiny_tokenizer()
    with pytest.raises(InputError, match="12 held-out prompts are trained on too"):
        tokenized_preferences(options(preferences=train, dev_preferences=train), tokenizer)
    parts = tokenized_preferences(options(preferences=train, dev_preferences=dev), tokenizer)
    assert [part.counts["rows"] for part in parts] == [12, 12]
