"""Rewards: how good each candidate of one query is, pure functions of arrays, by name.

A new reward is one function with a `@reward` line here, and a line under `rewards:` in a configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from expandr_ir.errors import ExpandrError, InputError, unknown_name

_T = TypeVar("_T")

Floats: TypeAlias = NDArray[np.float64]

Need: TypeAlias = Literal["positive", "answer", "query", "corpus"]
"""A field of Evidence."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one query's candidates; a field is None where no reward needs it.

    Args:
        positive: similarity of each candidate to the positive, shape (n_candidates,).
        answer: similarity of each candidate to the LLM's own answer, shape (n_candidates,).
        query: similarity of the query itself to the positive.
        corpus: rank, from 1, of each positive in the collection when it is searched with each candidate; shape
            (n_candidates, n_positives), 0 where it was not found.
        grades: relevance grades of these positives, shape (n_positives,).
    """

    positive: Floats | None = None
    answer: Floats | None = None
    query: float | None = None
    corpus: NDArray[np.int64] | None = None
    grades: Floats | None = None


@dataclass(frozen=True)
class RewardOptions:
    """Numbers of the rewards; each name reads its own.

    Args:
        expansion_weight: for `margin`, the candidate's share a of the query's vector; .2 is Reinforced-IR's.
        measure: for `corpus`, "rr" (reciprocal rank of the best positive) or "ndcg".
        cutoff: for `corpus` with "ndcg", the rank below which nothing counts.
    """

    expansion_weight: float = 0.2
    measure: Literal["rr", "ndcg"] = "rr"
    cutoff: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.expansion_weight <= 1:
            raise InputError(f"expansion_weight is {self.expansion_weight}", expected="a share above 0, at most 1")
        if self.cutoff < 1:
            raise InputError(f"cutoff is {self.cutoff}", expected="1 or more")


class Reward(NamedTuple):
    """A reward: the function, and the evidence it reads."""

    function: Callable[[Evidence, RewardOptions], Floats]
    needs: tuple[Need, ...]


DECIMALS = 12
"""Of a summed reward: 1/20 + 1/30 and 1/24 + 1/24 are one twelfth, which float64 alone does not see."""

REWARDS: dict[str, Reward] = {}
"""The rewards by name; each gives an array of shape (n_candidates,), higher is better."""


def reward(
    name: str, *needs: Need
) -> Callable[[Callable[[Evidence, RewardOptions], Floats]], Callable[[Evidence, RewardOptions], Floats]]:
    """Registers a reward under a name, with the evidence that it reads."""

    def register(function: Callable[[Evidence, RewardOptions], Floats]) -> Callable[[Evidence, RewardOptions], Floats]:
        REWARDS[name] = Reward(function, needs)
        return function

    return register


def ranks(similarities: Floats) -> NDArray[np.int64]:
    """1 + the number of candidates that are more similar, shape (n_candidates,): candidates that tie share a rank.

    Ties share their best rank (1, 2, 2, 4), so that a reward does not depend on the candidates' order and equal
    candidates are worth the same. ExpandR's released code gives tied candidates different ranks in no stated order.
    """
    rising = np.sort(similarities)
    greater = len(rising) - np.searchsorted(rising, similarities, side="right")
    return (1 + greater).astype(np.int64)


@reward("retriever", "positive")
def retriever(evidence: Evidence, options: RewardOptions) -> Floats:  # noqa: ARG001
    """1 / rank of each candidate among its siblings by similarity to the positive (ExpandR, arXiv 2502.17057)."""
    return 1.0 / ranks(_given(evidence.positive, "positive"))


@reward("self", "answer")
def self_reward(evidence: Evidence, options: RewardOptions) -> Floats:  # noqa: ARG001
    """1 / rank of each candidate among its siblings by similarity to the LLM's answer (ExpandR's self-reward)."""
    return 1.0 / ranks(_given(evidence.answer, "answer"))


@reward("margin", "positive", "query")
def margin(evidence: Evidence, options: RewardOptions) -> Floats:
    """<(1 - a) f(q) + a f(d), f(positive)> (Reinforced-IR, arXiv 2502.11562: a = .2); the dot product is linear."""
    share = options.expansion_weight
    return (1 - share) * _given(evidence.query, "query") + share * _given(evidence.positive, "positive")


@reward("corpus", "corpus")
def corpus(evidence: Evidence, options: RewardOptions) -> Floats:
    """Reciprocal rank or nDCG of the positives in the whole collection, searched with each candidate; 0 if not found.

    nDCG's gain is the grade, its discount 1 / log2(rank + 1), as in trec_eval.
    """
    found = _given(evidence.corpus, "corpus")
    if options.measure == "rr":
        best = np.where(found > 0, found, np.iinfo(np.int64).max).min(axis=1)
        return np.where((found > 0).any(axis=1), 1.0 / best, 0.0)
    grades = _given(evidence.grades, "grades")
    counts = (found > 0) & (found <= options.cutoff)
    gains = np.where(counts, grades / np.log2(np.maximum(found, 1) + 1.0), 0.0).sum(axis=1)
    ideal = np.sort(grades)[::-1][: options.cutoff]
    total: Floats = gains / (ideal / np.log2(np.arange(len(ideal)) + 2.0)).sum()
    return total


@dataclass(frozen=True)
class Rewarded:
    """The rewards of one query's candidates.

    Args:
        total: their weighted sum, shape (n_candidates,).
        parts: each reward by name, unweighted, shape (n_candidates,).
    """

    total: Floats
    parts: Mapping[str, Floats] = field(default_factory=dict)


def rewarded(evidence: Evidence, weights: Mapping[str, float], options: RewardOptions) -> Rewarded:
    """The weighted sum of the named rewards, rounded to DECIMALS.

    Raises:
        InputError: an unknown reward, or evidence that it needs and that is not there.
        ExpandrError: a similarity or a reward that is not finite.
    """
    check_names(weights)
    for name in ("positive", "answer", "query"):
        _check_finite(getattr(evidence, name), f"the similarity {name!r}")
    parts = {name: REWARDS[name].function(evidence, options) for name in weights}
    for name, values in parts.items():
        _check_finite(values, f"the reward {name!r}")
    total = np.sum([weight * parts[name] for name, weight in weights.items()], axis=0)
    return Rewarded(np.round(total.astype(np.float64), DECIMALS), parts)


def choose(rewards: Floats) -> tuple[int, int]:
    """The indices of the chosen (highest) and the rejected (lowest) candidate; the first one where several tie."""
    return int(np.argmax(rewards)), int(np.argmin(rewards))


def summed_similarity(evidence: Evidence) -> Floats | None:
    """Similarity to the positive + similarity to the answer, as far as they are known, shape (n_candidates,).

    ExpandR keeps a query where the highest of these reaches .6. None where neither is known.
    """
    known = [one for one in (evidence.positive, evidence.answer) if one is not None]
    return np.sum(known, axis=0) if known else None


def keeps_margin(evidence: Evidence, options: RewardOptions, ratio: float) -> bool:
    """Whether Reinforced-IR keeps the query: max > raw and ratio (max - (1 - a) raw) >= min - (1 - a) raw.

    max and min are over the candidates' `margin`, raw is the query's own similarity to the positive; its ratio is .95.
    """
    scores, raw = margin(evidence, options), _given(evidence.query, "query")
    base = (1 - options.expansion_weight) * raw
    return bool(scores.max() > raw and ratio * (scores.max() - base) >= scores.min() - base)


def needs(weights: Mapping[str, float]) -> frozenset[Need]:
    """The evidence that the named rewards read.

    Raises:
        InputError: an unknown reward.
    """
    check_names(weights)
    return frozenset(need for name in weights for need in REWARDS[name].needs)


def check_names(weights: Mapping[str, float]) -> None:
    """Nothing, where all rewards are known and their weights can be used.

    Raises:
        InputError: no reward, an unknown one, or a weight that is not finite or 0.
    """
    if not weights:
        raise InputError("no reward is named", expected=f"some of {', '.join(sorted(REWARDS))}")
    for name, weight in weights.items():
        if name not in REWARDS:
            raise unknown_name("reward", name, REWARDS)
        if not np.isfinite(weight) or weight == 0:
            raise InputError(f"the weight of reward {name!r} is {weight}", expected="a number other than 0")


def _check_finite(values: Floats | float | None, what: str) -> None:
    if values is not None and not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(np.atleast_1d(values)))[0])
        raise ExpandrError(
            f"{what} of candidate {first} is {np.atleast_1d(values)[first]}",
            expected="finite numbers",
            remedy="look at the encoder's weights, or at the reward's function",
        )


def _given(value: _T | None, name: str) -> _T:
    if value is None:
        raise InputError(f"a reward reads {name!r}, which was not computed", expected=f"evidence with {name!r}")
    return value
