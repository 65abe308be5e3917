"""What a batch holds: each text once, the longest first, and indices that say what is what."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retriever_fixtures import batch_of, collator, rows, tiny_model

from expandr_ir.errors import InputError
from expandr_ir.train.data.rows import TrainingRow
from expandr_ir.train.retriever.batch import columns_of, key_of
from expandr_ir.train.retriever.data import RetrieverRow
from expandr_ir.train.retriever.options import ObjectiveOptions


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("bert"))


def row(row_id, query, positives, negatives=(), expansions=()):
    return RetrieverRow(TrainingRow(row_id, query, tuple(positives), tuple(negatives)), tuple(expansions))


def decoded(model, features):
    """Each text of a batch, as its tokens say it (letters without blanks)."""
    texts = []
    for ids in (ids for column in features for ids in column["input_ids"]):
        tokens = model.tokenizer.convert_ids_to_tokens(ids.tolist())
        texts.append("".join(token.removeprefix("##") for token in tokens if not token.startswith("[")))
    return texts


def test_every_distinct_text_once_the_longest_first(tiny):
    model, config = tiny
    made = [row("a", "q", ["pp"], ["nnnn"], ["eee", "eeeee"]), row("b", "qqqqqq", ["pp"], ["nnnn"], ["eee"])]
    features, labels = batch_of(collator(model, config, made), [1, 0])
    texts = decoded(model, features)
    assert texts[:1] == ["qqqqqq"]
    assert sorted(texts) == sorted(["qqqqqq", "pp", "nnnn", "eeeee", "eee", "q"])
    assert [len(text) for text in texts] == sorted(map(len, texts), reverse=True)
    named = {name: [texts[at] for at in labels[name]] for name in ("queries", "expansions", "documents")}
    assert named["queries"] == ["qqqqqq", "q"]
    assert named["expansions"] == ["eee", "eee", "eeeee"]
    assert labels["owners"].tolist() == [0, 1, 1]
    assert labels["rows"].tolist() == [1, 0]


def test_documents_stand_row_by_row_the_positive_first(tiny):
    model, config = tiny
    made = [row("a", "q", ["pp"], ["n", "nn", "nnn"]), row("b", "r", ["pp", "ss"], ["m"])]
    features, labels = batch_of(collator(model, config, made, ObjectiveOptions("none"), negatives=2), [0, 1])
    texts = decoded(model, features)
    assert [texts[at] for at in labels["documents"]][:3] == ["pp", "n", "nn"]
    assert labels["groups"].tolist() == [[0, 1, 2], [3, 4, -1]]
    assert labels["keys"][0] == key_of("pp")
    assert labels["positives"].tolist() == [[key_of("pp"), -1], [key_of("pp"), key_of("ss")]]
    assert labels["expansions"].tolist() == labels["owners"].tolist() == []


def test_an_empty_expansion_is_the_query_and_a_row_of_empty_ones_is_alone(tiny):
    model, config = tiny
    made = [row("a", "q", ["p"], (), ["", "eee"]), row("b", "r", ["s"], (), ["", " "])]
    _, labels = batch_of(collator(model, config, made, negatives=0), [0, 1])
    assert labels["owners"].tolist() == [0, 0]
    assert labels["expansions"][0] == labels["queries"][0] != labels["expansions"][1]


def test_prefixes_lengths_and_roles(tiny):
    model, config = tiny
    config = replace(config, query_prefix="x", document_prefix="yy", query_max_length=5, max_length=8)
    made = [row("a", "abc", ["abc"], ["abcdefghij"], ["abc"])]
    features, _ = batch_of(collator(model, config, made), [0])
    assert sorted(decoded(model, features)) == ["xabc"[:3], "yyabc", "yyabcd"]  # 5 and 8 tokens with their special ones
    features, labels = batch_of(collator(model, replace(config, expansion_role="query"), made), [0])
    assert sorted(decoded(model, features)) == ["xab", "yyabc", "yyabcd"]
    assert labels["truncated"].tolist() == [2]
    features, _ = batch_of(collator(model, replace(config, expansion_prefix="zzz"), made), [0])
    assert "zzzabc" in decoded(model, features)


def test_concat_is_one_text(tiny):
    model, config = tiny
    made = [row("a", "q", ["p"], (), ["ee", "", "f"])]
    features, labels = batch_of(collator(model, config, made, ObjectiveOptions("concat"), negatives=0), [0])
    assert sorted(decoded(model, features)) == ["p", "qeef"]
    assert labels["queries"].tolist() == [0]
    assert features[0]["input_ids"][0].tolist().count(model.tokenizer.sep_token_id) == 3


def test_texts_of_special_tokens_alone(tiny):
    model, config = tiny
    made = [row("a", "\u200b", ["p"], ["n"], ["\u200b\u200b"])]
    features, _ = batch_of(collator(model, config, made), [0])
    assert min(column["attention_mask"].sum(1).min() for column in features) >= 2


def test_padding_on_the_left_is_refused(tiny):
    model, config = tiny
    model.tokenizer.padding_side = "left"
    try:
        with pytest.raises(InputError, match="pads on the left"):
            collator(model, config, rows(1))
    finally:
        model.tokenizer.padding_side = "right"


def test_columns_end_where_the_budget_is_full_or_texts_get_much_shorter():
    assert columns_of([10] * 5, 30) == [0, 3]
    assert columns_of([10, 10, 9, 8, 7, 7], 160) == [
        0,
        4,
    ]  # 7 is less than .8 x 10, and a column of 10 tokens is enough
    assert columns_of([10, 3, 3, 3], 400) == [0, 3]  # of less than 25 tokens a column is not worth its call
    assert columns_of([50, 2], 30) == [0, 1]
    assert columns_of([0, 0], 30) == [0]
    assert columns_of([5], 30) == [0]


@given(st.lists(st.integers(0, 200), min_size=1), st.integers(1, 600))
def test_columns_hold_every_text_within_the_budget(lengths, budget):
    lengths = sorted(lengths, reverse=True)
    starts = columns_of(lengths, budget)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    for start, end in itertools.pairwise([*starts, len(lengths)]):
        assert end - start == 1 or (end - start) * max(1, lengths[start]) <= budget
