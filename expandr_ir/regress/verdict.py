"""Whether a figure still holds."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from expandr_ir.regress.results import Value, Verdict
from expandr_ir.regress.spec import Figure, Metric


def rounded(value: float, precision: int) -> Decimal:
    """A value as it is printed with that many decimals (as trec_eval's "%.4f" prints it)."""
    return Decimal(value).quantize(Decimal(1).scaleb(-precision), ROUND_HALF_EVEN)


def judge(metric: Metric, measured: float, expected: Figure | None, published: Figure | None = None) -> Value:
    """The verdict on a measured value.

    OK where it is printed as the expected one is, OK* where it differs by the tolerance at most, FAIL where it
    differs by more, higher or lower: the world changed. NEW where no figure is known. Differences are taken between
    the printed values, so that a tolerance of .001 lets .6461 stand beside .6451.

    Args:
        metric: whose precision counts.
        measured: unrounded.
        expected: what should come out, if that is known.
        published: what is shown beside it.
    """
    verdict: Verdict = "NEW"
    reason = "no figure is known yet" if expected is None else ""
    if expected is not None:
        got, wanted = rounded(measured, metric.precision), _exactly(expected.value, metric.precision)
        difference = got - wanted
        if difference == 0:
            verdict = "OK"
        elif abs(difference) <= Decimal(str(expected.tolerance)):
            verdict = "OK*"
        else:
            verdict = "FAIL"
            way = "higher" if difference > 0 else "lower"
            reason = f"{abs(difference)} {way} than {wanted}" + (
                f", tolerance {expected.tolerance:g}" if expected.tolerance else ""
            )
    return _value(metric, measured, expected, published, verdict, reason)


def skipped(metric: Metric, reason: str, expected: Figure | None, published: Figure | None = None) -> Value:
    """The verdict where nothing was run, with the reason."""
    return _value(metric, None, expected, published, "SKIP", reason)


def _exactly(value: float, precision: int) -> Decimal:
    """An expected value as it was written, with at least the metric's decimals."""
    return Decimal(str(value)).quantize(Decimal(1).scaleb(-precision), ROUND_HALF_EVEN)


def _value(
    metric: Metric,
    measured: float | None,
    expected: Figure | None,
    published: Figure | None,
    verdict: Verdict,
    reason: str,
) -> Value:
    return Value(
        metric=metric.name,
        precision=metric.precision,
        measured=measured,
        expected=expected.value if expected else None,
        tolerance=expected.tolerance if expected else 0.0,
        source=expected.source if expected else None,
        published=published.value if published else None,
        published_source=published.source if published else None,
        verdict=verdict,
        reason=reason,
    )
