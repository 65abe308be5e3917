"""One condition's own part of a page: what to type, its figures and cost, topics helped and hurt, its manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from urllib.parse import quote

from expandr_ir.evaluate.compare import TopicChange
from expandr_ir.regress.results import Value
from expandr_ir.report.evidence import Evidence
from expandr_ir.report.figures import mean, p_value, signed
from expandr_ir.report.markup import Markup, join, tag
from expandr_ir.report.matrix import MISSING, change, verdict
from expandr_ir.report.pertopic import Topics
from expandr_ir.report.plots import bars, family_class, shape, shared
from expandr_ir.report.study import Chapter, Condition
from expandr_ir.report.tables import clip

CLIP = 140
"""Characters of a topic in the lists of helped and hurt."""


def details(
    chapter: Chapter, condition: Condition, anchor: str, evidence: Evidence | None, topics: Topics | None
) -> Markup:
    """The condition, folded under a line with its main figure.

    Args:
        chapter: its collection.
        condition: what to show.
        anchor: its id on the page.
        evidence: of its run, where that is at hand.
        topics: those that the page shows in full.
    """
    result = condition.result
    notes = [*condition.notes, *((topics.notes.get(condition.name) or ()) if topics else ())]
    left = [
        _command("Command", result.command),
        *(_command("The same with Pyserini", command) for command in result.pyserini),
        _facts(condition),
        tag("ul", *(tag("li", note) for note in notes), class_="notes") if notes else None,
    ]
    parts = [
        tag("div", tag("div", *left), _moved(chapter, condition, evidence), class_="columns"),
        _values(condition),
        _helped_and_hurt(chapter, condition, evidence, topics),
        _manifest(condition, evidence),
    ]
    return tag(
        "details", _summary(chapter, condition), tag("div", *parts, class_="body"), id=anchor, class_="condition"
    )


def topic_link(collection: str, topic_id: str, condition: str) -> str:
    """The address of a topic shown in full, within the page."""
    return "#topic/" + "/".join(quote(part, safe="") for part in (collection, topic_id, condition))


def _summary(chapter: Chapter, condition: Condition) -> Markup:
    family, value = condition.result.family, condition.value(chapter.metrics[0])
    icon = tag("svg", shape(family, 8, 8), viewBox="0 0 16 16", aria_hidden="true", class_=family_class(family))
    figures = []
    if value is not None:
        text = MISSING if value.measured is None else mean(value.measured, value.precision)
        figures = [tag("span", text, class_="figure"), change(condition, value.metric), verdict(value)]
    return tag(
        "summary",
        icon,
        tag("span", condition.name, class_="title", dir="auto"),
        tag("span", family, ", ", condition.result.tier, class_="kind"),
        *figures,
    )


def _command(label: str, command: str) -> Markup:
    return tag(
        "div",
        tag("div", tag("span", label), tag("button", "Copy", type="button", class_="copy"), class_="bar"),
        tag("pre", tag("code", command), tabindex=0),
        class_="command",
    )


def _facts(condition: Condition) -> Markup:
    result, cost = condition.result, condition.cost
    known = {
        "baseline": result.baseline,
        "topics": result.topics,
        "expansions of a topic": result.samples,
        "seconds per topic": None if cost.seconds is None else f"{cost.seconds:.4f}",
        "LLM tokens per topic": None if cost.tokens is None else f"{cost.tokens:.1f}",
        "topics without an expansion": result.missing or None,
        "empty expansions": result.empty or None,
        "expansions": result.expansions,
        "run": result.run,
    }
    items = [(tag("dt", name), tag("dd", value, dir="auto")) for name, value in known.items() if value is not None]
    return tag("dl", *items, class_="facts")


def _values(condition: Condition) -> Markup:
    header = (
        "metric", "measured", "expected", "tolerance", "verdict", "difference", "Holm p", "win/tie/loss", "published",
    )  # fmt: skip
    rows = [_value_row(condition, value) for value in condition.result.values]
    sources = [
        tag("li", value.metric, ": ", said)
        for value in condition.result.values
        if (said := "; ".join(filter(None, [value.reason, _source(value)])))
    ]
    table = tag(
        "table",
        tag("caption", "Figures"),
        tag("thead", tag("tr", *(tag("th", name, scope="col") for name in header))),
        tag("tbody", *rows),
    )
    return join(
        tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=f"Figures of {condition.name}"),
        tag("ul", *sources, class_="sources") if sources else None,
    )


def _value_row(condition: Condition, value: Value) -> Markup:
    contrast = condition.contrasts.get(value.metric)
    wins = None if contrast is None or contrast.wins is None else f"{contrast.wins}/{contrast.ties}/{contrast.losses}"
    tested = contrast is not None and contrast.family > 0
    cells = (
        MISSING if value.measured is None else mean(value.measured, value.precision),
        MISSING if value.expected is None else mean(value.expected, value.precision),
        f"±{value.tolerance:g}" if value.expected is not None else MISSING,
        verdict(value),
        change(condition, value.metric),
        p_value(contrast.p_holm) if contrast is not None and tested else MISSING,
        wins or MISSING,
        MISSING if value.published is None else mean(value.published, value.precision),
    )
    return tag("tr", tag("th", value.metric, scope="row"), *(tag("td", cell) for cell in cells))


def _source(value: Value) -> str:
    expected = f"expected from {value.source}" if value.source and value.expected is not None else ""
    published = (
        f"published in {value.published_source}" if value.published_source and value.published is not None else ""
    )
    return "; ".join(filter(None, [expected, published]))


def _moved(chapter: Chapter, condition: Condition, evidence: Evidence | None) -> Markup | None:
    """Gains and losses of all topics on the main metric."""
    found = _changes(chapter, condition, evidence)
    if found is None:
        return None
    metric, size = chapter.metrics[0], shared(len(found))
    each = "one bar a topic" if size == 1 else f"one bar is the mean of {size} topics"
    better, worse = sum(one >= 1e-9 for one in found), sum(one <= -1e-9 for one in found)
    label = f"{metric} of {condition.name} less {condition.result.baseline}, by topic: {better} better, {worse} worse"
    caption = f"{metric} less that of {condition.result.baseline}, by topic: {better} gain, {worse} lose; {each}"
    return tag("figure", bars(found, label), tag("figcaption", caption))


def _changes(chapter: Chapter, condition: Condition, evidence: Evidence | None) -> list[float] | None:
    if evidence is None or condition.name not in evidence.compared:
        return None
    metric = chapter.metrics[0]
    before = evidence.scores[str(condition.result.baseline)].per_topic[metric]
    after = evidence.scores[condition.name].per_topic[metric]
    return [after[topic_id] - before[topic_id] for topic_id in before]


def _helped_and_hurt(
    chapter: Chapter, condition: Condition, evidence: Evidence | None, topics: Topics | None
) -> Markup | None:
    if evidence is None or condition.name not in evidence.compared:
        return None
    run, metric = evidence.compared[condition.name], chapter.metrics[0]
    lists = [
        tag(
            "div",
            tag("h4", f"{word} most on {metric}"),
            _list(chapter, condition, changes, topics) if changes else tag("p", "No topic.", class_="none"),
            class_=kind,
        )
        for word, kind, changes in (("Helped", "helped", run.helped), ("Hurt", "hurt", run.hurt))
    ]
    return tag("div", *lists, class_="columns")


def _list(chapter: Chapter, condition: Condition, changes: Sequence[TopicChange], topics: Topics | None) -> Markup:
    items = []
    for one in changes:
        name = one.topic_id if one.text is None else clip(one.text, CLIP)
        words: Markup | str = name
        if topics is not None and one.topic_id in topics.shown:
            words = tag("a", name, href=topic_link(chapter.name, one.topic_id, condition.name))
        sign = "gain" if one.difference > 0 else "loss"
        figures = tag("span", f"{mean(one.baseline, 2)} → {mean(one.value, 2)}", class_="from")
        moved = tag("span", signed(one.difference, 2), class_=f"change {sign}")
        items.append(tag("li", moved, " ", figures, " ", tag("bdi", words)))
    return tag("ul", *items, class_="moved")


def _manifest(condition: Condition, evidence: Evidence | None) -> Markup | None:
    manifest = evidence.manifests.get(condition.name) if evidence else None
    if manifest is None:
        return None
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False)
    return tag("details", tag("summary", "Manifest"), tag("pre", tag("code", text), tabindex=0), class_="manifest")
