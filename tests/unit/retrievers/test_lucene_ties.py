"""Anserini's way with ties, against its loop written out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.retrievers.lucene.searcher import adjust_ties


def one_by_one(scores):
    """ScoreTiesAdjusterReranker, hit by hit, in Java's types."""
    out: list[np.float32] = []
    ties = 0
    for position, score in enumerate(scores):
        rounded = np.float32(np.floor(np.float64(score) * 1e4 + 0.5) / 1e4)
        if position == 0 or out[-1] - rounded > np.float32(1e-4):
            ties = 0
        else:
            ties += 1
            rounded = rounded - np.float32(1e-6) * np.float32(ties)
        out.append(rounded)
    return out


def test_the_example_of_anserini():
    scores = np.array([23.439316, 22.087432, 22.087432, 21.602508], dtype=np.float32)
    expected = np.array([23.4393, 22.0874, 22.087399, 21.6025], dtype=np.float32)
    np.testing.assert_array_equal(adjust_ties(scores, np.array([0])), expected)


def test_rankings_do_not_touch_each_other():
    scores = np.array([2.0, 2.0, 2.0, 2.0], dtype=np.float32)
    expected = np.array([2.0, 1.999999, 2.0, 1.999999], dtype=np.float32)
    np.testing.assert_array_equal(adjust_ties(scores, np.array([0, 2])), expected)


def test_empty_rankings_before_between_and_after():
    scores = np.array([2.0, 2.0], dtype=np.float32)
    np.testing.assert_array_equal(adjust_ties(scores, np.array([0, 0, 1, 1, 2])), scores)
    assert adjust_ties(scores[:0], np.array([0, 0])).shape == (0,)


# Scores whose neighbours are 0, 1 or 2 ten-thousandths apart: where a tie may carry over.
near = st.lists(st.sampled_from([0, 1, 1, 2, 30]), min_size=1, max_size=300)


@given(near, st.integers(0, 400_000))
def test_equal_to_the_loop(gaps, lowest):
    steps = np.cumsum(np.array(gaps[::-1], dtype=np.int64))[::-1] + lowest
    scores = (steps / 1e4).astype(np.float32)
    np.testing.assert_array_equal(
        adjust_ties(scores, np.array([0])), np.array(one_by_one(list(scores)), dtype=np.float32)
    )


@given(st.lists(st.floats(0, 1000, width=32), max_size=100))
def test_equal_to_the_loop_on_any_scores(values):
    scores = np.array(sorted(values, reverse=True), dtype=np.float32)
    np.testing.assert_array_equal(
        adjust_ties(scores, np.array([0])), np.array(one_by_one(list(scores)), dtype=np.float32)
    )
