"""The losses against numbers worked out by hand, and their gradients against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.aggregate.dense import DENSE, DenseOptions, dense_aggregation
from expandr_ir.train.retriever.losses import (
    aggregate,
    answer_infonce,
    infonce,
    norm_penalty,
    other_positives,
    plackett_luce,
    similarities,
)

VECTORIAL = sorted(DENSE.keys() - {"concat"})  # `concat` joins texts, so it has no gradient


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def expansion_infonce(queries, documents, targets, *, temperature=0.02, normalize=True, excluded=None):
    return infonce(similarities(queries, documents, temperature, normalize=normalize), targets, excluded)


def random_vectors(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_infonce_by_hand():
    scores = tensor([math.log(2), math.log(3), math.log(5)], [0.0, 0.0, 0.0])
    assert infonce(scores, torch.tensor([0, 2])).tolist() == pytest.approx([math.log(10 / 2), math.log(3)])
    excluded = torch.tensor([[False, True, False], [True, False, False]])
    got = infonce(scores, torch.tensor([0, 2]), excluded)
    assert got.tolist() == pytest.approx([math.log(7 / 2), math.log(2)])


def test_cosines_over_the_temperature():
    queries, documents = tensor([3.0, 4.0]), tensor([4.0, 3.0], [0.0, 2.0])
    assert similarities(queries, documents).tolist() == [[24.0, 8.0]]
    assert similarities(queries, documents, 0.02, normalize=True).tolist() == [
        pytest.approx([24 / 25 / 0.02, 0.8 / 0.02])
    ]


def test_copies_of_a_positive_and_other_positives_are_no_negatives():
    keys = torch.tensor([7, 8, 7, 9])  # row 0: 7 and its negative 8; row 1: 7 again, and 9
    positives = torch.tensor([[7, 9], [7, -1]])  # 9 is another positive of row 0
    excluded = other_positives(keys, positives, torch.tensor([0, 2]))
    assert excluded.tolist() == [[False, False, True, True], [True, False, False, False]]


def test_one_row_with_its_positive_alone_has_nothing_to_learn():
    queries = tensor([1.0, 2.0]).requires_grad_()
    loss = expansion_infonce(queries, tensor([1.0, 1.0]), torch.tensor([0]))
    assert loss.item() == 0
    loss.sum().backward()
    assert queries.grad.tolist() == [[0.0, 0.0]]


def test_plackett_luce_by_hand():
    scores = tensor([math.log(2), math.log(3), math.log(5), math.log(4)])
    # candidates 2, 3, 5, 4; order: the second, then the first
    wanted = (math.log(14 / 3) + math.log(11 / 2)) / 2
    assert plackett_luce(scores, torch.tensor([[1, 0]])).item() == pytest.approx(wanted)
    whole = (math.log(14 / 3) + math.log(11 / 2) + math.log(9 / 5) + 0) / 4
    assert plackett_luce(scores, torch.tensor([[1, 0, 2, 3]])).item() == pytest.approx(whole)


def test_plackett_luce_of_groups_of_different_lengths():
    scores = tensor([math.log(2), math.log(3), math.log(5)], [math.log(2), math.log(3), math.log(5)])
    got = plackett_luce(scores, torch.tensor([[0, 1], [2, -1]]))
    assert got.tolist() == pytest.approx([(math.log(10 / 2) + math.log(8 / 3)) / 2, math.log(2)])
    excluded = torch.tensor([[False, False, True], [False, True, False]])
    got = plackett_luce(scores, torch.tensor([[0, 1], [2, -1]]), excluded)
    assert got.tolist() == pytest.approx([(math.log(5 / 2) + 0) / 2, math.log(7 / 5)])


def test_plackett_luce_of_one_member_is_infonce():
    scores = random_vectors(3, 4, 6)
    targets = torch.tensor([1, 0, 5, 2])
    torch.testing.assert_close(plackett_luce(scores, targets[:, None]), infonce(scores, targets))


def test_answers_by_hand():
    queries, answers = tensor([1.0, 0.0], [0.0, 1.0]), tensor([1.0, 0.0], [0.0, 1.0], [2.0, 2.0])
    got = answer_infonce(queries, answers, torch.tensor([0, 1, 1]), temperature=0.5)
    # dot products over .5: row 0 has 2, 0, 4; row 1 has 0, 2, 4, and its two answers are no candidates of each other
    first = math.log(sum(map(math.exp, (2, 0, 4)))) - 2
    assert got.tolist() == pytest.approx([first, math.log(1 + math.exp(2)) - 2, math.log(1 + math.exp(4)) - 4])
    more = answer_infonce(queries, answers[:1], torch.tensor([0]), 0.5, others=answers[1:])
    assert more.tolist() == pytest.approx([first])


def test_the_norm_penalty_by_hand():
    assert norm_penalty(tensor([3.0, 4.0], [0.6, 0.8], [0.0, 0.5])).tolist() == pytest.approx([16, 0, 0.25])


@pytest.mark.parametrize("name", VECTORIAL)
@given(owners=st.lists(st.integers(0, 3), max_size=9), weight=st.floats(0, 1))
def test_queries_are_aggregated_as_they_are_searched(name, owners, weight):
    topics, expansions = random_vectors(1, 4, 5), random_vectors(2, len(owners), 5)
    options = DenseOptions(expansion_weight=weight)
    queries = aggregate(name, topics, expansions, torch.tensor(owners, dtype=torch.long), options)
    for row, (query, topic) in enumerate(zip(queries.numpy(), topics.numpy(), strict=True)):
        parts = expansions.numpy()[np.array(owners) == row] if owners else []
        np.testing.assert_allclose(query, dense_aggregation(name)(topic, parts, options) if len(parts) else topic)


def test_parts_are_normalized_before_they_are_put_together():
    topics, expansions = tensor([3.0, 4.0], [0.0, 2.0]), tensor([5.0, 0.0])
    queries = aggregate("mean", topics, expansions, torch.tensor([0]), DenseOptions(normalize_parts=True))
    assert queries.tolist() == [pytest.approx([0.8, 0.4]), [0.0, 1.0]]


@pytest.mark.parametrize("name", VECTORIAL)
@pytest.mark.parametrize("normalize_parts", [False, True])
def test_gradients_of_the_aggregated_infonce(name, normalize_parts):
    owners, targets = torch.tensor([0, 2, 2]), torch.tensor([0, 2, 3])
    excluded = other_positives(
        torch.tensor([1, 2, 3, 1, 5]), torch.tensor([[1, -1], [3, -1], [1, 5]]), torch.tensor([0, 2, 3])
    )

    def loss(topics, expansions, documents):
        options = DenseOptions(normalize_parts=normalize_parts)
        queries = aggregate(name, topics, expansions, owners, options)
        return expansion_infonce(queries, documents, targets, temperature=0.3, excluded=excluded)

    inputs = [random_vectors(seed, rows, 4).requires_grad_() for seed, rows in enumerate((3, 3, 5))]
    assert torch.autograd.gradcheck(loss, inputs)


def test_gradients_of_reinforced_ir():
    groups = torch.tensor([[0, 1, 2], [3, -1, -1], [4, 5, -1]])

    def loss(queries, answers, documents):
        distilled = plackett_luce(similarities(queries, documents, 0.3), groups)
        matched = answer_infonce(queries, answers, torch.tensor([0, 1, 1, 2]), 0.4)
        return distilled.mean() + matched.mean() + norm_penalty(answers).mean()

    inputs = [random_vectors(seed, rows, 4).requires_grad_() for seed, rows in enumerate((3, 4, 6))]
    assert torch.autograd.gradcheck(loss, inputs)
