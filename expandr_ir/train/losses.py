"""The retriever's losses as pure functions of vectors: nothing here knows a model, a batch or a process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from expandr_ir.aggregate.dense import VECTORIAL, DenseOptions

NOWHERE = -1
"""Pads rows of indices that are shorter than others."""


def aggregate(name: str, topics: Tensor, expansions: Tensor, owners: Tensor, options: DenseOptions) -> Tensor:
    """The query vectors, float tensor of shape (rows, dim): the dense aggregations of `expandr_ir.aggregate`.

    A row without an expansion keeps the topic's own vector. Rows with equally many are aggregated in one go.

    Args:
        name: one of VECTORIAL.
        topics: f(q), shape (rows, dim).
        expansions: f(di) of all rows, shape (n, dim).
        owners: the row of each expansion, shape (n,).
        options: the aggregation's numbers; `normalize_parts` L2-normalises topics and expansions first.
    """
    if options.normalize_parts:
        topics, expansions = functional.normalize(topics, dim=-1), functional.normalize(expansions, dim=-1)
    if name == "none" or not len(owners):
        return topics
    combine: Any = VECTORIAL[name]
    counts = torch.bincount(owners, minlength=len(topics))
    order = torch.argsort(owners, stable=True)
    starts = counts.cumsum(0) - counts
    queries = topics
    for count in sorted(set(counts.tolist())):
        if count:
            rows = (counts == count).nonzero()[:, 0]
            places = order[starts[rows] + torch.arange(count, device=rows.device)[:, None]]
            combined = combine(topics[rows], expansions[places], options)
            queries = queries.index_copy(0, rows, combined.to(queries.dtype))
    return queries


def similarities(queries: Tensor, documents: Tensor, temperature: float = 1.0, *, normalize: bool = False) -> Tensor:
    """Dot products over the temperature, or cosines where `normalize`; float tensor of shape (rows, documents)."""
    if normalize:
        queries, documents = functional.normalize(queries, dim=-1), functional.normalize(documents, dim=-1)
    return queries @ documents.T / temperature


def infonce(scores: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
    """-log of the target's share in each row's softmax, float tensor of shape (rows,) (van den Oord, arXiv 1807.03748).

    Args:
        scores: shape (rows, candidates).
        targets: the column of each row's positive.
        excluded: True where a candidate is left out of a row's softmax; never a row's target.
    """
    if excluded is not None:
        scores = scores.masked_fill(excluded, float("-inf"))
    return functional.cross_entropy(scores, targets, reduction="none")


def expansion_infonce(
    queries: Tensor,
    documents: Tensor,
    targets: Tensor,
    *,
    temperature: float = 0.02,
    normalize: bool = True,
    excluded: Tensor | None = None,
) -> Tensor:
    """InfoNCE of the aggregated query over all documents of the batch, shape (rows,) (ExpandR, arXiv 2502.17057).

    Its paper means cosines over .02. Its released training code takes dot products as they are: temperature 1 and
    normalize False.

    Args:
        queries: of `aggregate`, shape (rows, dim).
        documents: positives and negatives of all rows, shape (documents, dim).
        targets: the place of each row's positive among the documents.
        temperature: what scores are divided by.
        normalize: cosines in place of dot products.
        excluded: of `other_positives`.
    """
    return infonce(similarities(queries, documents, temperature, normalize=normalize), targets, excluded)


def other_positives(keys: Tensor, positives: Tensor, targets: Tensor) -> Tensor:
    """True where a document of the batch answers a row and is not its target, bool tensor of shape (rows, documents).

    Among them are copies of the target that came with other rows, and the row's other positives.

    Args:
        keys: an int for each document; equal documents have equal ones. Shape (documents,).
        positives: the keys of all that answers each row, padded with NOWHERE, shape (rows, most positives).
        targets: the place of each row's target.
    """
    answers = (positives[:, :, None] == keys[None, None, :]).any(dim=1)
    return answers.scatter(1, targets[:, None], value=False)


def plackett_luce(scores: Tensor, groups: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Each row's listwise distillation of an order, float tensor of shape (rows,).

    -1/G sum_g log softmax(scores without the first g members of the group)[member g]: the Plackett-Luce likelihood of
    the LLM's order with all other candidates behind it. Reinforced-IR (arXiv 2502.11562; `m3_kd_loss` of its code,
    where the teacher's scores have no weight, only their order).

    Args:
        scores: shape (rows, candidates).
        groups: the candidates that the LLM put into an order, best first, padded at the end with NOWHERE; shape
            (rows, G), at least one in each row.
        excluded: True where a candidate is left out of a row; never a member of its group.
    """
    left = scores if excluded is None else scores.masked_fill(excluded, float("-inf"))
    total = torch.zeros_like(scores[:, 0])
    for members in groups.T:
        here = members != NOWHERE
        places = members.clamp(min=0)
        logits = torch.where(here[:, None], left, torch.zeros_like(left))  # a row that is through must not give inf
        total = total + functional.cross_entropy(logits, places, reduction="none") * here
        taken = torch.zeros_like(left, dtype=torch.bool).scatter(1, places[:, None], here[:, None])
        left = left.masked_fill(taken, float("-inf"))
    return total / (groups != NOWHERE).sum(dim=1)


def answer_infonce(
    queries: Tensor, answers: Tensor, owners: Tensor, temperature: float = 0.05, others: Tensor | None = None
) -> Tensor:
    """InfoNCE(f(q), f(a)) of each answer over the answers of other rows, shape (answers,) (Reinforced-IR).

    Args:
        queries: f(q), shape (rows, dim).
        answers: f(a), shape (answers, dim).
        owners: the row of each answer.
        temperature: what dot products are divided by.
        others: answers of other processes, shape (n, dim).
    """
    own = torch.arange(len(answers), device=answers.device)
    siblings = (owners[:, None] == owners[None, :]) & (own[:, None] != own[None, :])
    scores = similarities(queries[owners], answers, temperature)
    if others is not None:
        scores = torch.cat([scores, similarities(queries[owners], others, temperature)], dim=1)
        siblings = functional.pad(siblings, (0, len(others)))
    return infonce(scores, own, siblings)


def norm_penalty(vectors: Tensor) -> Tensor:
    """(||v|| - 1)^2 of each vector, shape (vectors,): what keeps f(a) short in Reinforced-IR."""
    penalties: Tensor = (torch.linalg.vector_norm(vectors, dim=-1) - 1).square()
    return penalties
