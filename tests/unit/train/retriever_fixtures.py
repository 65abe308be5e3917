"""Rows, a tiny encoder and its collator, for the tests of the retriever's training."""

from __future__ import annotations

import torch
from tiny_encoders import tiny_bert

from expandr_ir.config import EncoderConfig
from expandr_ir.encoders.assemble import assemble
from expandr_ir.train.data.rows import TrainingRow
from expandr_ir.train.retriever.batch import Collator
from expandr_ir.train.retriever.data import RetrieverRow
from expandr_ir.train.retriever.objective import RetrieverLoss
from expandr_ir.train.retriever.options import ObjectiveOptions, RowOptions

WORDS = ["zinc", "flea", "aspirin", "deque", "bird", "vitamin", "egg", "log", "heart", "cold", "song", "evidence"]


def rows(count=8, *, negatives=2, expansions=1):
    """Rows whose texts differ in length; every third shares its positive with the one before."""
    made = []
    for at in range(count):
        word, other = WORDS[at % len(WORDS)], WORDS[(at + 5) % len(WORDS)]
        positive = f"{WORDS[at - 1]} helps" if at % 3 == 2 else f"{word} helps"
        texts = tuple(f"no {other} {step}" * (1 + (at + step) % 3) for step in range(negatives))
        written = tuple(f"{word} and {other} {step}" for step in range(expansions))
        made.append(RetrieverRow(TrainingRow(f"r{at}", f"what of {word} {at}", (positive,), texts), written))
    return made


def tiny_model(folder, *, normalize=False, dropout=0.0):
    """A sentence-transformers model of 32 dimensions and its configuration without blanks."""
    config = EncoderConfig(model=str(tiny_bert(folder)), pooling="mean", normalize=normalize, similarity="dot")
    model, config = assemble(config, folder)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model.train(), config


def collator(model, config, made, objective=None, batch_tokens=40, **options):
    chosen = RowOptions("rows", **options)
    return Collator(made, model.tokenizer, config, objective or ObjectiveOptions(), chosen, 0, batch_tokens)


def batch_of(collate, numbers):
    """The features and the labels that the trainer would hand to the loss."""
    batch = collate([{"row": number} for number in numbers])
    labels = batch.pop("label")
    return list(columns(batch)), labels


def columns(batch):
    """The columns as sentence-transformers' trainer collects them."""
    number = 0
    while f"text{number}_input_ids" in batch:
        yield {name: batch[f"text{number}_{name}"] for name in ("input_ids", "attention_mask")}
        number += 1
    assert len(batch) == 2 * number


def loss_and_gradients(model, objective, features, labels, *, cached):
    loss = RetrieverLoss(model, objective, cached=cached)
    model.zero_grad()
    value = loss(features, labels)
    value.backward()
    return value.item(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
