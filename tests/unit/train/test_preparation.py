"""Token ids of training against those of inference, and the lengths."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError
from expandr_ir.generators.chat import prompt_ids
from expandr_ir.generators.local import LocalGenerator
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Message, Topic
from expandr_ir.train.preparation import IGNORED, Demonstration, Pair, Preparation

sys.path.insert(0, str(Path(__file__).parents[2]))
import tiny_models

ASKED = (Message("user", "how long do fleas live"),)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_models.tiny_tokenizer()


def test_a_prompt_has_the_ids_that_generation_sees(tmp_path):
    folder = tiny_models.tiny_llama(tmp_path / "model")
    prompt = load_prompt("passage")
    messages = prompt.render(Topic("t", "do fleas jump"))
    generator = LocalGenerator(GeneratorConfig("local", str(folder)))
    row = Preparation(generator._tokenizer, None, None).preferences([Pair("here", messages, "yes", "no")]).rows[0]
    assert row["prompt_ids"] == prompt_ids(generator._tokenizer, messages)
    assert len(row["prompt_ids"]) == generator.count_tokens(messages)
    assert row["prompt_ids"].count(generator._tokenizer.bos_token_id) == 1


def test_what_follows_the_prompt_is_the_answer_and_its_end(tokenizer):
    row = Preparation(tokenizer, None, None).preferences([Pair("here", ASKED, "some weeks", "days")]).rows[0]
    assert (
        tokenizer.decode(row["prompt_ids"])
        == "<|begin|><|role|>user\nhow long do fleas live<|turn|><|role|>assistant\n"
    )
    assert tokenizer.decode(row["chosen_ids"]) == "some weeks<|turn|>"
    assert tokenizer.decode(row["rejected_ids"]) == "days<|turn|>"


def test_a_demonstration_is_learnt_without_its_prompt(tokenizer):
    prepared = Preparation(tokenizer, None, None).demonstrations([Demonstration("here", ASKED, "some weeks")])
    row = prepared.rows[0]
    start = len(prompt_ids(tokenizer, ASKED))
    assert row["labels"] == [IGNORED] * start + row["input_ids"][start:]
    assert tokenizer.decode(row["input_ids"][start:]) == "some weeks<|turn|>"
    assert prepared.counts["tokens"] == len(row["input_ids"])


def test_a_long_prompt_keeps_its_end_and_is_counted(tokenizer):
    whole = prompt_ids(tokenizer, ASKED)
    prepared = Preparation(tokenizer, None, 5).preferences([Pair("here", ASKED, "weeks", "days")])
    assert prepared.rows[0]["prompt_ids"] == whole[-5:]
    assert prepared.counts["truncated_prompts"] == 1
    assert (
        Preparation(tokenizer, None, len(whole)).preferences([Pair("h", ASKED, "a", "b")]).counts["truncated_prompts"]
        == 0
    )


def test_a_long_answer_keeps_its_beginning_and_is_counted(tokenizer):
    start = len(prompt_ids(tokenizer, ASKED))
    free = Preparation(tokenizer, None, None).preferences([Pair("h", ASKED, "weeks and weeks", "a day")]).rows[0]
    prepared = Preparation(tokenizer, start + 3, None).preferences([Pair("h", ASKED, "weeks and weeks", "a day")])
    assert prepared.rows[0]["chosen_ids"] == free["chosen_ids"][:3]
    assert prepared.rows[0]["rejected_ids"] == free["rejected_ids"][:3]
    assert prepared.counts["truncated_answers"] == sum(len(free[name]) > 3 for name in ("chosen_ids", "rejected_ids"))


def test_a_prompt_that_fills_the_whole_length_is_dropped_and_counted(tokenizer):
    start = len(prompt_ids(tokenizer, ASKED))
    prepared = Preparation(tokenizer, start, None).preferences([Pair("here", ASKED, "weeks", "days")])
    assert prepared.rows == []
    assert prepared.counts["dropped_full_prompts"] == 1
    assert len(Preparation(tokenizer, start + 1, None).preferences([Pair("here", ASKED, "weeks", "days")]).rows) == 1


def test_an_answer_without_an_end_token_is_counted():
    tokenizer = tiny_models.tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|turn|>", "\n")
    counts = Preparation(tokenizer, None, None).preferences([Pair("here", ASKED, "weeks", "days")]).counts
    assert counts["unended_answers"] == 2


def test_a_template_that_renders_answered_prompts_otherwise_is_refused():
    tokenizer = tiny_models.tiny_tokenizer()
    tokenizer.chat_template = "{{ messages | length }} " + tokenizer.chat_template
    with pytest.raises(InputError, match=r"line 3.*renders an answered prompt otherwise"):
        Preparation(tokenizer, None, None).preferences([Pair("p.jsonl, line 3", ASKED, "weeks", "days")])


@pytest.mark.parametrize("lengths", [(0, None), (10, 0)])
def test_lengths_below_one_are_refused(tokenizer, lengths):
    with pytest.raises(InputError, match="is 0"):
        Preparation(tokenizer, *lengths)
