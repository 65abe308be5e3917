"""Tests of paired differences: t-test, randomisation, and Holm's correction for several of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

K = TypeVar("K")

RESAMPLES = 10_000
"""Sign flips of the randomisation test; where there are not that many, each is taken once and the test is exact."""

_CHUNK = 500
_ROUNDING = 1e-12


def t_test(differences: Sequence[float]) -> float | None:
    """The two-sided p-value of Student's paired t-test of differences, one for each topic.

    1.0 where all differences are 0, None where there are fewer than two.
    """
    import numpy as np
    from scipy.special import stdtr

    values = np.asarray(differences, dtype=np.float64)
    if values.size < 2:
        return None
    if not values.any():
        return 1.0
    # As scipy.stats.ttest_1samp, whose import takes half a second.
    error = values.std(ddof=1) / math.sqrt(values.size)
    t = abs(values.mean()) / error if error > 0 else math.inf
    return float(2 * stdtr(values.size - 1, -t))


def randomisation_test(differences: Sequence[float], seed: int) -> float | None:
    """The two-sided p-value of the paired randomisation test of the mean (Smucker, Allan, Carterette; CIKM 2007).

    If baseline and run were the same, each difference could as well have the other sign: p is the share of sign flips
    whose mean is as far from 0 as the observed one. With m differences that are not 0, all 2^m flips are taken where
    these are at most RESAMPLES; else RESAMPLES random ones, and p = (as far + 1) / (RESAMPLES + 1).
    1.0 where all differences are 0, None where there are fewer than two.
    """
    import numpy as np

    values = np.asarray(differences, dtype=np.float64)
    if values.size < 2:
        return None
    moved: NDArray[np.float64] = values[values != 0]
    if not moved.size:
        return 1.0
    if moved.size <= math.log2(RESAMPLES):
        every_flip = ((np.arange(2**moved.size)[:, None] >> np.arange(moved.size)) & 1).astype(np.int8)
        return _as_far(every_flip, moved) / len(every_flip)
    random = np.random.default_rng(seed)
    count = 0
    for done in range(0, RESAMPLES, _CHUNK):
        flips = random.integers(0, 2, size=(min(_CHUNK, RESAMPLES - done), moved.size), dtype=np.int8)
        count += _as_far(flips, moved)
    return (count + 1) / (RESAMPLES + 1)


def holm(p_values: Mapping[K, float | None]) -> dict[K, float | None]:
    """The p-values after Holm's correction over the whole family (Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest of m is multiplied by m - i + 1, never falls below the one before it, and is at most 1. None is
    no member of the family and stays None.
    """
    family = sorted(((key, p) for key, p in p_values.items() if p is not None), key=lambda item: item[1])
    corrected: dict[K, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for before, (key, p) in enumerate(family):
        highest = max(highest, min(1.0, p * (len(family) - before)))
        corrected[key] = highest
    return corrected


def _as_far(flips: NDArray[np.int8], moved: NDArray[np.float64]) -> int:
    """The number of flips, rows of 0 (negative) and 1, whose sum is at least as far from 0 as the observed one."""
    import numpy as np

    sums = 2 * (flips @ moved) - moved.sum()
    return int(np.count_nonzero(np.abs(sums) >= abs(moved.sum()) - _ROUNDING * np.abs(moved).sum()))
