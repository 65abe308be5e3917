"""Preferences as they are trained on: checked, parted, held against what their manifest says of their making."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import tiny_models
from alignment_fixtures import write_preferences

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError
from expandr_ir.generators.base import identify
from expandr_ir.io.manifest import write_manifest
from expandr_ir.prompts import load_prompt
from expandr_ir.train.align.dpo import (
    DpoOptions,
    check_writer,
    heldout_prompt,
    read_examples,
    tokenized_preferences,
)


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
    write_manifest(path, details={"provenance": provenance})
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
    tokenizer = tiny_models.tiny_tokenizer()
    with pytest.raises(InputError, match="12 held-out prompts are trained on too"):
        tokenized_preferences(DpoOptions(model="m", preferences=str(train), dev_preferences=str(train)), tokenizer)
    dev = write_preferences(tmp_path / "dev.jsonl", 12, seed=5)
    options = DpoOptions(model="m", preferences=str(train), dev_preferences=str(dev))
    assert [part.counts["rows"] for part in tokenized_preferences(options, tokenizer)] == [12, 12]


def rows(path, **change):
    row = {
        "prompt": [{"role": "user", "content": "q"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    return str(path)


def test_rows_become_examples(tmp_path):
    found = read_examples(rows(tmp_path / "p.jsonl", chosen=[{"role": "assistant", "content": "c"}]))
    assert [(one.prompt[0].content, one.answers) for one in found] == [("q", ("a", "b")), ("q", ("c", "b"))]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chosen": [{"role": "user", "content": "a"}]}, "not one message of the assistant"),
        ({"chosen": [{"role": "assistant", "content": "a"}] * 2}, "not one message of the assistant"),
        ({"prompt": [{"role": "tool", "content": "a"}]}, "a message of 'tool'"),
        ({"rejected": [{"role": "assistant", "content": " "}]}, "line 2"),
        ({"rejected": [{"role": "assistant", "content": "a"}]}, "same"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path, change, says):
    with pytest.raises(InputError, match=says):
        read_examples(rows(tmp_path / "p.jsonl", **change))
