"""The retriever's objective over a batch, and the sentence-transformers loss around it, plain or cached."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from sentence_transformers.base.losses import CachedLossMixin
from torch import Tensor, distributed, nn

from expandr_ir.encoders.batching import STATES
from expandr_ir.train.retriever.losses import (
    NOWHERE,
    aggregate,
    answer_infonce,
    infonce,
    norm_penalty,
    other_positives,
    plackett_luce,
    similarities,
)
from expandr_ir.train.retriever.options import ObjectiveOptions


class Objective(nn.Module):
    """Vectors of a batch to its loss: the mean over the rows of all processes, so that DDP's average is exact."""

    def __init__(self, options: ObjectiveOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, vectors: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """The loss, at least float32, of the vectors of a batch's distinct texts, shape (texts, dim)."""
        with torch.autocast(vectors.device.type, enabled=False):
            return self._loss(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), labels)

    def _loss(self, vectors: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        options = self.options
        if options.dense.normalize_parts:
            vectors = nn.functional.normalize(vectors, dim=-1)
        topics, expansions, documents = (vectors[labels[name]] for name in ("queries", "expansions", "documents"))
        keys, owners, start = labels["keys"], labels["owners"], 0
        queries = topics
        if options.aggregation != "concat":
            queries = aggregate(options.aggregation, topics, expansions, owners, options.dense)
        if options.across_processes:
            documents, start = join(documents)
            keys, _ = join(keys)
        groups = torch.where(labels["groups"] >= 0, labels["groups"] + start, labels["groups"])
        targets = groups[:, 0]
        excluded = other_positives(keys, labels["positives"], targets) if options.mask_duplicates else None
        loss = joint_mean(self._ranking(queries, documents, groups, excluded))
        if options.alone_weight:
            loss = loss + joint_mean(self._ranking(topics, documents, groups, excluded), options.alone_weight)
        if not options.reads_answers:
            return loss
        is_written = labels["expansions"] != labels["queries"][owners]  # an empty one is the query itself
        answers, owners = expansions[is_written], owners[is_written]
        total = torch.zeros_like(loss)
        if options.answer_weight:
            others = None
            if options.across_processes:
                everyone, first = join(answers)
                others = torch.cat([everyone[:first], everyone[first + len(answers) :]])
            matched = answer_infonce(topics, answers, owners, options.answer_temperature, others)
            total = total + joint_mean(matched, options.answer_weight)
        if options.answer_passage_weight:
            scores = similarities(answers, documents, options.temperature, normalize=options.normalize)
            passages = infonce(scores, targets[owners], None if excluded is None else excluded[owners])
            total = total + joint_mean(passages, options.answer_passage_weight)
        if options.norm_weight:
            total = total + joint_mean(norm_penalty(answers), options.norm_weight)
        return loss + total

    def _ranking(self, queries: Tensor, documents: Tensor, groups: Tensor, excluded: Tensor | None) -> Tensor:
        """The loss of queries that rank their groups among all documents, shape (rows,)."""
        options = self.options
        scores = similarities(queries, documents, options.temperature, normalize=options.normalize)
        return plackett_luce(scores, groups, excluded) if options.listwise else infonce(scores, groups[:, 0], excluded)


class RetrieverLoss(CachedLossMixin, nn.Module):  # type: ignore[misc]
    """The loss module for sentence-transformers' trainer, whose own take one text as the query.

    Cached (GradCache, arXiv 2101.06983), the columns of a batch are encoded one by one without gradients, the loss
    gives the gradients of their vectors, and each column is encoded once more to carry these on.
    """

    def __init__(self, model: nn.Module, options: ObjectiveOptions, *, cached: bool) -> None:
        super().__init__()
        self.model = model
        self.objective = Objective(options)
        self.mini_batch_size = sys.maxsize  # a column is encoded whole
        self.uses_gradient_cache = cached

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Mapping[str, Tensor]) -> Tensor:
        """The loss of the columns and labels of `Collator`."""
        columns = list(sentence_features)
        if self.uses_gradient_cache:
            return self.forward_cached(columns, labels)  # type: ignore[operator,no-any-return]
        return self.calculate_loss([[self.model(column)["sentence_embedding"]] for column in columns], labels)

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
    """The hook by which a model under autocast pools in float32, as `expandr_ir.encoders` does; `.remove()` ends it."""

    def widen(module: nn.Module, inputs: Any, features: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
        for name in STATES & features.keys():
            features[name] = features[name].float()
        return features

    return model[0].register_forward_hook(widen)


def join(tensor: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes, and where this one's begin; a gradient is the sum over all processes' losses."""
    # sentence-transformers' `all_gather` wants equally many rows of each process
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor, 0
    sizes = [torch.zeros(1, dtype=torch.long, device=tensor.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, torch.tensor([len(tensor)], device=tensor.device))
    counts = [int(size) for size in sizes]
    fill = 0 if tensor.is_floating_point() else NOWHERE
    padded = torch.cat([tensor, tensor.new_full((max(counts) - len(tensor), *tensor.shape[1:]), fill)]).contiguous()
    if tensor.is_floating_point() and torch.is_grad_enabled():
        from torch.distributed.nn.functional import all_gather

        parts = list(all_gather(padded))  # type: ignore[no-untyped-call]
    else:
        parts = [torch.zeros_like(padded) for _ in counts]
        distributed.all_gather(parts, padded.detach())
    rows = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
    return rows, sum(counts[: distributed.get_rank()])


def joint_mean(losses: Tensor, weight: float = 1.0) -> Tensor:
    """The weighted sum of this process's losses, shape (rows,), scaled so that DDP's average is the mean of all."""
    share = 1 / max(1, len(losses))
    if distributed.is_available() and distributed.is_initialized():
        total = torch.tensor([len(losses)], device=losses.device)
        distributed.all_reduce(total)
        share = distributed.get_world_size() / max(1, int(total))
    return weight * losses.sum() * share
