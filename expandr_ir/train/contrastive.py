"""The retriever's objective over a batch, and the sentence-transformers loss around it, plain or cached."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from sentence_transformers.base.losses import CachedLossMixin
from torch import Tensor, nn

from expandr_ir.encoders.batching import STATES
from expandr_ir.train.losses import (
    aggregate,
    answer_infonce,
    expansion_infonce,
    norm_penalty,
    other_positives,
    plackett_luce,
    similarities,
)
from expandr_ir.train.processes import join, share_of
from expandr_ir.train.retriever_options import ObjectiveOptions


class Objective(nn.Module):
    """Vectors of a batch to its loss: the mean over the rows of all processes, so that DDP's average is exact.

    Args:
        options: which loss.
    """

    def __init__(self, options: ObjectiveOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, vectors: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """The loss, a float32 scalar (or of the vectors' type, where that is wider).

        Args:
            vectors: of the batch's distinct texts, shape (texts, dim).
            labels: of `Collator`.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            return self._loss(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), labels)

    def _loss(self, vectors: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        options = self.options
        if options.dense.normalize_parts:
            vectors = nn.functional.normalize(vectors, dim=-1)
        topics, expansions, documents = (vectors[labels[name]] for name in ("queries", "expansions", "documents"))
        queries = topics
        if options.aggregation != "concat":
            queries = aggregate(options.aggregation, topics, expansions, labels["owners"], options.dense)
        everyone, start = join(documents) if options.across_processes else (documents, 0)
        keys, _ = join(labels["keys"]) if options.across_processes else (labels["keys"], 0)
        groups = torch.where(labels["groups"] >= 0, labels["groups"] + start, labels["groups"])
        targets = groups[:, 0]
        excluded = other_positives(keys, labels["positives"], targets) if options.mask_duplicates else None
        share = share_of(len(targets), targets.device)
        loss = self._ranking(queries, everyone, groups, excluded).sum() * share
        if options.alone_weight:
            loss = loss + options.alone_weight * self._ranking(topics, everyone, groups, excluded).sum() * share
        if options.reads_answers:
            written = labels["expansions"] != labels["queries"][labels["owners"]]  # an empty one is the query itself
            loss = loss + self._of_answers(
                topics, expansions[written], labels["owners"][written], everyone, targets, excluded
            )
        return loss

    def _ranking(self, queries: Tensor, documents: Tensor, groups: Tensor, excluded: Tensor | None) -> Tensor:
        """How badly queries rank their groups among all documents, shape (rows,)."""
        options = self.options
        if options.listwise:
            scores = similarities(queries, documents, options.temperature, normalize=options.normalize)
            return plackett_luce(scores, groups, excluded)
        return expansion_infonce(
            queries,
            documents,
            groups[:, 0],
            temperature=options.temperature,
            normalize=options.normalize,
            excluded=excluded,
        )

    def _of_answers(
        self, topics: Tensor, answers: Tensor, owners: Tensor, documents: Tensor, targets: Tensor,
        excluded: Tensor | None,
    ) -> Tensor:  # fmt: skip
        options = self.options
        total = torch.zeros_like(topics[:0].sum())
        share = share_of(len(answers), topics.device)
        if options.answer_weight:
            others = None
            if options.across_processes:
                everyone, start = join(answers)
                others = torch.cat([everyone[:start], everyone[start + len(answers) :]])
            matched = answer_infonce(topics, answers, owners, options.answer_temperature, others)
            total = total + options.answer_weight * matched.sum() * share
        if options.answer_passage_weight:
            passages = expansion_infonce(
                answers,
                documents,
                targets[owners],
                temperature=options.temperature,
                normalize=options.normalize,
                excluded=None if excluded is None else excluded[owners],
            )
            total = total + options.answer_passage_weight * passages.sum() * share
        if options.norm_weight:
            total = total + options.norm_weight * norm_penalty(answers).sum() * share
        return total


class RetrieverLoss(CachedLossMixin, nn.Module):  # type: ignore[misc]
    """The loss module for sentence-transformers' trainer.

    The columns of a batch are encoded one after the other. Plain, all their activations are kept for one backward pass.
    Cached (GradCache, arXiv 2101.06983), the columns are encoded without gradients, the loss gives the gradients of
    their vectors, and each is encoded once more to carry these on: the same gradients, and the memory of one column,
    whatever the size of the batch.

    Args:
        model: what encodes.
        options: the objective.
        cached: whether gradients are cached.
    """

    def __init__(self, model: nn.Module, options: ObjectiveOptions, *, cached: bool) -> None:
        super().__init__()
        self.model = model
        self.objective = Objective(options)
        self.mini_batch_size = sys.maxsize  # a column is encoded whole
        self.uses_gradient_cache = cached

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch.

        Args:
            sentence_features: the token ids and masks of each column of `Collator`.
            labels: its labels.
        """
        columns = list(sentence_features)
        if self.uses_gradient_cache:
            cached: Tensor = self.forward_cached(columns, labels)  # type: ignore[operator]
            return cached
        vectors = [self.model(column)["sentence_embedding"] for column in columns]
        loss: Tensor = self.objective(torch.cat(vectors), labels)
        return loss

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Mapping[str, Tensor] | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss of the vectors, and the gradients of these where `with_backward`."""
        assert labels is not None
        loss: Tensor = self.objective(torch.cat([part for column in reps for part in column]), labels)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        return loss


def pool_in_float32(model: nn.Sequential) -> Any:
    """The hook that hands the first module's states on in float32, as `expandr_ir.encoders` pools; `.remove()` ends it.

    Args:
        model: a sentence-transformers model, which autocast runs in two bytes.
    """

    def widen(module: nn.Module, inputs: Any, features: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
        for name in STATES & features.keys():
            features[name] = features[name].float()
        return features

    return model[0].register_forward_hook(widen)
