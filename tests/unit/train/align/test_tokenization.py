"""Token ids of training against those of inference, and the lengths."""

from __future__ import annotations

import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators.chat import load_tokenizer, prompt_ids
from expandr_ir.generators.local import LocalGenerator
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Message, Topic
from expandr_ir.train.align.options import AlignOptions
from expandr_ir.train.align.tokenization import IGNORED, Example, part, tokenize

PROMPT = (Message("user", "how long do fleas live"),)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_models.tiny_tokenizer()


def pair(tokenizer, chosen="weeks", rejected="days", max_length=None, max_prompt_length=None):
    return tokenize([Example("p.jsonl, row 3", PROMPT, (chosen, rejected))], tokenizer, max_length, max_prompt_length)


def test_a_prompt_has_the_ids_that_generation_sees(tmp_path):
    folder = tiny_models.tiny_llama(tmp_path / "model")
    messages = load_prompt("passage").render(Topic("t", "do fleas jump"))
    generator = LocalGenerator(GeneratorConfig("local", str(folder)))
    tokenizer = load_tokenizer(AlignOptions(model=str(folder)).generator)
    ids = tokenize([Example("here", messages, ("yes", "no"))], tokenizer, None, None).rows[0]["prompt_ids"]
    assert ids == prompt_ids(generator._tokenizer, messages)
    assert len(ids) == generator.count_tokens(messages)
    assert ids.count(tokenizer.bos_token_id) == 1


def test_the_answers_are_followed_by_their_end(tokenizer):
    row = pair(tokenizer, "some weeks", "days").rows[0]
    prompt = "<|begin|><|role|>user\nhow long do fleas live<|turn|><|role|>assistant\n"
    texts = {name: tokenizer.decode(ids) for name, ids in row.items()}
    assert texts == {"prompt_ids": prompt, "chosen_ids": "some weeks<|turn|>", "rejected_ids": "days<|turn|>"}


def test_a_demonstration_is_learnt_without_its_prompt(tokenizer):
    prepared = tokenize([Example("here", PROMPT, ("some weeks",))], tokenizer, None, None)
    row, start = prepared.rows[0], len(prompt_ids(tokenizer, PROMPT))
    assert row["labels"] == [IGNORED] * start + row["input_ids"][start:]
    assert tokenizer.decode(row["input_ids"][start:]) == "some weeks<|turn|>"
    assert prepared.counts["tokens"] == len(row["input_ids"])


def test_what_is_too_long_is_cut_or_dropped_and_counted(tokenizer):
    whole, answers = prompt_ids(tokenizer, PROMPT), ("weeks and weeks", "a day")
    start = len(whole)
    free = pair(tokenizer, *answers, max_prompt_length=start)
    cut = pair(tokenizer, *answers, max_length=start + 3)
    short = pair(tokenizer, *answers, max_prompt_length=5)
    assert short.rows[0]["prompt_ids"] == whole[-5:]
    names = ("chosen_ids", "rejected_ids")
    assert [cut.rows[0][name] for name in names] == [free.rows[0][name][:3] for name in names]
    assert cut.counts["truncated_answers"] == sum(len(free.rows[0][name]) > 3 for name in names)
    assert [tokens.counts["truncated_prompts"] for tokens in (free, cut, short)] == [0, 0, 1]
    full = pair(tokenizer, max_length=start)
    assert (full.rows, full.counts["dropped_full_prompts"]) == ([], 1)
    assert len(pair(tokenizer, max_length=start + 1).rows) == 1


def test_an_answer_without_an_end_token_is_counted():
    tokenizer = tiny_models.tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|turn|>", "\n")
    assert pair(tokenizer).counts["unended_answers"] == 2


def test_a_template_that_renders_answered_prompts_otherwise_is_refused():
    tokenizer = tiny_models.tiny_tokenizer()
    tokenizer.chat_template = "{{ messages | length }} " + tokenizer.chat_template
    with pytest.raises(InputError, match=r"row 3.*renders an answered prompt otherwise"):
        pair(tokenizer)


@pytest.mark.parametrize("lengths", [(0, None), (10, 0)])
def test_lengths_below_one_are_refused(tokenizer, lengths):
    with pytest.raises(InputError, match="is 0"):
        pair(tokenizer, "a", "b", *lengths)


def test_models_and_templates_that_are_not_there(tmp_path):
    with pytest.raises(MissingResourceError, match="nothing"):
        load_tokenizer(AlignOptions(model=str(tmp_path / "nothing")).generator)


@settings(max_examples=20)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_the_same_texts_are_held_out_in_any_order(texts, random):
    items = [*texts, *(f"prompt {number}" for number in range(80))]
    other = list(items)
    random.shuffle(other)
    (train, dev), (other_train, other_dev) = part(items, 0.3, str), part(other, 0.3, str)
    assert set(dev) == set(other_dev)
    assert not set(dev) & set(train)
    assert len(train) + len(dev) == len(items) == len(other_train) + len(other_dev)


def test_the_share_is_about_what_the_option_says():
    assert 150 < len(part([f"prompt {number}" for number in range(2000)], 0.1, str)[1]) < 250
    assert part(["a", "b"], 0, str)[1] == []


@pytest.mark.parametrize("share", [-0.1, 1.0, 1e-9])
def test_shares_that_leave_a_part_empty_are_refused(share):
    with pytest.raises(InputError, match="dev_share"):
        part(["a", "b"], share, str)
