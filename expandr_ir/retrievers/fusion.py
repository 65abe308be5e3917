"""Fusion: several runs of the same topics become one."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from expandr_ir.errors import InputError, check_number, unknown_name
from expandr_ir.records import Hits, Rankings

RANK_OFFSET = 60.0
"""The k of Cormack et al. 2009, and of Exp4Fuse."""

ROUTE_BONUS = 10
"""Exp4Fuse: each route that found a document adds a tenth of its score."""

Normalization: TypeAlias = Literal["none", "min-max", "z-score"]
Combine: TypeAlias = Callable[[list[float]], float]
Weigh: TypeAlias = Callable[[Sequence[float], float], tuple[list[float], float]]
"""A list's scores and its weight -> a value for each hit, above the value of a document that the list lacks."""


@dataclass(frozen=True)
class FusionOptions:
    """The numbers of fusion.

    Args:
        rrf_k: added to each rank by rrf and exp4fuse; the larger, the less the first ranks stand out.
        alpha: weight of the first of two runs; the second has 1 - alpha.
        weights: one of each run, in their order; None is the same for all.
        normalization: of each list's scores before weighted adds them.
    """

    rrf_k: float = RANK_OFFSET
    alpha: float | None = None
    weights: list[float] | None = None
    normalization: Normalization = "min-max"


def rrf(runs: Sequence[Rankings], k: float = RANK_OFFSET) -> Rankings:
    """The sum of 1 / (k + rank) over the runs that have the document, ranks counted from 1.

    Cormack, Clarke and Buettcher (SIGIR 2009). Every topic of any run is in the result. Equal scores are ordered by
    document id.
    """
    return _fuse(runs, None, 1.0, _reciprocal_ranks(k), math.fsum)


def exp4fuse(runs: Sequence[Rankings], weights: Sequence[float] | None = None, k: float = RANK_OFFSET) -> Rankings:
    """(1 + n / 10) times the sum of weight / (k + rank) over the n runs that have the document.

    Exp4Fuse (Findings of ACL 2025, arXiv:2506.04760); its runs are two routes of one sparse retriever: the topic,
    and the topic with its expansion. Weights of None are 1, as in the authors' code. Equal scores are ordered by
    document id.
    """

    def combine(parts: list[float]) -> float:
        return (1 + len(parts) / ROUTE_BONUS) * math.fsum(parts)

    return _fuse(runs, weights, 1.0, _reciprocal_ranks(k), combine)


def weighted(
    runs: Sequence[Rankings], weights: Sequence[float] | None = None, normalization: Normalization = "min-max"
) -> Rankings:
    """The weighted sum of the scores, each list normalised by itself. Equal sums are ordered by document id.

    A list of one topic gives its documents, and the documents that it lacks:

    * none: the score; 0. (pyserini.fusion's interpolation and average.)
    * min-max: (score - lowest) / (highest - lowest), and 1 where all scores are equal; 0.
    * z-score: (score - mean) / standard deviation, and 0 where all scores are equal; the list's lowest.

    Weights of None are 1 / n.
    """
    if normalization not in _NORMALIZATIONS:
        raise unknown_name("normalization", normalization, _NORMALIZATIONS)
    normalize = _NORMALIZATIONS[normalization]

    def weigh(scores: Sequence[float], weight: float) -> tuple[list[float], float]:
        values, lowest = normalize(scores)
        return [weight * (value - lowest) for value in values], weight * lowest

    return _fuse(runs, weights, 1 / max(1, len(runs)), weigh, math.fsum)


def find_fusion(name: str) -> Callable[[Sequence[Rankings], FusionOptions], Rankings]:
    """The fusion of that name; an unknown one is an error that suggests the nearest."""
    if name not in METHODS:
        raise unknown_name("fusion", name, METHODS)
    return METHODS[name]


def fuse(method: str, runs: Sequence[Rankings], options: FusionOptions, hits: int) -> Rankings:
    """The fused run, with at most `hits` documents a topic; numbers of other methods are errors."""
    check_number("hits", hits, least=1)
    fused = find_fusion(method)(runs, options)
    return {topic_id: Hits(full.doc_ids[:hits], full.scores[:hits]) for topic_id, full in fused.items()}


def _rrf(runs: Sequence[Rankings], options: FusionOptions) -> Rankings:
    if options.weights is not None or options.alpha is not None:
        raise InputError("rrf has no weights", expected="weighted or exp4fuse", remedy="--method exp4fuse")
    return rrf(runs, options.rrf_k)


METHODS: dict[str, Callable[[Sequence[Rankings], FusionOptions], Rankings]] = {
    "rrf": _rrf,
    "weighted": lambda runs, options: weighted(runs, _weights(options, runs), options.normalization),
    "exp4fuse": lambda runs, options: exp4fuse(runs, _weights(options, runs), options.rrf_k),
}
"""Fusion by name."""


def _weights(options: FusionOptions, runs: Sequence[Rankings]) -> list[float] | None:
    if options.alpha is None:
        return options.weights
    if options.weights is not None:
        raise InputError("alpha and weights together", expected="one of them")
    if len(runs) != 2:
        raise InputError(f"alpha with {len(runs)} runs", expected="two runs, or a weight for each")
    return [options.alpha, 1 - options.alpha]


def _reciprocal_ranks(k: float) -> Weigh:
    if not 0 <= k < math.inf:
        raise InputError(f"rank fusion with k = {k}", expected="0 or more")
    return lambda scores, weight: ([weight / (k + rank) for rank in range(1, len(scores) + 1)], 0.0)


def _fuse(
    runs: Sequence[Rankings], weights: Sequence[float] | None, default: float, weigh: Weigh, combine: Combine
) -> Rankings:
    """Each topic's documents by `combine` of their weighted values; topics in the order of their first appearance."""
    weights = [default] * len(runs) if weights is None else weights
    if len(weights) != len(runs):
        raise InputError(f"{len(weights)} weights for {len(runs)} runs", expected="one for each run")
    if not all(map(math.isfinite, weights)):
        raise InputError(f"the weights are {list(weights)}", expected="finite numbers")
    fused: Rankings = {}
    for topic_id in dict.fromkeys(itertools.chain.from_iterable(runs)):
        parts: defaultdict[str, list[float]] = defaultdict(list)
        floors: list[float] = []
        for run, weight in zip(runs, weights, strict=True):
            if hits := run.get(topic_id):
                values, floor = weigh(hits.scores, weight)
                floors.append(floor)
                for doc_id, value in zip(hits.doc_ids, values, strict=True):
                    parts[doc_id].append(value)
        floor = math.fsum(floors)
        ranked = sorted((-(floor + combine(values)), doc_id) for doc_id, values in parts.items())
        fused[topic_id] = Hits([doc_id for _, doc_id in ranked], [-score for score, _ in ranked])
    return fused


def _min_max(scores: Sequence[float]) -> tuple[list[float], float]:
    lowest, highest = min(scores), max(scores)
    if lowest == highest:
        return [1.0] * len(scores), 0.0
    return [(score - lowest) / (highest - lowest) for score in scores], 0.0


def _z_score(scores: Sequence[float]) -> tuple[list[float], float]:
    if min(scores) == max(scores):
        return [0.0] * len(scores), 0.0
    mean = math.fsum(scores) / len(scores)
    deviation = math.dist(scores, [mean] * len(scores)) / math.sqrt(len(scores))
    values = [(score - mean) / deviation for score in scores]
    return values, min(values)


_NORMALIZATIONS: dict[str, Callable[[Sequence[float]], tuple[Sequence[float], float]]] = {
    "none": lambda scores: (scores, 0.0),
    "min-max": _min_max,
    "z-score": _z_score,
}
"""A list's scores -> the normalised ones, and the value of a document that the list lacks."""
