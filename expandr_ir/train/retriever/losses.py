"""The retriever's losses as pure functions of vectors: nothing here knows a model, a batch or a process."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from expandr_ir.aggregate.dense import DenseOptions, dense_aggregation

NOWHERE = -1
"""Pads rows of indices that are shorter than others."""


def aggregate(name: str, topics: Tensor, expansions: Tensor, owners: Tensor, options: DenseOptions) -> Tensor:
    """The query vectors, float tensor of shape (rows, dim): the dense aggregations of `expandr_ir.aggregate`.

    Of f(q), shape (rows, dim), all f(di), shape (n, dim), and the row of each, shape (n,). A row without an expansion
    keeps f(q). Rows with equally many are aggregated in one go.
    """
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
    """Dot products over the temperature, or cosines where `normalize`; float tensor of shape (rows, documents).

    ExpandR's paper (arXiv 2502.17057) has cosines over .02; its released training code takes dot products as they are.
    """
    if normalize:
        queries, documents = functional.normalize(queries, dim=-1), functional.normalize(documents, dim=-1)
    return queries @ documents.T / temperature


def infonce(scores: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
    """-log of the target's share in each row's softmax, float tensor of shape (rows,) (van den Oord, arXiv 1807.03748).

    Of scores, shape (rows, candidates), and each row's target; excluded candidates are left out of a row's softmax.
    """
    if excluded is not None:
        scores = scores.masked_fill(excluded, float("-inf"))
    return functional.cross_entropy(scores, targets, reduction="none")


def other_positives(keys: Tensor, positives: Tensor, targets: Tensor) -> Tensor:
    """True where a document of the batch answers a row and is not its target, bool tensor of shape (rows, documents).

    Among them are copies of the target that came with other rows, and the row's other positives. Equal documents have
    equal keys, shape (documents,); `positives` has those of each row's, padded with NOWHERE, shape (rows, most).
    """
    answers = (positives[:, :, None] == keys[None, None, :]).any(dim=1)
    return answers.scatter(1, targets[:, None], value=False)


def plackett_luce(scores: Tensor, groups: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Each row's listwise distillation of an order, float tensor of shape (rows,).

    -1/G sum_g log softmax(scores without the first g members of the group)[member g]: the Plackett-Luce likelihood of
    the LLM's order with all other candidates behind it. Reinforced-IR (arXiv 2502.11562; `m3_kd_loss` of its code,
    where the teacher's scores have no weight, only their order). Of scores, shape (rows, candidates), and the groups of
    candidates, best first, padded at the end with NOWHERE, shape (rows, G).
    """
    left = scores if excluded is None else scores.masked_fill(excluded, float("-inf"))
    total = torch.zeros_like(scores[:, 0])
    for members in groups.T:
        is_member = members != NOWHERE
        places = members.clamp(min=0)
        logits = torch.where(
            is_member[:, None], left, torch.zeros_like(left)
        )  # a row that is through must not give inf
        total = total + functional.cross_entropy(logits, places, reduction="none") * is_member
        passed = torch.zeros_like(left, dtype=torch.bool).scatter(1, places[:, None], is_member[:, None])
        left = left.masked_fill(passed, float("-inf"))
    return total / (groups != NOWHERE).sum(dim=1)


def answer_infonce(
    queries: Tensor, answers: Tensor, owners: Tensor, temperature: float = 0.05, others: Tensor | None = None
) -> Tensor:
    """InfoNCE(f(q), f(a)) of each answer over the answers of other rows, shape (answers,) (Reinforced-IR).

    Of f(q), shape (rows, dim), f(a), shape (answers, dim), the row of each answer, and answers of other processes.
    """
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
