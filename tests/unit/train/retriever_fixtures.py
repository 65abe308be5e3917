"""Rows, and a tiny encoder with its batches and gradients, for the tests of the retriever's training."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

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


def row(row_id, query, positives, negatives=(), expansions=()):
    return RetrieverRow(TrainingRow(row_id, query, tuple(positives), tuple(negatives)), tuple(expansions))


def rows(count=8, *, negatives=2, expansions=1):
    """Rows whose texts differ in length; every third shares its positive with the one before."""
    made = []
    for at in range(count):
        word, other = WORDS[at % len(WORDS)], WORDS[(at + 5) % len(WORDS)]
        positive = f"{WORDS[at - 1]} helps" if at % 3 == 2 else f"{word} helps"
        texts = [f"no {other} {step}" * (1 + (at + step) % 3) for step in range(negatives)]
        made.append(
            row(
                f"r{at}",
                f"what of {word} {at}",
                [positive],
                texts,
                [f"{word} and {other} {n}" for n in range(expansions)],
            )
        )
    return made


@dataclass
class Tiny:
    """A sentence-transformers model of 32 dimensions and its configuration without blanks."""

    model: Any
    config: EncoderConfig

    def collator(self, made, objective=None, batch_tokens=40, config=None, **options):
        parts = (config or self.config, objective or ObjectiveOptions(), RowOptions("rows", **options))
        return Collator(made, self.model.tokenizer, *parts, 0, batch_tokens)

    def batch(self, made, objective=None, order=None, **options):
        """The columns and the labels that the trainer would hand to the loss."""
        numbers = range(len(made)) if order is None else order
        batch = self.collator(made, objective, **options)([{"row": number} for number in numbers])
        labels = batch.pop("label")
        names = ("input_ids", "attention_mask")
        columns = itertools.takewhile(lambda at: f"text{at}_input_ids" in batch, itertools.count())
        features = [{name: batch[f"text{at}_{name}"] for name in names} for at in columns]
        assert len(batch) == 2 * len(features)
        return features, labels

    def vectors(self, features):
        return torch.cat([self.model(dict(column))["sentence_embedding"] for column in features])

    def gradients(self, objective, features, labels, *, cached):
        """The loss and its gradients."""
        self.model.zero_grad()
        value = RetrieverLoss(self.model, objective, cached=cached)(features, labels)
        value.backward()
        weights = self.model.named_parameters()
        return value.item(), {name: tensor.grad.clone() for name, tensor in weights if tensor.grad is not None}


def tiny_model(folder, *, normalize=False, dropout=0.0):
    config = EncoderConfig(model=str(tiny_bert(folder)), pooling="mean", normalize=normalize, similarity="dot")
    model, config = assemble(config, folder)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return Tiny(model.train(), config)
