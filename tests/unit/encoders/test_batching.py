"""Batches: every row once, within the budget; memory that runs out; texts that cannot be encoded."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_encoders import tiny_bert

from expandr_ir.encoders.batching import Forward, batches, token_ids
from expandr_ir.errors import ExpandrError


def test_batches_by_hand():
    # longest first: rows 2 (9 tokens), 0 and 3 (5), 1 (2); budget 10 holds one row of 9, two of 5, five of 2
    assert list(batches([5, 2, 9, 5], 10)) == [[2], [0, 3], [1]]
    assert list(batches([50], 10)) == [[0]]
    assert list(batches([0, 0], 10)) == [[0, 1]]
    assert list(batches([], 10)) == []


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 200))
def test_every_row_is_in_one_batch_that_fits(lengths, budget):
    made = list(batches(lengths, budget))
    assert sorted(row for batch in made for row in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget or lengths[batch[0]] == 0
        assert max(lengths[row] for row in batch) == lengths[batch[0]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert(tmp_path_factory.mktemp("bert")))


def test_ids_are_cut_with_their_special_tokens_and_counted(tokenizer):
    class Slow:
        is_fast = False

        def __call__(self, text, **options):
            return tokenizer(text, **options)

    for either in (tokenizer, Slow()):
        ids, truncated = token_ids(either, ["abc", "abcd", "abcde", ""], 6)
        assert [len(row) for row in ids] == [5, 6, 6, 2]
        assert truncated == 1
        assert ids[2].tolist() == ids[1].tolist()


class Counter(torch.nn.Module):
    """A vector is (sum of the ids, their number); more than `room` tokens at once do not fit."""

    def __init__(self, room):
        super().__init__()
        self.room, self.sizes = room, []

    def forward(self, features):
        ids, mask = features["input_ids"], features["attention_mask"]
        if ids.numel() > self.room:
            raise torch.OutOfMemoryError
        self.sizes.append(ids.numel())
        return {"sentence_embedding": torch.stack([(ids * mask).sum(1), mask.sum(1)], dim=1)}


class Fake(torch.nn.Sequential):
    def __init__(self, tokenizer, room):
        super().__init__(Counter(room))
        self.tokenizer = tokenizer

    def get_embedding_dimension(self):
        return 2


def forward(tokenizer, *, room, batch_tokens=64):
    return Forward(Fake(tokenizer, room), torch.device("cpu"), torch.float32, batch_tokens)


def test_out_of_memory_halves_the_batch_and_says_so(tokenizer, caplog):
    texts = ["abcd", "ab", "abcdef", "", "abc", "abcdefg"]
    roomy, tight = forward(tokenizer, room=1_000), forward(tokenizer, room=20)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(tight.encode(texts, 32)[0], roomy.encode(texts, 32)[0])
    assert "out of memory: batches of" in caplog.text
    assert max(tight.batch_tokens, *tight.model[0].sizes) <= 20
    with pytest.raises(ExpandrError, match="no memory for one text of 9 tokens"):
        forward(tokenizer, room=8).encode(["abcdefg", "a"], 32)


def test_windows_keep_the_order(tokenizer, monkeypatch):
    monkeypatch.setattr("expandr_ir.encoders.batching.WINDOW", 3)
    texts = ["a" * (number % 7) for number in range(11)]
    vectors, _ = forward(tokenizer, room=1_000).encode(texts, 32)
    assert vectors[:, 1].tolist() == [number % 7 + 2 for number in range(11)]


def test_a_vector_that_is_not_finite_is_an_error_with_its_text(tokenizer):
    broken = forward(tokenizer, room=1_000)
    broken.model[0].forward = lambda features: {
        "sentence_embedding": torch.where(features["attention_mask"].sum(1, keepdim=True) == 5, torch.nan, 1.0).expand(
            -1, 2
        )
    }
    with pytest.raises(ExpandrError, match="the vector of a text is not finite: 'abc'"):
        broken.encode(["a", "abc"], 32)


def test_a_tokenizer_without_special_tokens_may_give_no_token():
    encoding = SimpleNamespace(ids=[], overflowing=[])
    backend = SimpleNamespace(
        no_padding=lambda: None,
        enable_truncation=lambda _: None,
        encode_batch_fast=lambda texts: [encoding for _ in texts],
    )
    bare = SimpleNamespace(is_fast=True, backend_tokenizer=backend, pad_token_id=None)
    assert forward(bare, room=10).encode(["", ""], 32)[0].tolist() == [[0, 0], [0, 0]]
