"""Preferences as a trainer takes them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.records import Message
from expandr_ir.train.pairs import part, read_pairs
from expandr_ir.train.preparation import Pair


def pair(text):
    return Pair("here", (Message("user", text),), "a", "b")


def rows(path, **change):
    row = {
        "prompt": [{"role": "user", "content": "q"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    return str(path)


def test_rows_become_pairs(tmp_path):
    found = read_pairs(rows(tmp_path / "p.jsonl", chosen=[{"role": "assistant", "content": "c"}]))
    assert [(one.prompt[0].content, one.chosen, one.rejected) for one in found] == [("q", "a", "b"), ("q", "c", "b")]


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
        read_pairs(rows(tmp_path / "p.jsonl", **change))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_the_same_prompts_are_held_out_in_any_order(texts, random):
    pairs = [pair(text) for text in texts] + [pair(f"prompt {number}") for number in range(80)]
    other = list(pairs)
    random.shuffle(other)
    (train, dev), (other_train, other_dev) = part(pairs, 0.3), part(other, 0.3)
    held = {one.prompt for one in dev}
    assert held == {one.prompt for one in other_dev}
    assert not held & {one.prompt for one in train}
    assert len(train) + len(dev) == len(pairs) == len(other_train) + len(other_dev)


def test_the_share_is_about_what_was_asked_for():
    train, dev = part([pair(f"prompt {number}") for number in range(2000)], 0.1)
    assert 150 < len(dev) < 250
    assert len(train) + len(dev) == 2000


def test_no_share_holds_nothing_out():
    assert part([pair("a"), pair("b")], 0)[1] == []


@pytest.mark.parametrize("share", [-0.1, 1.0, 1e-9])
def test_shares_that_leave_a_part_empty_are_refused(share):
    with pytest.raises(InputError, match="dev_share"):
        part([pair("a"), pair("b")], share)
