"""Anserini's way with ties, against its loop written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.retrievers.lucene.searcher import adjust_ties


def by_loop(scores):
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
    return np.array(out, dtype=np.float32)


@pytest.mark.parametrize(
    ("scores", "starts", "expected"),
    [
        # Anserini's own example
        ([23.439316, 22.087432, 22.087432, 21.602508], [0], [23.4393, 22.0874, 22.087399, 21.6025]),
        ([2.0, 2.0, 2.0, 2.0], [0, 2], [2.0, 1.999999, 2.0, 1.999999]),
        ([2.0, 2.0], [0, 0, 1, 1, 2], [2.0, 2.0]),
        ([], [0, 0], []),
    ],
)
def test_rankings_and_empty_ones(scores, starts, expected):
    adjusted = adjust_ties(np.array(scores, dtype=np.float32), np.array(starts))
    np.testing.assert_array_equal(adjusted, np.array(expected, dtype=np.float32))


# Scores whose neighbours are 0, 1 or 2 ten-thousandths apart: where a tie may carry over.
near = st.builds(
    lambda gaps, lowest: ((np.cumsum(gaps)[::-1] + lowest) / 1e4).tolist(),
    st.lists(st.sampled_from([0, 1, 1, 2, 30]), min_size=1, max_size=300),
    st.integers(0, 400_000),
)


@given(near | st.lists(st.floats(0, 1000, width=32), max_size=100))
def test_equal_to_the_loop(values):
    scores = np.array(sorted(values, reverse=True), dtype=np.float32)
    np.testing.assert_array_equal(adjust_ties(scores, np.array([0])), by_loop(scores))
