"""What a batch holds: each text once, the longest first, and indices that say what is what."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retriever_fixtures import row, rows

from expandr_ir.errors import InputError
from expandr_ir.train.retriever.batch import columns_of, key_of
from expandr_ir.train.retriever.options import ObjectiveOptions


def decoded(tiny, features):
    """Each text of a batch, as its tokens say it (letters without blanks)."""
    texts = []
    for ids in (ids for column in features for ids in column["input_ids"]):
        tokens = tiny.model.tokenizer.convert_ids_to_tokens(ids.tolist())
        texts.append("".join(token.removeprefix("##") for token in tokens if not token.startswith("[")))
    return texts


def test_every_distinct_text_once_the_longest_first(tiny):
    made = [row("a", "q", ["pp"], ["nnnn"], ["eee", "eeeee"]), row("b", "qqqqqq", ["pp"], ["nnnn"], ["eee"])]
    features, labels = tiny.batch(made, order=[1, 0])
    texts = decoded(tiny, features)
    assert texts == ["qqqqqq", "eeeee", "nnnn", "eee", "pp", "q"]
    assert [texts[at] for at in labels["queries"]] == ["qqqqqq", "q"]
    assert [texts[at] for at in labels["expansions"]] == ["eee", "eee", "eeeee"]
    assert labels["owners"].tolist() == [0, 1, 1]
    assert labels["rows"].tolist() == [1, 0]


def test_documents_stand_row_by_row_the_positive_first(tiny):
    made = [row("a", "q", ["pp"], ["n", "nn", "nnn"]), row("b", "r", ["pp", "ss"], ["m"])]
    features, labels = tiny.batch(made, ObjectiveOptions("none"), negatives=2)
    texts = decoded(tiny, features)
    assert [texts[at] for at in labels["documents"]][:3] == ["pp", "n", "nn"]
    assert labels["groups"].tolist() == [[0, 1, 2], [3, 4, -1]]
    assert labels["keys"][0] == key_of("pp")
    assert labels["positives"].tolist() == [[key_of("pp"), -1], [key_of("pp"), key_of("ss")]]
    assert labels["expansions"].tolist() == labels["owners"].tolist() == []


def test_an_empty_expansion_is_the_query_and_a_row_of_empty_ones_is_alone(tiny):
    made = [row("a", "q", ["p"], (), ["", "eee"]), row("b", "r", ["s"], (), ["", " "])]
    _, labels = tiny.batch(made, negatives=0)
    assert labels["owners"].tolist() == [0, 0]
    assert labels["expansions"][0] == labels["queries"][0] != labels["expansions"][1]


def test_prefixes_lengths_and_roles(tiny):
    made = [row("a", "abc", ["abc"], ["abcdefghij"], ["abc"])]
    given = replace(tiny.config, query_prefix="x", document_prefix="yy", query_max_length=5, max_length=8)
    features, _ = tiny.batch(made, config=given)
    assert sorted(decoded(tiny, features)) == ["xab", "yyabc", "yyabcd"]  # 5 and 8 tokens with their special ones
    features, labels = tiny.batch(made, config=replace(given, expansion_role="query"))
    assert sorted(decoded(tiny, features)) == ["xab", "yyabc", "yyabcd"]
    assert labels["truncated"].tolist() == [2]
    features, _ = tiny.batch(made, config=replace(given, expansion_prefix="zzz"))
    assert "zzzabc" in decoded(tiny, features)


def test_concat_is_one_text(tiny):
    features, labels = tiny.batch([row("a", "q", ["p"], (), ["ee", "", "f"])], ObjectiveOptions("concat"), negatives=0)
    assert sorted(decoded(tiny, features)) == ["p", "qeef"]
    assert labels["queries"].tolist() == [0]
    assert features[0]["input_ids"][0].tolist().count(tiny.model.tokenizer.sep_token_id) == 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("padding_side", "left", "pads on the left"), ("sep_token", None, r"(?s)has no separator.*--objective.dense.sep")],
)
def test_tokenizers_that_do_not_fit(tiny, name, value, message):
    before = getattr(tiny.model.tokenizer, name)
    setattr(tiny.model.tokenizer, name, value)
    try:
        with pytest.raises(InputError, match=message):
            tiny.collator(rows(1), ObjectiveOptions("concat"))
    finally:
        setattr(tiny.model.tokenizer, name, before)


@pytest.mark.parametrize(
    ("lengths", "budget", "starts"),
    [
        ([10] * 5, 30, [0, 3]),
        ([10, 10, 9, 8, 7, 7], 160, [0, 4]),  # 7 is less than .8 x 10, and a column of 10 tokens is enough
        ([10, 3, 3, 3], 400, [0, 3]),  # of less than 25 tokens a column is not worth its call
        ([50, 2], 30, [0, 1]),
        ([0, 0], 30, [0]),
        ([5], 30, [0]),
    ],
)
def test_columns_end_where_the_budget_is_full_or_texts_get_much_shorter(lengths, budget, starts):
    assert columns_of(lengths, budget) == starts


@given(st.lists(st.integers(0, 200), min_size=1), st.integers(1, 600))
def test_columns_hold_every_text_within_the_budget(lengths, budget):
    lengths = sorted(lengths, reverse=True)
    starts = columns_of(lengths, budget)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    for start, end in itertools.pairwise([*starts, len(lengths)]):
        assert end - start == 1 or (end - start) * max(1, lengths[start]) <= budget
