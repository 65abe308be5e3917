"""The retriever's losses as pure functions of vectors: nothing here knows a model, a batch or a process."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from expandr_ir.aggregate.dense import DenseOptions, dense_aggregation

NOWHERE = -1
"""Pads rows of indices that are shorter than others."""


def aggregate(name: str, topics: Tensor, expansions: Tensor, owners: Tensor, options: DenseOptions) -> Tensor:
    """The query vectors, shape (rows, dim), of f(q), all f(di), shape (n, dim), and the row of each of these."""
    if options.normalize_parts:
        topics, expansions = functional.normalize(topics, dim=-1), functional.normalize(expansions, dim=-1)
    if name == "none" or not len(owners):
        return topics
    combine = dense_aggregation(name)
    counts = torch.bincount(owners, minlength=len(topics))
    order = torch.argsort(owners, stable=True)
    starts = counts.cumsum(0) - counts
    queries = topics
    for count in sorted(set(counts.tolist()) - {0}):
        rows = (counts == count).nonzero()[:, 0]
        places = order[starts[rows] + torch.arange(count, device=rows.device)[:, None]]
        combined = combine(topics[rows], expansions[places], options)
        queries = queries.index_copy(0, rows, combined.to(queries.dtype))
    return queries


def similarities(queries: Tensor, documents: Tensor, temperature: float = 1.0, *, normalize: bool = False) -> Tensor:
    """Dot products over the temperature, or cosines where `normalize`; shape (rows, documents)."""
    if normalize:
        queries, documents = functional.normalize(queries, dim=-1), functional.normalize(documents, dim=-1)
    return queries @ documents.T / temperature


def infonce(scores: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
    """-log of each target's share in its row's softmax without the excluded, shape (rows,) (arXiv 1807.03748)."""
    if excluded is not None:
        scores = scores.masked_fill(excluded, float("-inf"))
    return functional.cross_entropy(scores, targets, reduction="none")


def other_positives(keys: Tensor, positives: Tensor, targets: Tensor) -> Tensor:
    """True where a document of the batch, by its key, answers a row and is not its target, shape (rows, documents)."""
    answers = (positives[:, :, None] == keys[None, None, :]).any(dim=1)
    return answers.scatter(1, targets[:, None], value=False)


def plackett_luce(scores: Tensor, groups: Tensor, excluded: Tensor | None = None) -> Tensor:
    """-1/G sum_g log softmax(scores without the first g members of the group)[member g] of each row, shape (rows,).

    The Plackett-Luce likelihood of the order of each row's group, shape (rows, G), all other candidates behind it:
    Reinforced-IR (arXiv 2502.11562), `m3_kd_loss` of its code, where only the order of the teacher's scores counts.
    """
    left = scores if excluded is None else scores.masked_fill(excluded, float("-inf"))
    total = torch.zeros_like(scores[:, 0])
    for members in groups.T:
        is_member = members != NOWHERE
        places = members.clamp(min=0)
        # a row that is through must not give inf
        logits = torch.where(is_member[:, None], left, torch.zeros_like(left))
        total = total + functional.cross_entropy(logits, places, reduction="none") * is_member
        passed = torch.zeros_like(left, dtype=torch.bool).scatter(1, places[:, None], is_member[:, None])
        left = left.masked_fill(passed, float("-inf"))
    return total / (groups != NOWHERE).sum(dim=1)


def answer_infonce(
    queries: Tensor, answers: Tensor, owners: Tensor, temperature: float = 0.05, others: Tensor | None = None
) -> Tensor:
    """InfoNCE(f(q), f(a)) of each answer over those of other rows and `others`, shape (answers,) (Reinforced-IR)."""
    targets = torch.arange(len(answers), device=answers.device)
    siblings = (owners[:, None] == owners[None, :]) & (targets[:, None] != targets[None, :])
    scores = similarities(queries[owners], answers, temperature)
    if others is not None:
        scores = torch.cat([scores, similarities(queries[owners], others, temperature)], dim=1)
        siblings = functional.pad(siblings, (0, len(others)))
    return infonce(scores, targets, siblings)


def norm_penalty(vectors: Tensor) -> Tensor:
    """(||v|| - 1)^2 of each vector, shape (vectors,): it keeps f(a) short in Reinforced-IR."""
    penalties: Tensor = (torch.linalg.vector_norm(vectors, dim=-1) - 1).square()
    return penalties
