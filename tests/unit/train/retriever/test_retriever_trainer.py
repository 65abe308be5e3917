"""What the trainer has besides sentence-transformers' own."""

from __future__ import annotations

import pytest
import torch
from retriever_fixtures import tiny_model

from expandr_ir.errors import InputError
from expandr_ir.train.retriever.trainer import EpochSampler, add_adapters


def test_the_first_weights_of_adapters_follow_from_the_seed(tmp_path):
    def adapters(seed):
        torch.rand(seed + 3)  # whatever was drawn before
        model = tiny_model(tmp_path).model
        add_adapters(model, {"r": 2, "target_modules": ["query"]}, seed)
        return {name: weights.clone() for name, weights in model.named_parameters() if "lora_A" in name}

    first, same, other = (adapters(seed) for seed in (1, 1, 2))
    assert first
    for name, weights in first.items():
        assert torch.equal(weights, same[name])
        assert not torch.equal(weights, other[name])
    model = tiny_model(tmp_path).model
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
