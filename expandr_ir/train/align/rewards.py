"""Rewards of one query's candidates, pure functions of arrays found by name, and the two candidates that they choose.

A reward's parameters name what it reads: fields of `Evidence`, and `options`. Installed packages add rewards as entry
points of the group `expandr_ir.rewards`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from expandr_ir import registry
from expandr_ir.errors import ExpandrError, InputError, check_fields

if TYPE_CHECKING:
    from expandr_ir.train.align.candidates import Candidates

Floats: TypeAlias = NDArray[np.float64]
Reward: TypeAlias = Callable[..., Floats]

GROUP = "expandr_ir.rewards"
REWARDS = {name: f"{__name__}:{name}_reward" for name in ("retriever", "self", "margin", "corpus", "search")}
DECIMALS = 12
"""Of a summed reward: 1/20 + 1/30 and 1/24 + 1/24 are one twelfth, which float64 alone does not see."""

REASONS = {
    "no_answer": "expandr store ls, to see what the LLM answered",
    "too_few_candidates": "more samples, or higher temperatures: --samples 16",
    "below_threshold": "--threshold quantile:.25; the best summed similarities have the median {median}",
    "margin": "another --margin-keep, or none",
    "equal_rewards": "more samples, or higher temperatures: --temperatures 1.0 --temperatures 1.2",
    "small_gap": "a smaller --min-gap",
}
"""Reasons for a query without a preference, in the order in which they are looked at, with what to try."""


@dataclass
class Evidence:
    """The measurements of one query's candidates; a field is None where no reward reads it.

    Args:
        positive: similarity of each candidate to the positive, shape (n_candidates,).
        answer: similarity of each candidate to the LLM's own answer, shape (n_candidates,).
        query: similarity of the query itself to the positive.
        corpus: rank, from 1, of each positive in the collection when it is searched with each candidate; shape
            (n_candidates, n_positives), 0 where it was not found. Smoothed ranks are no whole numbers.
        alone: the same when it is searched with the query alone, shape (n_positives,).
        grades: relevance grades of these positives, shape (n_positives,).
    """

    positive: Floats | None = None
    answer: Floats | None = None
    query: float | None = None
    corpus: Floats | None = None
    alone: Floats | None = None
    grades: Floats | None = None

    def best_similarity(self) -> float | None:
        """The highest sum of a candidate's similarities to positive and answer; ExpandR keeps a query from .6 on."""
        similarities = [values for values in (self.positive, self.answer) if values is not None]
        return float(np.sum(similarities, axis=0).max()) if similarities else None


@dataclass(frozen=True)
class RewardOptions:
    """Numbers of the rewards; each name reads its own.

    Args:
        expansion_weight: for `margin`, the candidate's share a of the query's vector; .2 is Reinforced-IR's.
        measure: for `corpus` and `search`, "rr" (reciprocal rank of the best positive), "ndcg" or "recall".
        cutoff: of "ndcg" and "recall", the rank below which nothing counts.
    """

    expansion_weight: float = 0.2
    measure: Literal["rr", "ndcg", "recall"] = "rr"
    cutoff: int = 10

    def __post_init__(self) -> None:
        check_fields(self, "expansion_weight", above=0, most=1)
        check_fields(self, "cutoff", least=1)


@dataclass(frozen=True, kw_only=True)
class RewardsOptions:
    """The rewards of texts.

    Args:
        rewards: weights by name: retriever, self, margin, corpus, search, or a reward of an installed package.
        reward: numbers of the rewards.
    """

    rewards: dict[str, float] = field(default_factory=lambda: {"retriever": 1.0, "self": 1.0})
    reward: RewardOptions = field(default_factory=RewardOptions)

    def evidence(self) -> set[str]:
        """The evidence that the rewards read: "positive", "answer", "query", "corpus", "alone"."""
        if not self.rewards:
            raise InputError("no reward is named", expected=f"some of {', '.join(registry.names(GROUP, REWARDS))}")
        for name, weight in self.rewards.items():
            if not np.isfinite(weight) or weight == 0:
                raise InputError(f"the weight of reward {name!r} is {weight}", expected="a number other than 0")
        return {parameter for name in self.rewards for parameter in find_reward(name)[1]} - {"grades", "options"}


@dataclass(frozen=True, kw_only=True)
class SelectionOptions(RewardsOptions):
    """Options of the choice between compared candidates.

    Args:
        threshold: least best summed similarity (to the positive, and to the answer where there is one) of a query that
            is kept; .6 is ExpandR's, for Contriever and two similarities. "quantile:.25" drops the lowest quarter, for
            another encoder or LLM; "none" keeps all.
        margin_keep: the ratio of Reinforced-IR's keep rule, .95 there; None does not apply it.
        min_candidates: fewest candidates of a query, once empty and equal ones are left out.
        min_gap: least difference between the rewards of chosen and rejected.
    """

    threshold: float | str = 0.6
    margin_keep: float | None = None
    min_candidates: int = 2
    min_gap: float = 0.0

    def __post_init__(self) -> None:
        self.evidence()
        check_fields(self, "min_candidates", least=2)
        check_fields(self, "min_gap", least=0)
        check_fields(self, "margin_keep", above=0, most=1)

    def evidence(self) -> set[str]:
        """The evidence that rewards, keep rule and threshold read."""
        names = super().evidence()
        if self.margin_keep is not None:
            names |= {"positive", "query"}
        if parse_threshold(self.threshold)[0] != "none" and not names & {"positive", "answer"}:
            names.add("positive")
        return names


def retriever_reward(positive: Floats) -> Floats:
    """1 / rank of each candidate among its siblings by similarity to the positive (ExpandR, arXiv 2502.17057)."""
    return 1.0 / ranks(positive)


def self_reward(answer: Floats) -> Floats:
    """1 / rank of each candidate among its siblings by similarity to the LLM's answer (ExpandR's self-reward)."""
    return 1.0 / ranks(answer)


def margin_reward(positive: Floats, query: float, options: RewardOptions) -> Floats:
    """<(1 - a) f(q) + a f(d), f(positive)> (Reinforced-IR, arXiv 2502.11562: a = .2); the dot product is linear."""
    return (1 - options.expansion_weight) * query + options.expansion_weight * positive


def corpus_reward(corpus: Floats, grades: Floats, options: RewardOptions) -> Floats:
    """Reciprocal rank, nDCG or recall of the positives in the whole collection, searched with each candidate.

    nDCG's gain is the grade, its discount 1 / log2(rank + 1), as in trec_eval. A positive that was not found counts 0.
    """
    if options.measure == "rr":
        best: Floats = np.where(corpus > 0, 1.0 / np.maximum(corpus, 1), 0.0).max(axis=1)
        return best
    is_counted = (corpus > 0) & (corpus <= options.cutoff)
    if options.measure == "recall":
        share: Floats = is_counted.mean(axis=1)
        return share
    gains = np.where(is_counted, grades / np.log2(np.maximum(corpus, 1) + 1.0), 0.0).sum(axis=1)
    ideal = np.sort(grades)[::-1][: options.cutoff]
    total: Floats = gains / (ideal / np.log2(np.arange(len(ideal)) + 2.0)).sum()
    return total


def search_reward(corpus: Floats, alone: Floats, grades: Floats, options: RewardOptions) -> Floats:
    """The gain of a search by each candidate: `corpus` less the same of the query alone."""
    return corpus_reward(corpus, grades, options) - corpus_reward(alone[np.newaxis], grades, options)


def ranks(similarities: Floats) -> NDArray[np.int64]:
    """1 + the number of candidates that are more similar: candidates that tie share their best rank (1, 2, 2, 4).

    So a reward does not depend on the candidates' order, and equal candidates are worth the same. ExpandR's released
    code gives tied candidates different ranks in no stated order.
    """
    rising = np.sort(similarities)  # scipy.stats.rankdata takes 190 us for 32 candidates, this 17 us
    greater = len(rising) - np.searchsorted(rising, similarities, side="right")
    return (1 + greater).astype(np.int64)


def choose(rewards: Floats) -> tuple[int, int]:
    """The indices of the chosen (highest) and the rejected (lowest) candidate; the first one where several tie."""
    return int(np.argmax(rewards)), int(np.argmin(rewards))


def keeps_margin(evidence: Evidence, options: RewardOptions, ratio: float) -> bool:
    """Reinforced-IR's keep rule: max > raw and ratio (max - (1 - a) raw) >= min - (1 - a) raw.

    max and min are over the candidates' `margin`, raw is the query's own similarity to the positive; its ratio is .95.
    """
    positive, raw = evidence.positive, evidence.query
    assert positive is not None
    assert raw is not None
    scores = margin_reward(positive, raw, options)
    base = (1 - options.expansion_weight) * raw
    return bool(scores.max() > raw and ratio * (scores.max() - base) >= scores.min() - base)


def sum_rewards(
    evidence: Evidence, weights: Mapping[str, float], options: RewardOptions
) -> tuple[Floats, dict[str, Floats]]:
    """The weighted sum of the named rewards, rounded to DECIMALS, and each of them, arrays of shape (n_candidates,)."""
    values = vars(evidence) | {"options": options}
    for name in ("positive", "answer", "query"):
        _check_finite(f"the similarity {name!r}", values[name])
    parts = {}
    for name in weights:
        reward, parameters = find_reward(name)
        if unknown := [parameter for parameter in parameters if values.get(parameter) is None]:
            raise InputError(f"reward {name!r} reads {unknown[0]!r}, which was not computed")
        parts[name] = reward(*(values[parameter] for parameter in parameters))
        _check_finite(f"the reward {name!r}", parts[name])
    total = np.sum([weight * parts[name] for name, weight in weights.items()], axis=0)
    return np.round(total.astype(np.float64), DECIMALS), parts


def add_rewards(entry: Candidates, options: RewardsOptions) -> None:
    """Fills in the rewards of a row's candidates and their sum; an error names the row."""
    try:
        entry.total, entry.rewards = sum_rewards(entry.evidence, options.rewards, options.reward)
    except ExpandrError as error:
        raise type(error)(f"query {entry.row.row_id!r} ({entry.row.query[:60]!r}): {error}") from error


def select(table: Sequence[Candidates], options: SelectionOptions) -> float | None:
    """Fills in rewards, and the chosen and rejected candidate or the reason against them; returns the threshold."""
    for entry in table:
        add_rewards(entry, options)
    similarities = [entry.evidence.best_similarity() for entry in table]
    kind, threshold = parse_threshold(options.threshold)
    if kind == "quantile":
        known = [similarity for similarity in similarities if similarity is not None]
        threshold = float(np.quantile(known, threshold or 0.0)) if known else None
    for entry, similarity in zip(table, similarities, strict=True):
        entry.chosen, entry.rejected = choose(entry.total)
        gap = entry.total[entry.chosen] - entry.total[entry.rejected]
        if threshold is not None and similarity is not None and similarity < threshold:
            entry.reason = "below_threshold"
        elif options.margin_keep is not None and not keeps_margin(entry.evidence, options.reward, options.margin_keep):
            entry.reason = "margin"
        elif gap == 0:
            entry.reason = "equal_rewards"
        elif gap < options.min_gap:
            entry.reason = "small_gap"
    return threshold


def parse_threshold(threshold: float | str) -> tuple[Literal["none", "value", "quantile"], float | None]:
    """("value", x), ("quantile", q) or ("none", None) of an option; anything else is an InputError."""
    text = str(threshold).strip()
    if text == "none":
        return "none", None
    kind: Literal["quantile", "value"] = "quantile" if text.startswith("quantile:") else "value"
    with suppress(ValueError):
        value = float(text.removeprefix("quantile:"))
        if math.isfinite(value) and (kind == "value" or 0 <= value < 1):
            return kind, value
    raise InputError(f"the threshold {text!r}", expected="a number, quantile:Q with Q from 0 to below 1, or none")


@cache
def find_reward(name: str) -> tuple[Reward, list[str]]:
    """The function of a name, and its parameters."""
    reward: Reward = registry.find(GROUP, name, REWARDS)
    return reward, list(inspect.signature(reward).parameters)


def _check_finite(description: str, values: Floats | float | None) -> None:
    if values is not None and not np.isfinite(values).all():
        place = int(np.argmin(np.isfinite(values)))
        raise ExpandrError(
            f"{description} of candidate {place} is {np.ravel(values)[place]}",
            expected="finite numbers",
            remedy="look at the encoder's weights, or at the reward's function",
        )
