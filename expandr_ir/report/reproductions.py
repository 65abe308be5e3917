"""Pages of reproduced figures in Markdown, from recorded values alone, and a README's table between its markers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.regress.results import VERDICTS
from expandr_ir.report.figures import levels, mark, mean, signed
from expandr_ir.report.latex import paper_table
from expandr_ir.report.matrix import slug
from expandr_ir.report.recorded import portable
from expandr_ir.report.study import Chapter, Condition, Study
from expandr_ir.report.tables import Table, as_markdown, markdown

OPENING = re.compile(r"<!-- results(?P<names>(?: [^\s>]+)*) -->\n")
CLOSING = "<!-- /results -->"
"""A README's table stands between `<!-- results COLLECTION NAME ... -->` and this: metrics, conditions."""

NOTED = ("expandr_ir", "pyserini", "ir-measures", "torch", "transformers", "sentence-transformers", "python")
"""Versions that a page names, where they are recorded."""

INTRODUCTION = (
    "Figures that `expandr regress` measured, held against published and recorded ones. These pages are generated: "
    "`expandr report RUN_DIR --format md --output docs/reproductions`."
)
EXPLANATION = (
    "Best of a column in bold. Marks: difference to the condition's baseline, two-sided paired t-test, p corrected "
    "after Holm over all conditions and metrics of one collection and baseline"
)

MISSING = "–"
"""What stands where there is no figure."""


def pages_of(study: Study) -> dict[str, str]:
    """A page for each collection and index.md, by file name."""
    kept = portable(study)
    return {"index.md": _index(kept)} | {f"{slug(one.name)}.md": _page(one, kept) for one in kept.chapters}


def one_page(study: Study) -> str:
    """All collections on one page."""
    kept = portable(study)
    return "\n".join(_page(chapter, kept) for chapter in kept.chapters)


def has_markers(text: str) -> bool:
    """Whether a text has a place for the table."""
    return OPENING.search(text) is not None


def fill(text: str, study: Study, where: str) -> str:
    """The text with the table between its markers made anew.

    Args:
        text: such as a README.
        study: the figures.
        where: the text's name, for errors.

    Raises:
        InputError: no opening or closing marker, or a name in it that the study does not have.
    """
    opening = OPENING.search(text)
    end = text.find(CLOSING, opening.end()) if opening else -1
    if opening is None or end < 0:
        raise InputError(f"{where} has no place for results", expected=f"<!-- results COLLECTION --> and {CLOSING}")
    names = opening["names"].split()
    return f"{text[: opening.end()]}\n{readme_table(study, names[:1], names[1:])}\n{text[end:]}"


def readme_table(study: Study, collections: Sequence[str] = (), names: Sequence[str] = ()) -> str:
    """What the figures are of, and a table for each collection.

    Args:
        study: the figures.
        collections: those to show; all where none is named.
        names: conditions to show, in this order, and metrics; all that were measured where none is named.

    Raises:
        InputError: no such collection or condition.
    """
    kept = portable(study).only(collections)
    blocks = []
    for chapter in kept.chapters:
        metrics = [name for name in names if name in chapter.metrics]
        chosen = [_chosen(chapter, name) for name in names if name not in metrics]
        shown = replace(chapter, conditions=tuple(chosen or (one for one in chapter.conditions if one.measured)))
        table = _short_table(shown, metrics or chapter.metrics)
        blocks += [f"{_heading(shown, chapter)} {_measured_with(kept)}\n", as_markdown(table)]
    return "\n".join(blocks)


def _chosen(chapter: Chapter, name: str) -> Condition:
    found = chapter.condition(name)
    if found is None:
        raise unknown_name(f"condition of {chapter.name}", name, [one.name for one in chapter.conditions])
    return found


def _heading(shown: Chapter, chapter: Chapter) -> str:
    """What the table is of: topics, baselines, tests."""
    baselines = dict.fromkeys(one.result.baseline for one in shown.conditions if one.result.baseline)
    families = {contrast.family for one in shown.conditions for contrast in one.contrasts.values() if contrast.family}
    parts = [f"{markdown(chapter.title)}, {chapter.topics} topics"]
    if baselines:
        parts.append("differences to the baseline")
    tests = (
        f" with paired t-tests, p corrected after Holm over {max(families)} tests ({markdown(levels())})"
        if families
        else ""
    )
    return f"{'; '.join(parts)}{tests}. {_verdicts(chapter)}"


def _short_table(chapter: Chapter, metrics: Sequence[str]) -> Table:
    """Means and differences of metrics, topics won, tied and lost on the first one, and the baseline."""
    header = ("condition", *(cell for metric in metrics for cell in (metric, "")), "win/tie/loss", "baseline")
    rows = []
    for one in chapter.conditions:
        cells = [cell for metric in metrics for cell in (_mean(one, metric), _difference(one, metric))]
        contrast = one.contrasts.get(metrics[0])
        wins = "" if contrast is None or contrast.wins is None else f"{contrast.wins}/{contrast.ties}/{contrast.losses}"
        rows.append((one.name, *cells, wins, one.result.baseline or ""))
    return Table(header, (tuple(rows),), _bold(chapter, metrics, 2))


def _index(study: Study) -> str:
    links = [f"- [{markdown(one.title)}]({slug(one.name)}.md): {_verdicts(one)}\n" for one in study.chapters]
    tables = [
        f"## {markdown(metric)}\n\n{as_markdown(table)}"
        for metric in study.metrics
        if (table := paper_table(study, metric)).groups
    ]
    return "\n".join(
        [
            "# Reproductions\n",
            f"{INTRODUCTION}\n",
            f"{_measured_with(study)}\n",
            "".join(links),
            *tables,
            f"{EXPLANATION}, {markdown(levels())}.\n",
        ]
    )


def _page(chapter: Chapter, study: Study) -> str:
    facts = [f"split {chapter.split}"] if chapter.split else []
    facts += [f"{chapter.topics} judged topics"] if chapter.topics else []
    notes = [f"- {markdown(note)}\n" for note in chapter.notes]
    notes += [f"- {markdown(f'{one.name}: {note}')}\n" for one in chapter.conditions for note in one.notes]
    return "\n".join(
        [
            f"# {markdown(chapter.title)}\n",
            f"{', '.join(facts) or 'Topics not counted'}. {_measured_with(study)} {_verdicts(chapter)}\n",
            as_markdown(_full_table(chapter)),
            *(["".join(notes)] if notes else []),
            "## Commands\n",
            *(block for one in chapter.conditions for block in _commands(one)),
        ]
    )


def _full_table(chapter: Chapter) -> Table:
    header = (
        "condition",
        *(cell for metric in chapter.metrics for cell in (metric, "diff", "expected", "published", "")),
    )
    rows = [
        (one.name, *(cell for metric in chapter.metrics for cell in _full_cells(one, metric)))
        for one in chapter.conditions
    ]
    return Table(header, (tuple(rows),), _bold(chapter, chapter.metrics, 5))


def _full_cells(condition: Condition, metric: str) -> tuple[str, ...]:
    value = condition.value(metric)
    if value is None:
        return ("",) * 5
    figures = (value.expected, value.published)
    known = (MISSING if one is None else mean(one, value.precision) for one in figures)
    return (_mean(condition, metric), _difference(condition, metric), *known, value.verdict)


def _commands(condition: Condition) -> Iterator[str]:
    result = condition.result
    sources = dict.fromkeys(
        said
        for value in result.values
        for said in (
            value.reason and f"{value.verdict}: {value.reason}",
            value.expected is not None and value.source and f"expected: {value.source}",
            value.published is not None and value.published_source and f"published: {value.published_source}",
        )
        if said
    )
    yield f"### {markdown(condition.name)}\n"
    yield _fenced([result.command, *result.pyserini])
    if sources:
        yield "".join(f"- {markdown(str(source))}\n" for source in sources)


def _fenced(commands: Sequence[str]) -> str:
    """A block of code whose fence no command can close."""
    text = "\n".join(commands)
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}\n"


def _bold(chapter: Chapter, metrics: Sequence[str], width: int) -> frozenset[tuple[int, int]]:
    """The best cell of each metric, where each metric has `width` columns."""
    return frozenset(
        (row, 1 + width * place)
        for place, metric in enumerate(metrics)
        for row, one in enumerate(chapter.conditions)
        if one.name in chapter.best(metric)
    )


def _mean(condition: Condition, metric: str) -> str:
    value = condition.value(metric)
    return MISSING if value is None or value.measured is None else mean(value.measured, value.precision)


def _difference(condition: Condition, metric: str) -> str:
    contrast, value = condition.contrasts.get(metric), condition.value(metric)
    return (
        ""
        if contrast is None or value is None
        else signed(contrast.difference, value.precision) + mark(contrast.p_holm)
    )


def _verdicts(chapter: Chapter) -> str:
    """How many figures have which verdict, such as "Figures: 44 OK, 4 SKIP."."""
    found = [value.verdict for one in chapter.conditions for value in one.result.values]
    return "Figures: " + ", ".join(f"{found.count(name)} {markdown(name)}" for name in VERDICTS if name in found) + "."


def _measured_with(study: Study) -> str:
    versions = ", ".join(f"{name} {study.versions[name]}" for name in NOTED if name in study.versions)
    return f"Measured {study.date[:10]} with {versions}."
