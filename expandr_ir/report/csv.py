"""Figures as CSV: one row for each metric of each condition on each collection, unrounded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from expandr_ir.report.study import Chapter, Condition, Contrast, Study

COLUMNS = (
    "collection", "split", "condition", "family", "tier", "metric", "measured", "expected", "tolerance",
    "verdict", "reason", "published", "baseline", "difference", "p_holm", "wins", "ties", "losses", "topics",
    "samples", "missing", "empty", "seconds_per_topic", "tokens_per_topic", "source", "published_source",
)  # fmt: skip
"""The header."""


def csv_of(study: Study) -> str:
    """The table with its header; what is not known is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for chapter in study.chapters for one in chapter.conditions for row in _rows(chapter, one))
    return stream.getvalue()


def _rows(chapter: Chapter, condition: Condition) -> Iterator[dict[str, object]]:
    result = condition.result
    for value in result.values:
        contrast = condition.contrasts.get(value.metric) or Contrast(float("nan"))
        yield {
            "collection": chapter.name,
            "split": chapter.split,
            "condition": condition.name,
            "family": result.family,
            "tier": result.tier,
            "metric": value.metric,
            "measured": value.measured,
            "expected": value.expected,
            "tolerance": None if value.expected is None else value.tolerance,
            "verdict": value.verdict,
            "reason": value.reason,
            "published": value.published,
            "baseline": result.baseline,
            "difference": contrast.difference if value.metric in condition.contrasts else None,
            "p_holm": contrast.p_holm,
            "wins": contrast.wins,
            "ties": contrast.ties,
            "losses": contrast.losses,
            "topics": result.topics,
            "samples": result.samples,
            "missing": result.missing,
            "empty": result.empty,
            "seconds_per_topic": condition.cost.seconds,
            "tokens_per_topic": condition.cost.tokens,
            "source": value.source,
            "published_source": value.published_source,
        }
