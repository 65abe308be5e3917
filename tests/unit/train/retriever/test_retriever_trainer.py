"""What the trainer has besides sentence-transformers' own."""

from __future__ import annotations

import pytest
import torch
from retriever_fixtures import tiny_model

from expandr_ir.errors import InputError
from expandr_ir.train.retriever.options import training_arguments
from expandr_ir.train.retriever.trainer import EpochSampler, add_adapters

LORA = {"r": 2, "target_modules": ["query"]}


def adapters(folder, seed):
    torch.rand(seed + 3)  # whatever was drawn before
    model, _ = tiny_model(folder)
    add_adapters(model, LORA, seed)
    return {name: weights.clone() for name, weights in model.named_parameters() if "lora_A" in name}


def test_the_first_weights_of_adapters_follow_from_the_seed(tmp_path):
    one, same, other = (adapters(tmp_path, seed) for seed in (1, 1, 2))
    assert one
    assert all(torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name]) for name in one)
    model, _ = tiny_model(tmp_path)
    assert add_adapters(model, None, 0) is None
    with pytest.raises(InputError, match=r"(?s)--lora: .*query"):
        add_adapters(model, {"target_modules": ["nothing"]}, 0)


def test_the_order_of_rows_follows_from_seed_and_epoch():
    sampler = EpochSampler(range(10), 4, False, seed=3)
    orders = []
    for sampler.current in (0, 1, 0):
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(row for batch in orders[0] for row in batch) == list(range(10))
    assert [len(batch) for batch in orders[0]] == [4, 4, 2]
    assert len(list(EpochSampler(range(10), 4, True, seed=3))) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"learnin_rate": 1}, "learning_rate"),
        ({"output_dir": "x"}, "--output DIR"),
        ({"eval_strategy": "steps"}, "without a dev set"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, given, says):
    with pytest.raises(InputError, match=says):
        training_arguments(given, tmp_path, None)
