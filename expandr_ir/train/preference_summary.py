"""What preferences came to: kept, dropped by reason, rewards, and lengths, in which DPO's length bias shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from expandr_ir.train.candidates import Written
from expandr_ir.train.preferences import Scored, Selected
from expandr_ir.train.rewards import Floats, summed_similarity

BINS = 20
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
DIGITS = 6


def summarize(written: Sequence[Written], scored: Sequence[Scored], selected: Selected) -> dict[str, Any]:
    """The summary as plain data; what has no value, such as a correlation of equal lengths, is None.

    Args:
        written: all queries.
        scored: those whose candidates were compared.
        selected: the preferences.
    """
    kept = selected.preferences
    chosen = [(one.scored, one.chosen) for one in kept]
    rejected = [(one.scored, one.rejected) for one in kept]
    best = [float(summed.max()) for one in scored if (summed := summed_similarity(one.evidence)) is not None]
    return {
        "queries": len(written),
        "kept": len(kept),
        "dropped": selected.reasons,
        "candidates": sum(len(one.candidates) for one in written),
        "candidates_dropped": dict(sorted(sum((Counter(one.dropped) for one in written), Counter()).items())),
        "threshold": _rounded(selected.threshold),
        "best_summed_similarity": {f"{q:g}": _rounded(np.quantile(best, q)) for q in QUANTILES} if best else None,
        "rewards": _histograms(scored, _rewards(chosen), _rewards(rejected)),
        "words": {
            "chosen": _spread(_words(chosen)),
            "rejected": _spread(_words(rejected)),
            "all": _spread([len(text.split()) for one in scored for text in _texts(one)]),
            "chosen_longer": _share(_words(chosen), _words(rejected)),
        },
        "correlation_of_reward_and_words": _correlations(scored),
    }


def _histograms(scored: Sequence[Scored], chosen: Sequence[float], rejected: Sequence[float]) -> dict[str, Any] | None:
    every = np.concatenate([np.empty(0), *(one.rewards.total for one in scored)])
    if not len(every):
        return None
    edges = np.histogram_bin_edges(every, BINS)
    counted = {"chosen": chosen, "rejected": rejected, "all": every.tolist()}
    return {"edges": [_rounded(edge) for edge in edges]} | {
        name: {"mean": _rounded(np.mean(values)) if len(values) else None, "counts": _counts(values, edges)}
        for name, values in counted.items()
    }


def _counts(values: Sequence[float], edges: Floats) -> list[int]:
    return [int(count) for count in np.histogram(np.asarray(values, dtype=np.float64), edges)[0]]


def _correlations(scored: Sequence[Scored]) -> dict[str, float | None]:
    """Pearson's, over all candidates, and with each query's own means taken off first."""
    rewards = [one.rewards.total for one in scored]
    words = [np.array([len(text.split()) for text in _texts(one)], dtype=np.float64) for one in scored]
    return {
        "all": _pearson(rewards, words),
        "within_query": _pearson([own - own.mean() for own in rewards], [own - own.mean() for own in words]),
    }


def _pearson(left: Sequence[Floats], right: Sequence[Floats]) -> float | None:
    one, other = np.concatenate([np.empty(0), *left]), np.concatenate([np.empty(0), *right])
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return _rounded(np.corrcoef(one, other)[0, 1])


def _spread(words: Sequence[int]) -> dict[str, float | None]:
    """Mean, median, least and most."""
    if not words:
        return dict.fromkeys(("mean", "median", "least", "most"))
    return {
        "mean": _rounded(np.mean(words)),
        "median": _rounded(np.median(words)),
        "least": float(min(words)),
        "most": float(max(words)),
    }


def _share(chosen: Sequence[int], rejected: Sequence[int]) -> float | None:
    """The share of pairs whose chosen is longer."""
    pairs = list(zip(chosen, rejected, strict=True))
    return _rounded(sum(one > other for one, other in pairs) / len(pairs)) if pairs else None


def _rewards(picked: Sequence[tuple[Scored, int]]) -> list[float]:
    return [float(one.rewards.total[place]) for one, place in picked]


def _words(picked: Sequence[tuple[Scored, int]]) -> list[int]:
    return [len(one.written.candidates[place].text.split()) for one, place in picked]


def _texts(one: Scored) -> list[str]:
    return [candidate.text for candidate in one.written.candidates]


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), DIGITS)
