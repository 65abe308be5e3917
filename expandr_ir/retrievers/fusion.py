"""Fusion: several runs of the same topics become one."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from expandr_ir.errors import InputError, check_number, unknown_name
from expandr_ir.records import Hits, Rankings

RANK_OFFSET = 60.0
"""The k of Cormack et al. 2009, and of Exp4Fuse."""

ROUTE_BONUS = 10
"""Exp4Fuse: each route that found a document adds a tenth of its score."""

Normalization: TypeAlias = Literal["none", "min-max", "z-score"]


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
    return _by_rank(runs, None, k, math.fsum)


def exp4fuse(runs: Sequence[Rankings], weights: Sequence[float] | None = None, k: float = RANK_OFFSET) -> Rankings:
    """(1 + n / 10) times the sum of weight / (k + rank) over the n runs that have the document.

    Exp4Fuse (Findings of ACL 2025, arXiv:2506.04760); its runs are two routes of one sparse retriever: the topic,
    and the topic with its expansion. Weights of None are 1, as in the authors' code. Equal scores are ordered by
    document id.
    """
    return _by_rank(runs, weights, k, lambda parts: (1 + len(parts) / ROUTE_BONUS) * math.fsum(parts))


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
    factors = _checked(weights, runs, default=1 / max(1, len(runs)))

    def score(lists: list[Hits]) -> dict[str, float]:
        columns = [normalize(hits.scores) if len(hits) else ([], 0.0) for hits in lists]
        floor = math.fsum(factor * lowest for factor, (_, lowest) in zip(factors, columns, strict=True))
        above = (
            [factor * (value - lowest) for value in values]
            for factor, (values, lowest) in zip(factors, columns, strict=True)
        )
        return {doc_id: floor + math.fsum(parts) for doc_id, parts in _gather(lists, above).items()}

    return _by_topic(runs, score)


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


def _checked(weights: Sequence[float] | None, runs: Sequence[Rankings], default: float) -> Sequence[float]:
    if weights is None:
        return [default] * len(runs)
    if len(weights) != len(runs):
        raise InputError(f"{len(weights)} weights for {len(runs)} runs", expected="one for each run")
    if not all(map(math.isfinite, weights)):
        raise InputError(f"the weights are {list(weights)}", expected="finite numbers")
    return weights


def _by_rank(
    runs: Sequence[Rankings], weights: Sequence[float] | None, k: float, combine: Callable[[list[float]], float]
) -> Rankings:
    """The ranking by `combine` of the values weight / (k + rank) of the lists that have the document."""
    factors = _checked(weights, runs, default=1.0)
    if not 0 <= k < math.inf:
        raise InputError(f"rank fusion with k = {k}", expected="0 or more")

    def score(lists: list[Hits]) -> dict[str, float]:
        columns = (
            [factor / (k + rank) for rank in range(1, len(hits) + 1)]
            for factor, hits in zip(factors, lists, strict=True)
        )
        return {doc_id: combine(parts) for doc_id, parts in _gather(lists, columns).items()}

    return _by_topic(runs, score)


def _gather(lists: list[Hits], columns: Iterable[list[float]]) -> dict[str, list[float]]:
    """doc_id -> its values, one for each list that has it."""
    gathered: defaultdict[str, list[float]] = defaultdict(list)
    for hits, values in zip(lists, columns, strict=True):
        for doc_id, value in zip(hits.doc_ids, values, strict=True):
            gathered[doc_id].append(value)
    return gathered


def _by_topic(runs: Sequence[Rankings], score: Callable[[list[Hits]], Mapping[str, float]]) -> Rankings:
    """The ranking of every topic of any run, in the order of their first appearance."""
    nothing = Hits([], [])
    fused: Rankings = {}
    for topic_id in dict.fromkeys(itertools.chain.from_iterable(runs)):
        scores = score([run.get(topic_id, nothing) for run in runs])
        ranked = sorted(scores, key=lambda doc_id: (-scores[doc_id], doc_id))
        fused[topic_id] = Hits(ranked, [scores[doc_id] for doc_id in ranked])
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
