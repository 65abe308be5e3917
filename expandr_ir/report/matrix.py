"""The matrix of a page: conditions in rows, collections and metrics in columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from expandr_ir.regress.results import Value
from expandr_ir.report.figures import levels, mark, mean, signed
from expandr_ir.report.markup import Markup, join, tag
from expandr_ir.report.plots import family_class, shape
from expandr_ir.report.study import Chapter, Condition, Study

WIDE = 4
"""Most pairs of collection and metric that get a column for each figure; more get one column each."""

NARROW = 10
"""Most such pairs in one table; of more, each metric has its own."""

MISSING = "–"
"""What stands where there is no figure."""


def matrices(study: Study, anchors: Mapping[tuple[str, str], str]) -> Markup:
    """One table where all metrics fit side by side, else one for each metric, of which the first is unfolded.

    Args:
        study: what to show.
        anchors: (collection, condition) -> the id of the condition's own part of the page.
    """
    legend = tag(
        "p", f"The best of each column is bold. Differences are to the baseline: {levels()}.", class_="facts-line"
    )
    pairs = [(chapter, metric) for metric in study.metrics for chapter in study.chapters if metric in chapter.metrics]
    if len(pairs) <= NARROW:
        return join(legend, _table(study, pairs, anchors, "All conditions", wide=len(pairs) <= WIDE))
    tables = [
        tag(
            "details",
            tag("summary", metric),
            _table(study, [pair for pair in pairs if pair[1] == metric], anchors, metric, wide=False),
            open=not at,
            class_="metric",
        )
        for at, metric in enumerate(study.metrics)
    ]
    return join(legend, *tables)


def verdict(value: Value) -> Markup:
    """A value's verdict as a badge."""
    return tag("span", value.verdict, class_=f"verdict v-{slug(value.verdict)}", title=value.reason or None)


def slug(text: str) -> str:
    """Letters, digits and hyphens, for a class or an id; OK* is "ok-star"."""
    return re.sub(r"\W+", "-", text.lower().replace("*", "-star")).strip("-") or "x"


def change(condition: Condition, metric: str) -> Markup:
    """The difference to the baseline with its mark of significance, coloured by its sign; a dash without one."""
    contrast, value = condition.contrasts.get(metric), condition.value(metric)
    if contrast is None or value is None:
        return tag("span", MISSING, class_="none")
    text = signed(contrast.difference, value.precision)
    sign = "gain" if contrast.difference > 0 else "loss" if contrast.difference < 0 else "none"
    return tag("span", text, tag("span", mark(contrast.p_holm), class_="stars"), class_=f"change {sign}")


def _table(
    study: Study,
    pairs: Sequence[tuple[Chapter, str]],
    anchors: Mapping[tuple[str, str], str],
    caption: str,
    *,
    wide: bool,
) -> Markup:
    shown = [name for name in study.conditions if any(chapter.condition(name) for chapter, _ in pairs)]
    rows = [_row(name, pairs, anchors, wide=wide) for name in shown]
    head = _wide_head(pairs) if wide else _narrow_head(pairs)
    table = tag("table", tag("caption", caption), head, tag("tbody", *rows), class_="matrix sortable")
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _columns(chapter: Chapter, metric: str) -> list[tuple[str, str]]:
    """Names and classes of a metric's columns; published figures have one where there are any."""
    values = [value for one in chapter.conditions if (value := one.value(metric))]
    published = any(value.published is not None for value in values)
    return [
        ("measured", "first"),
        ("difference", ""),
        *([("published", "published")] if published else []),
        ("verdict", "words"),
    ]


def _wide_head(pairs: Sequence[tuple[Chapter, str]]) -> Markup:
    groups = [
        tag(
            "th",
            chapter.title,
            " ",
            tag("b", metric),
            colspan=len(_columns(chapter, metric)),
            scope="colgroup",
            class_="group",
        )
        for chapter, metric in pairs
    ]
    figures = [
        tag("th", tag("button", name, type="button", class_="sort"), scope="col", class_=kind)
        for chapter, metric in pairs
        for name, kind in _columns(chapter, metric)
    ]
    return tag(
        "thead",
        tag("tr", tag("th", "condition", scope="col", rowspan=2, class_="name"), *groups),
        tag("tr", *figures),
    )


def _narrow_head(pairs: Sequence[tuple[Chapter, str]]) -> Markup:
    counts = Counter(metric for _, metric in pairs)
    groups = [
        tag("th", tag("b", metric), colspan=count, scope="colgroup", class_="group") for metric, count in counts.items()
    ]
    columns = [
        tag("th", tag("button", chapter.title, type="button", class_="sort"), scope="col", class_="first")
        for chapter, _ in pairs
    ]
    return tag(
        "thead", tag("tr", tag("th", "condition", scope="col", rowspan=2, class_="name"), *groups), tag("tr", *columns)
    )


def _row(
    name: str, pairs: Sequence[tuple[Chapter, str]], anchors: Mapping[tuple[str, str], str], *, wide: bool
) -> Markup:
    here, first = next((chapter, one) for chapter, _ in pairs if (one := chapter.condition(name)))
    family = first.result.family
    mark_of = tag("svg", shape(family, 8, 8), viewBox="0 0 16 16", aria_hidden="true", class_=family_class(family))
    head = tag(
        "th", mark_of, tag("a", name, href=f"#{anchors[here.name, name]}", dir="auto"), scope="row", class_="name"
    )
    cells: list[Markup] = []
    for chapter, metric in pairs:
        condition = chapter.condition(name)
        value = condition.value(metric) if condition else None
        best = name in chapter.best(metric)
        if condition is None or value is None:
            empty = len(_columns(chapter, metric)) if wide else 1
            cells += [tag("td", class_="first")] + [tag("td")] * (empty - 1)
        elif wide:
            found = _wide_cells(condition, value, best=best)
            cells += [found[name] for name, _ in _columns(chapter, metric)]
        else:
            cells.append(_narrow_cell(chapter, condition, value, anchors, best=best))
    return tag("tr", head, *cells)


def _wide_cells(condition: Condition, value: Value, *, best: bool) -> dict[str, Markup]:
    """A metric's cells by the names of their columns."""
    published = _figure(value.published, value.precision)
    return {
        "measured": tag("td", _measured(value, best=best), class_="first", data_value=_key(value.measured)),
        "difference": tag("td", change(condition, value.metric), data_value=_key(_difference(condition, value))),
        "published": tag("td", published, class_="published", data_value=_key(value.published)),
        "verdict": tag("td", verdict(value), class_="words", data_value=value.verdict),
    }


def _narrow_cell(
    chapter: Chapter, condition: Condition, value: Value, anchors: Mapping[tuple[str, str], str], *, best: bool
) -> Markup:
    """Value and verdict, the difference below, the published figure below that."""
    href = f"#{anchors[chapter.name, condition.name]}"
    published = None if value.published is None else f"published {mean(value.published, value.precision)}"
    moved = change(condition, value.metric) if value.metric in condition.contrasts else None
    return tag(
        "td",
        tag("div", tag("a", _measured(value, best=best), href=href), verdict(value), class_="pair"),
        tag("div", moved, class_="pair") if moved else None,
        tag("div", published, class_="published") if published else None,
        class_="first stacked",
        data_value=_key(value.measured),
    )


def _measured(value: Value, *, best: bool) -> Markup:
    return tag("span", _figure(value.measured, value.precision), class_="best" if best else None)


def _figure(value: float | None, precision: int) -> str:
    return MISSING if value is None else mean(value, precision)


def _difference(condition: Condition, value: Value) -> float | None:
    contrast = condition.contrasts.get(value.metric)
    return None if contrast is None else contrast.difference


def _key(value: float | None) -> str:
    return "" if value is None else repr(value)
