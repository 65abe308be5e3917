"""Tables in the shape of papers: conditions in rows, collections in columns, the best in bold, significance marked."""

from __future__ import annotations

from expandr_ir.report.figures import PRECISION, levels, mark, mean
from expandr_ir.report.study import Chapter, Study, rounded
from expandr_ir.report.tables import Table, as_latex

MISSING = "--"
"""What stands where there is no figure."""


def latex_of(study: Study) -> str:
    r"""One booktabs table for each metric (\usepackage{booktabs}); a metric that was never measured has none."""
    tables = [(paper_table(study, metric), _caption(study, metric)) for metric in study.metrics]
    return "\n".join(as_latex(table, caption) for table, caption in tables if table.groups)


def paper_table(study: Study, metric: str) -> Table:
    """A row for each condition that was measured, families apart; with several collections, a column of their mean.

    The mean is of conditions that were measured on all of them.
    """
    chapters = _chapters(study, metric)
    rows: dict[str, list[tuple[str, ...]]] = {}
    averages: dict[str, float] = {}
    for name in study.conditions:
        family = next(one.result.family for chapter in study.chapters if (one := chapter.condition(name)))
        found = [_measured(chapter, name, metric) for chapter in chapters]
        known = [value for value in found if value is not None]
        if not known:
            continue
        cells = [_cell(chapter, name, metric) for chapter in chapters]
        if len(chapters) > 1 and len(known) == len(found):
            averages[name] = sum(known) / len(known)
        average = [mean(averages[name]) if name in averages else MISSING] if len(chapters) > 1 else []
        rows.setdefault(family, []).append((name, *cells, *average))
    names = [row[0] for group in rows.values() for row in group]
    bold = {
        (names.index(name), column) for column, chapter in enumerate(chapters, start=1) for name in chapter.best(metric)
    }
    if len(averages) > 1:
        highest = max(round(value, PRECISION) for value in averages.values())
        last = len(chapters) + 1
        bold |= {(names.index(name), last) for name, value in averages.items() if round(value, PRECISION) == highest}
    header = (metric, *(chapter.title for chapter in chapters), *(["mean"] if len(chapters) > 1 else []))
    return Table(header, tuple(map(tuple, rows.values())), frozenset(bold))


def _chapters(study: Study, metric: str) -> list[Chapter]:
    """The collections on which the metric was measured."""
    return [
        chapter
        for chapter in study.chapters
        if any(_measured(chapter, one.name, metric) is not None for one in chapter.conditions)
    ]


def _measured(chapter: Chapter, name: str, metric: str) -> float | None:
    condition = chapter.condition(name)
    value = condition.value(metric) if condition else None
    return rounded(value) if value else None


def _cell(chapter: Chapter, name: str, metric: str) -> str:
    condition = chapter.condition(name)
    value = condition.value(metric) if condition else None
    if condition is None or value is None or value.measured is None:
        return MISSING
    contrast = condition.contrasts.get(metric)
    return mean(value.measured, value.precision) + (mark(contrast.p_holm) if contrast else "")


def _caption(study: Study, metric: str) -> str:
    chapters = _chapters(study, metric)
    baselines = dict.fromkeys(
        str(one.result.baseline) for chapter in chapters for one in chapter.conditions if metric in one.contrasts
    )
    topics = ", ".join(f"{chapter.title} ({chapter.topics} topics)" for chapter in chapters if chapter.topics)
    tested = any(
        one.contrasts[metric].family for chapter in chapters for one in chapter.conditions if metric in one.contrasts
    )
    marks = (
        f"Marks: difference to {' or '.join(baselines)}, two-sided paired t-test, p corrected after Holm: {levels()}."
    )
    return " ".join([f"{metric} on {topics or 'all collections'}, best in bold.", *([marks] if tested else [])])
