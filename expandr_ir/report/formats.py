"""A study as CSV, as LaTeX, as Markdown pages, and as the table of a README."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, replace

from markupsafe import Markup

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.masking import printable
from expandr_ir.report.formatting import Bold, Table, fill, levels, mark, mean, safe, signed, slug
from expandr_ir.report.study import Chapter, Condition, Study, portable

COLUMNS = (  # of the CSV
    "collection", "split", "condition", "family", "tier", "metric", "measured", "expected", "tolerance",
    "verdict", "reason", "published", "baseline", "difference", "p_holm", "wins", "ties", "losses", "topics",
    "samples", "missing", "empty", "seconds_per_topic", "tokens_per_topic", "source", "published_source",
)  # fmt: skip

FORMULA = re.compile(r"(?=\s*[=+\-@＝＋－＠]|[\t\n])")
"""A spreadsheet computes such cells: Japanese ones read the wide signs, some pass over white space before."""

OPENING = re.compile(r"<!-- results(?P<names>(?: [^\s>]+)*) -->\n")
CLOSING = "<!-- /results -->"
"""A README's table stands between `<!-- results COLLECTION NAME ... -->` and this: metrics, conditions."""

NOTED = ("expandr_ir", "pyserini", "ir-measures", "torch", "transformers", "sentence-transformers", "python")
"""Versions that a page names, where they are recorded."""


def csv_of(study: Study) -> str:
    """A row for each metric of each condition, unrounded; what is not known is empty.

    A text that a spreadsheet would compute (it starts with =, +, - or @, wide ones too, maybe after white space) has an
    apostrophe before it.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for condition in (condition for chapter in study.chapters for condition in chapter.conditions):
        for value in condition.result.values:
            row = asdict(condition.result) | asdict(value)
            row |= asdict(condition.contrasts[value.metric]) if value.metric in condition.contrasts else {}
            row |= {"seconds_per_topic": condition.cost.seconds, "tokens_per_topic": condition.cost.tokens}
            row |= {"tolerance": None} if value.expected is None else {}
            texts = {name: printable(cell) for name, cell in row.items() if isinstance(cell, str)}
            writer.writerow(row | {name: f"'{text}" if FORMULA.match(text) else text for name, text in texts.items()})
    return stream.getvalue()


def latex_of(study: Study) -> str:
    r"""One booktabs table for each metric (\usepackage{booktabs}); a metric that was never measured has none."""
    return fill("tables.tex.jinja", tables=[(table, caption) for _, table, caption in paper_tables(study, "--")])


def paper_tables(study: Study, missing: str) -> list[tuple[str, Table, str]]:
    """Each metric that was measured, with its table and caption; `missing` stands where a condition was not."""
    measured = {
        metric: [chapter for chapter in study.chapters if any(metric in one.measured for one in chapter.conditions)]
        for metric in study.metrics
    }
    return [
        (metric, _paper_table(chapters, metric, missing), _paper_caption(chapters, metric))
        for metric, chapters in measured.items()
        if chapters
    ]


def _paper_table(chapters: Sequence[Chapter], metric: str, missing: str) -> Table:
    """Conditions in rows, families apart, collections and their mean in columns; what was not measured is left out."""
    names = dict.fromkeys(one.name for chapter in chapters for one in chapter.conditions if metric in one.measured)
    rows = {name: [chapter.condition(name) for chapter in chapters] for name in names}
    means = {
        name: sum(one.measured[metric] for one in row if one) / len(row)
        for name, row in rows.items()
        if len(row) > 1 and all(one and metric in one.measured for one in row)
    }
    best = max((round(value, 4) for value in means.values()), default=None)
    groups: dict[str, list[list[str]]] = {}
    for name, row in rows.items():
        cells = [
            _figure(one, metric, name in chapter.best(metric)) or missing
            for chapter, one in zip(chapters, row, strict=True)
        ]
        if means:
            text = mean(means.get(name), missing=missing)
            cells.append(Bold(text) if name in means and len(means) > 1 and round(means[name], 4) == best else text)
        groups.setdefault(next(one.result.family for one in row if one), []).append([name, *cells])
    header = [metric, *(chapter.first.title for chapter in chapters), *(["mean"] if means else [])]
    return Table(header, list(groups.values()))


def _paper_caption(chapters: Sequence[Chapter], metric: str) -> str:
    """The topics, baselines and tests behind a paper's table."""
    conditions = [one for chapter in chapters for one in chapter.conditions if metric in one.contrasts]
    topics = ", ".join(f"{chapter.first.title} ({chapter.judged} topics)" for chapter in chapters if chapter.judged)
    baselines = " or ".join(dict.fromkeys(str(one.result.baseline) for one in conditions))
    tests = f"difference to {baselines}, two-sided paired t-test, p corrected after Holm: {levels()}"
    marks = f" Marks: {tests}." if any(one.contrasts[metric].family for one in conditions) else ""
    return f"{metric} on {topics or 'all collections'}, best in bold.{marks}"


def pages_of(study: Study) -> dict[str, str]:
    """A Markdown page for each collection and index.md, by file name; they hold no text of a topic or document."""
    study = portable(study)
    tables = [(metric, table) for metric, table, _ in paper_tables(study, "--")]
    pages = {f"{slug(one.first.collection)}.md": one for one in study.chapters}
    index = fill("index.md.jinja", measured=_measured_with(study), pages=pages, tables=tables, tally=_tally)
    return {"index.md": index} | {name: _page(study, chapter) for name, chapter in pages.items()}


def one_page(study: Study) -> str:
    """All collections on one Markdown page."""
    study = portable(study)
    return "\n".join(_page(study, chapter) for chapter in study.chapters)


def fill_markers(text: str, study: Study, where: str) -> str | None:
    """The text (`where` names it) with the table between its markers made anew; None where it has no place for it."""
    opening = OPENING.search(text)
    if opening is None:
        return None
    end = text.find(CLOSING, opening.end())
    if end < 0:
        raise InputError(f"{where} has no end of the results", expected=CLOSING)
    collection, *names = opening["names"].split() or [None]
    study = portable(study).only([collection] if collection else [])
    parts = []
    for chapter in study.chapters:
        metrics = [name for name in names if name in chapter.metrics]
        by_name = {one.name: one for one in chapter.conditions}
        chosen = [name for name in names if name not in metrics] or [
            one.name for one in chapter.conditions if one.measured
        ]
        if unknown := [name for name in chosen if name not in by_name]:
            raise unknown_name(f"condition of {collection}", unknown[0], by_name)
        shown = replace(chapter, conditions=tuple(by_name[name] for name in chosen))
        tests = max((test.family for one in shown.conditions for test in one.contrasts.values()), default=0)
        parts.append((chapter, _figures(shown, metrics or chapter.metrics, full=False), tests))
    table = fill("readme.md.jinja", parts=parts, measured=_measured_with(study), tally=_tally)
    return f"{text[: opening.end()]}\n{table}\n{text[end:]}"


def sources(condition: Condition) -> list[str]:
    """The reasons of skipped and failed figures, and the sources of known ones, each once."""
    lines = []
    for value in condition.result.values:
        lines += [f"{value.verdict}: {value.reason}"] if value.reason and value.verdict in {"FAIL", "SKIP"} else []
        lines += [f"expected: {value.source}"] if value.source and value.expected is not None else []
        known = value.published_source and value.published is not None
        lines += [f"published: {value.published_source}"] if known else []
    return list(dict.fromkeys(lines))


def _page(study: Study, chapter: Chapter) -> str:
    return fill(
        "collection.md.jinja",
        chapter=chapter,
        measured=_measured_with(study),
        tally=_tally(chapter),
        figures=_figures(chapter, chapter.metrics, full=True),
        noted=bool(list(Study((chapter,), {}, "").remarks())),
        fenced=_fenced,
        sources=sources,
    )


def _figures(chapter: Chapter, metrics: Sequence[str], *, full: bool) -> Table:
    """A row for each condition: means and differences; if full, known figures and verdicts, else wins and losses."""
    names = ["diff", "expected", "published", ""] if full else [""]
    header = ["condition", "compared with", *(name for metric in metrics for name in (metric, *names))]
    rows = []
    for one in chapter.conditions:
        row = [one.name, one.result.baseline or ""]
        for metric in metrics:
            value, test = one.value(metric), one.contrasts.get(metric)
            if value is None:
                row += [""] * (1 + len(names))
                continue
            measured, expected, published = (
                mean(figure, value.precision) for figure in (value.measured, value.expected, value.published)
            )
            row.append(Bold(measured) if one.name in chapter.best(metric) else measured)
            row.append(signed(test.difference, value.precision) + mark(test.p_holm) if test else "")
            row += [expected, published, value.verdict] if full else []
        test = one.contrasts.get(metrics[0])
        wins = "" if test is None or test.wins is None else f"{test.wins}/{test.ties}/{test.losses}"
        rows.append(row if full else [*row, wins])
    return Table(header if full else [*header, "win/tie/loss"], [rows])


def _fenced(condition: Condition) -> Markup:
    """The condition's commands in a block of code whose fence they cannot close."""
    text = printable("\n".join([condition.result.command, *condition.result.pyserini]))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return safe(f"{fence}\n{text}\n{fence}")


def _tally(chapter: Chapter) -> str:
    """The number of figures with each verdict, such as "Figures: 44 OK, 4 SKIP."."""
    counts = Study((chapter,), {}, "").results.counts()
    return f"Figures: {', '.join(f'{count} {name}' for name, count in counts.items() if count)}."


def _figure(condition: Condition | None, metric: str, best: bool) -> str:
    """A measured figure with its mark of significance, "" without one."""
    value = condition.value(metric) if condition else None
    if condition is None or value is None or value.measured is None:
        return ""
    contrast = condition.contrasts.get(metric)
    text = mean(value.measured, value.precision) + mark(contrast.p_holm if contrast else None)
    return Bold(text) if best else text


def _measured_with(study: Study) -> str:
    versions = ", ".join(f"{name} {study.versions[name]}" for name in NOTED if name in study.versions)
    return f"Measured {study.date[:10]} with {versions}."
