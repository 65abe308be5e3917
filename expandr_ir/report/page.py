"""One self-contained page: figures, plots, commands, and topics in full; it loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from expandr_ir.evaluate.compare import Cost
from expandr_ir.report import evidence
from expandr_ir.report.formats import paper_tables, sources
from expandr_ir.report.formatting import fill, mean, safe, slug
from expandr_ir.report.plots import MARKS, Point, bars, scatter, shared
from expandr_ir.report.study import Chapter, Condition, Study

MEANINGS = {
    "OK": "equal to the expected figure",
    "OK*": "within its tolerance",
    "FAIL": "further away",
    "SKIP": "not run",
    "NEW": "no figure is expected",
}

COLUMNS = 16
"""Most columns of figures in a table: a screen of 1,300 pixels shows them all. Further metrics have another table."""


def page_of(study: Study, *, per_topic: int = evidence.PER_TOPIC) -> str:
    """The whole document.

    Args:
        study: of `evidence.gather` or `evidence.study_of_comparison`, for their runs' tests and topics.
        per_topic: most topics of a collection that are shown in full; 0 shows none.

    Raises:
        InputError: an expansions file that cannot be read.
    """
    folder = resources.files(__package__).joinpath("templates")
    style, script = (safe(folder.joinpath(f"page.{kind}").read_text("utf-8")) for kind in ("css", "js"))
    anchors = _anchors(study)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return fill(
        "page.html.jinja",
        study=study,
        sections=[_section(chapter, anchors, per_topic) for chapter in study.chapters],
        overview=paper_tables(study, "") if len(study.chapters) > 1 else [],
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'",
        style=style,
        script=script,
        anchors=anchors,
        meanings=MEANINGS,
        marks=MARKS,
        limits=evidence,
        address=_address,
        moved=_moved,
        sources=sources,
    )


def _section(chapter: Chapter, anchors: Mapping[tuple[str, str], str], per_topic: int) -> dict[str, Any]:
    """A collection's part of the page: its tables hold the measured conditions, a last one those that were not run."""
    measured = [one for one in chapter.conditions if one.measured]
    skipped = [one for one in chapter.conditions if not one.measured]
    figures = _figures(measured)
    columns = ["measured", "diff", *(figures or ("Holm p", "win/tie/loss")), *(["verdict"] if figures else [])]
    return {
        "chapter": chapter,
        "id": f"collection-{slug(chapter.first.collection)}",
        "measured": measured,
        "columns": columns,
        "metrics_per_table": COLUMNS // len(columns),
        "skipped": skipped,
        "skipped_columns": _figures(skipped),
        "plots": list(_plots(chapter, measured, anchors)),
        "topics": evidence.topics_in_full(chapter, per_topic),
    }


def _figures(conditions: list[Condition]) -> list[str]:
    """Which figures are known beside the measured ones."""
    values = [value for one in conditions for value in one.result.values]
    return [kind for kind in ("expected", "published") if any(getattr(value, kind) is not None for value in values)]


def _plots(
    chapter: Chapter, measured: list[Condition], anchors: Mapping[tuple[str, str], str]
) -> Iterator[tuple[Markup | None, str]]:
    """Quality against cost and against the number of expansions, with captions that say what is left out."""
    metric = chapter.metrics[0]
    shown = [condition for condition in measured if metric in condition.measured]

    def point(condition: Condition, x: float, unit: str) -> Point:
        family = condition.result.family if condition.result.family in MARKS else "other"
        href, y = f"#{anchors[chapter.first.collection, condition.name]}", condition.measured[metric]
        return Point(condition.name, family, x, y, href, f"{metric} {mean(y)}, {x:,.4g} {unit}")

    for unit, label in (("tokens", "LLM tokens per topic"), ("seconds", "seconds per topic")):
        costs = [(condition, getattr(known_cost(condition), unit)) for condition in shown]
        points = [point(condition, cost, unit) for condition, cost in costs if cost is not None]
        caption = f"{metric} against {label}"
        if missing := len(shown) - len(points):
            caption += f"; not shown: {missing} of {len(shown)} conditions, whose cost is not known"
        if len({one.x for one in points}) > 1:
            yield scatter(points, label, metric), caption
        elif missing:
            yield None, caption
    series: dict[str, list[Point]] = {}  # conditions whose names differ in their number of expansions alone
    for condition in sorted(shown, key=lambda condition: condition.result.samples or 0):
        samples = condition.result.samples
        stem, count = re.subn(rf"^(.*)(?<!\d){samples}(?!\d)", r"\1…", condition.name) if samples else ("", 0)
        if samples and count:
            series.setdefault(stem, []).append(point(condition, samples, "expansions"))
    if drawn := {stem: points for stem, points in series.items() if len(points) > 1}:
        label = "expansions of a topic"
        points = [point for points in drawn.values() for point in points]
        yield scatter(points, label, metric, drawn), f"{metric} against the number of {label}"


def known_cost(condition: Condition) -> Cost:
    """Seconds and tokens of a topic; None where the texts that were searched came without them: they were not free."""
    manifest, cost, result = condition.manifest, condition.cost, condition.result
    inputs = set(manifest.inputs) if manifest else set()
    if cost.tokens is not None:
        return cost
    if result.expansions or result.samples or inputs & {"expansions", "topics"}:
        return Cost(None, None)
    plain = manifest is not None or result.family in {"bm25", "dense", "hybrid"}
    return Cost(cost.seconds, 0.0 if plain else None)


def _moved(chapter: Chapter, condition: Condition) -> tuple[Markup, str] | None:
    """Gains and losses of all topics on the main metric, with a caption."""
    changes = list(evidence.changes_of(chapter, condition).values())
    if not changes:
        return None
    size = shared(len(changes))
    each = "one bar a topic" if size == 1 else f"one bar is the mean of {size} topics"
    better, worse = sum(one >= 1e-9 for one in changes), sum(one <= -1e-9 for one in changes)
    caption = (
        f"{chapter.metrics[0]} less that of {condition.result.baseline}, by topic: {better} gain, {worse} lose; {each}"
    )
    return bars(changes, f"{condition.name}: {caption}"), caption


def _address(*parts: str) -> str:
    """The address of a topic shown in full: its collection, id and condition."""
    return "#topic/" + "/".join(quote(part, safe="") for part in parts)


def _anchors(study: Study) -> dict[tuple[str, str], str]:
    """An id for each condition of each collection."""
    anchors: dict[tuple[str, str], str] = {}
    for chapter in study.chapters:
        for one in chapter.conditions:
            anchor = f"{slug(chapter.first.collection)}-{slug(one.name)}"
            while anchor in anchors.values():
                anchor += "-2"
            anchors[chapter.first.collection, one.name] = anchor
    return anchors
