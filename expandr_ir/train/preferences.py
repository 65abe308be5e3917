"""Preferences: of each query's candidates the one with the highest reward is chosen, the one with the lowest rejected.

After ExpandR and LLM-QE (arXiv 2502.17057) and Reinforced-IR (arXiv 2502.11562); which of them is a matter of options.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.train.candidates import Written
from expandr_ir.train.rewards import (
    Evidence,
    Need,
    Rewarded,
    RewardOptions,
    check_names,
    choose,
    keeps_margin,
    needs,
    rewarded,
    summed_similarity,
)

QUANTILE = "quantile:"

REASONS = (
    "no_answer",  # the LLM's answer failed or is empty, and a reward needs it
    "too_few_candidates",  # fewer distinct, written candidates than asked for
    "below_threshold",  # the best summed similarity is below the threshold
    "margin",  # Reinforced-IR's keep rule
    "equal_rewards",  # nothing to prefer
    "small_gap",  # the rewards of chosen and rejected are nearer than asked for
)
"""Why a query gives no preference, in the order in which it is looked at."""


@dataclass(frozen=True)
class SelectOptions:
    """What makes a preference of rewarded candidates.

    Args:
        rewards: weights by name: retriever, self, margin, corpus.
        reward: numbers of the rewards.
        threshold: least best summed similarity (to the positive, and to the answer where there is one) of a query that
            is kept; .6 is ExpandR's, for Contriever and two similarities. "quantile:.25" drops the lowest quarter, for
            another encoder or LLM; "none" keeps all.
        margin_keep: the ratio of Reinforced-IR's keep rule, .95 there; None does not apply it.
        min_candidates: fewest candidates of a query, once empty and equal ones are left out.
        min_gap: least difference between the rewards of chosen and rejected.
    """

    rewards: dict[str, float] = field(default_factory=lambda: {"retriever": 1.0, "self": 1.0})
    reward: RewardOptions = field(default_factory=RewardOptions)
    threshold: float | str = 0.6
    margin_keep: float | None = None
    min_candidates: int = 2
    min_gap: float = 0.0

    def __post_init__(self) -> None:
        check_names(self.rewards)
        parse_threshold(self.threshold)
        if self.min_candidates < 2:
            raise InputError(f"min_candidates is {self.min_candidates}", expected="2 or more")
        if not self.min_gap >= 0:
            raise InputError(f"min_gap is {self.min_gap}", expected="0 or more")
        if self.margin_keep is not None and not 0 < self.margin_keep <= 1:
            raise InputError(f"margin_keep is {self.margin_keep}", expected="a ratio above 0, at most 1")

    def evidence(self) -> frozenset[Need]:
        """What must be known of each query's candidates."""
        wanted = set(needs(self.rewards))
        if self.margin_keep is not None:
            wanted |= {"positive", "query"}
        if parse_threshold(self.threshold) is not None and not wanted & {"positive", "answer"}:
            wanted.add("positive")
        return frozenset(wanted)


@dataclass(frozen=True)
class Scored:
    """A query with its rewarded candidates.

    Args:
        written: the query and its candidates.
        evidence: what the rewards were computed from.
        rewards: of the candidates.
    """

    written: Written
    evidence: Evidence
    rewards: Rewarded


@dataclass(frozen=True)
class Preference:
    """A query whose candidate number `chosen` goes before its candidate number `rejected`."""

    scored: Scored
    chosen: int
    rejected: int


@dataclass(frozen=True)
class Selected:
    """The preferences, and what became of the other queries.

    Args:
        preferences: in the queries' order.
        dropped: the reason for each query that gives none, by row_id.
        threshold: the one in force, as a number; None where there is none.
    """

    preferences: tuple[Preference, ...]
    dropped: Mapping[str, str]
    threshold: float | None

    @property
    def reasons(self) -> dict[str, int]:
        """How many queries were dropped for each reason."""
        counts = Counter(self.dropped.values())
        return {reason: counts[reason] for reason in REASONS}


def parse_threshold(threshold: float | str) -> tuple[str, float] | None:
    """("value", x), ("quantile", q), or None for "none".

    Raises:
        InputError: anything else.
    """
    text = str(threshold).strip()
    if text == "none":
        return None
    kind, number = ("quantile", text.removeprefix(QUANTILE)) if text.startswith(QUANTILE) else ("value", text)
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (kind == "quantile" and not 0 <= value < 1):
        raise InputError(f"the threshold {text!r}", expected="a number, quantile:Q with Q from 0 to below 1, or none")
    return kind, value


def comparable(written: Sequence[Written], options: SelectOptions) -> tuple[list[Written], dict[str, str]]:
    """The queries whose candidates are worth comparing, and the reason for each of the others, by row_id."""
    with_answer = "answer" in options.evidence()
    kept, dropped = [], {}
    for one in written:
        if with_answer and one.answer is None:
            dropped[one.row.row_id] = "no_answer"
        elif len(one.candidates) < options.min_candidates:
            dropped[one.row.row_id] = "too_few_candidates"
        else:
            kept.append(one)
    return kept, dropped


def score(written: Sequence[Written], evidence: Sequence[Evidence], options: SelectOptions) -> list[Scored]:
    """The queries with the rewards of their candidates.

    Args:
        written: the queries.
        evidence: of each.
        options: which rewards.

    Raises:
        ExpandrError: a reward that is not finite; the message names the query.
    """
    scored = []
    for one, own in zip(written, evidence, strict=True):
        try:
            scored.append(Scored(one, own, rewarded(own, options.rewards, options.reward)))
        except ExpandrError as error:
            raise type(error)(f"query {one.row.row_id!r} ({one.row.query[:60]!r}): {error}") from error
    return scored


def select(scored: Sequence[Scored], dropped: Mapping[str, str], options: SelectOptions) -> Selected:
    """The preferences of the queries that pass every filter.

    Args:
        scored: rewarded queries.
        dropped: why others were dropped before, by row_id.
        options: the filters.
    """
    best = {one.written.row.row_id: _best(one.evidence) for one in scored}
    threshold = _threshold(options, [value for value in best.values() if value is not None])
    preferences, reasons = [], dict(dropped)
    for one in scored:
        chosen, rejected = choose(one.rewards.total)
        if reason := _reason(one, best[one.written.row.row_id], threshold, chosen, rejected, options):
            reasons[one.written.row.row_id] = reason
        else:
            preferences.append(Preference(one, chosen, rejected))
    return Selected(tuple(preferences), reasons, threshold)


def _reason(
    one: Scored, best: float | None, threshold: float | None, chosen: int, rejected: int, options: SelectOptions
) -> str | None:
    if threshold is not None and best is not None and best < threshold:
        return "below_threshold"
    if options.margin_keep is not None and not keeps_margin(one.evidence, options.reward, options.margin_keep):
        return "margin"
    gap = one.rewards.total[chosen] - one.rewards.total[rejected]
    if gap == 0:
        return "equal_rewards"
    return "small_gap" if gap < options.min_gap else None


def _best(evidence: Evidence) -> float | None:
    summed = summed_similarity(evidence)
    return None if summed is None else float(summed.max())


def _threshold(options: SelectOptions, best: Sequence[float]) -> float | None:
    parsed = parse_threshold(options.threshold)
    if parsed is None or not best:
        return None
    kind, value = parsed
    return float(np.quantile(best, value)) if kind == "quantile" else value
