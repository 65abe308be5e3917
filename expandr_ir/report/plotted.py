"""Which plots a collection has: quality against tokens, against seconds, and against the number of expansions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from expandr_ir.report.figures import mean
from expandr_ir.report.markup import Markup, tag
from expandr_ir.report.plots import Point, lines, scatter
from expandr_ir.report.study import Chapter, Condition


def figures_of(chapter: Chapter, anchors: Mapping[tuple[str, str], str]) -> list[Markup]:
    """The collection's figures with captions that say which conditions they leave out, and why.

    Args:
        chapter: the collection.
        anchors: (collection, condition) -> its id on the page.
    """
    metric = chapter.metrics[0]
    measured = [one for one in chapter.conditions if (value := one.value(metric)) and value.measured is not None]
    figures = []
    for label, unit, known in (
        ("LLM tokens per topic", "tokens", lambda one: one.cost.tokens),
        ("seconds per topic", "seconds", lambda one: one.cost.seconds),
    ):  # type: str, str, Callable[[Condition], float | None]
        points = [
            _point(chapter, one, metric, x, f"{x:,.4g} {unit}", anchors)
            for one in measured
            if (x := _cost(one, known, unit)) is not None
        ]
        if len(points) < 2 or len({point.x for point in points}) < 2:
            continue
        left_out = len(measured) - len(points)
        words = f"; {left_out} of {len(measured)} conditions do not say theirs" if left_out else ""
        figures.append(_figure(scatter(points, label, metric), f"{metric} against {label}{words}"))
    series = _series(chapter, metric, anchors)
    if series:
        label = "expansions of a topic"
        figures.append(_figure(lines(series, label, metric), f"{metric} against the number of expansions of a topic"))
    return figures


def _cost(condition: Condition, known: Callable[[Condition], float | None], unit: str) -> float | None:
    """What the condition costs; without expansions no token was spent."""
    cost = known(condition)
    if cost is None and unit == "tokens" and condition.result.expansions is None and not condition.result.samples:
        return 0.0 if condition.result.family in {"bm25", "dense", "hybrid"} else None
    return cost


def _series(chapter: Chapter, metric: str, anchors: Mapping[tuple[str, str], str]) -> dict[str, list[Point]]:
    """Conditions whose names differ in their number of expansions alone, by what their names share."""
    found: dict[str, dict[int, Condition]] = {}
    for one in chapter.conditions:
        value = one.value(metric)
        if one.result.samples and value is not None and value.measured is not None:
            places = list(re.finditer(rf"(?<!\d){one.result.samples}(?!\d)", one.name))
            if places:
                stem = f"{one.name[: places[-1].start()]}…{one.name[places[-1].end() :]}"
                found.setdefault(stem, {})[one.result.samples] = one
    return {
        stem: [
            _point(chapter, one, metric, count, f"{count} expansions", anchors) for count, one in sorted(own.items())
        ]
        for stem, own in found.items()
        if len(own) > 1
    }


def _point(
    chapter: Chapter, condition: Condition, metric: str, x: float, said: str, anchors: Mapping[tuple[str, str], str]
) -> Point:
    value = condition.value(metric)
    y = value.measured if value and value.measured is not None else 0.0
    href = f"#{anchors[chapter.name, condition.name]}"
    return Point(condition.name, condition.result.family, x, y, href, f"{metric} {mean(y)}, {said}")


def _figure(drawing: Markup, caption: str) -> Markup:
    return tag("figure", drawing, tag("figcaption", caption))
