"""Figures as they are printed, the same in every format."""

from __future__ import annotations

LEVELS = ((0.01, "**"), (0.05, "*"))
"""What marks a difference whose corrected p-value is below a level, the strictest first."""

PRECISION = 4
"""Decimals of a mean where its metric does not say."""


def mark(p_value: float | None) -> str:
    """The mark of a corrected p-value: "**" below 0.01, "*" below 0.05, else ""."""
    return next((stars for level, stars in LEVELS if p_value is not None and p_value < level), "")


def levels() -> str:
    """What the marks mean, in words."""
    return ", ".join(f"{stars} below {level}" for level, stars in reversed(LEVELS))


def mean(value: float, precision: int = PRECISION) -> str:
    """A mean, such as 0.7203."""
    return f"{value:.{precision}f}"


def signed(value: float, precision: int = PRECISION) -> str:
    """A difference with its sign; what rounds to 0 is +."""
    return f"{round(value, precision) + 0.0:+.{precision}f}"


def p_value(value: float | None) -> str:
    """A p-value, "n/a" where none could be computed."""
    if value is None:
        return "n/a"
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
