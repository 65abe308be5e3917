"""Comparisons and scores of runs as text for a terminal, JSON, Markdown, LaTeX or a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from expandr_ir.errors import unknown_name
from expandr_ir.evaluate import Scores, coverage_notes
from expandr_ir.evaluate.compare import ComparedRun, Comparison, Cost
from expandr_ir.report.evidence import study_of_comparison
from expandr_ir.report.formatting import Table, fill, levels, mark, mean, p_value, signed
from expandr_ir.report.page import page_of

FORMATS = ("text", "json", "markdown", "latex", "html")


def render(comparison: Comparison, form: str, *, colour: bool = False) -> str:
    """The comparison as a string that ends in a line break.

    "text" and "markdown" hold means, differences and tests by measure, seconds and tokens of a topic where they are
    known, notes, and the topics helped and hurt most, with clipped texts. "latex" is a booktabs table of means and
    differences. "html" is the page of `expandr report`. "json" is everything, with every topic's value.

    Args:
        comparison: of `evaluate.compare`.
        form: one of FORMATS.
        colour: of "text": whether a terminal shows it.

    Raises:
        InputError: there is no such format.
    """
    if form == "html":
        return page_of(study_of_comparison(comparison))
    return _spell(
        form,
        asdict(comparison),
        [*_outcome_tables(comparison), *_cost_tables(comparison)],
        [*_legend(comparison), *comparison.notes],
        comparison.runs,
        paper=_paper_table(comparison),
        colour=colour,
    )


def render_scores(scores: Mapping[str, Scores], form: str, *, colour: bool = False) -> str:
    """The means of runs, by name, as a string that ends in a line break; "json" holds every topic's value too.

    Args:
        scores: run name -> its scores (of `evaluate`), all of the same qrels and measures.
        form: one of FORMATS but html.
        colour: of "text": whether a terminal shows it.

    Raises:
        InputError: there is no such format.
    """
    first = next(iter(scores.values()))
    remarks = [f"Means over {first.topics} judged topics", *coverage_notes(scores)]
    table = Table(("run", *first.means), [[(name, *map(mean, run.means.values())) for name, run in scores.items()]])
    data = {name: {"topics": run.topics} | asdict(run) for name, run in scores.items()}
    return _spell(form, data, [table], remarks, (), paper=(table, remarks), colour=colour)


def _spell(
    form: str,
    data: Any,
    tables: Sequence[Table],
    remarks: Sequence[str],
    runs: Sequence[ComparedRun],
    *,
    paper: tuple[Table, Sequence[str]],
    colour: bool,
) -> str:
    """The data as JSON, the paper's table with its caption as LaTeX, or tables, remarks and runs' topics as text."""
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    if form == "latex":
        return fill("tables.tex.jinja", tables=[(paper[0], "; ".join(paper[1]))])
    if form not in FORMATS or form == "html":
        raise unknown_name("format", form, [known for known in FORMATS if known != form])
    suffix = "txt" if form == "text" else "md"
    return fill(f"comparison.{suffix}.jinja", tables=tables, remarks=remarks, runs=runs, colour=colour)


def _outcome_tables(comparison: Comparison) -> Iterator[Table]:
    """One table for each measure, the baseline first."""
    for position, measure in enumerate(comparison.measures):
        rows = [(comparison.baseline_name, mean(comparison.baseline.means[measure]), *[""] * 6)]
        for run in comparison.runs:
            row = run.outcomes[position]
            difference = signed(row.difference) + mark(row.p_holm)
            relative = "n/a" if row.relative is None else f"{row.relative:+.1%}"
            tests = map(p_value, (row.p_t_test, row.p_randomisation, row.p_holm))
            rows.append((run.name, mean(row.mean), difference, relative, *tests, f"{row.wins}/{row.ties}/{row.losses}"))
        yield Table((measure, "mean", "diff", "rel", "t-test", "random", "Holm", "W/T/L"), [rows])


def _cost_tables(comparison: Comparison) -> Iterator[Table]:
    """One table of seconds and tokens per topic, or none where no manifest says."""
    costs = {comparison.baseline_name: comparison.baseline_cost} | {run.name: run.cost for run in comparison.runs}
    if any(cost != Cost(None, None) for cost in costs.values()):
        shown = ((name, mean(cost.seconds, missing="n/a"), mean(cost.tokens, 1, "n/a")) for name, cost in costs.items())
        yield Table(("run", "seconds per topic", "tokens per topic"), [list(shown)])


def _paper_table(comparison: Comparison) -> tuple[Table, Sequence[str]]:
    """A row for each run and a column for each measure: mean, mark and difference; with the parts of its caption."""
    baseline = (comparison.baseline_name, *map(mean, comparison.baseline.means.values()))
    rows = [
        (run.name, *(f"{mean(row.mean)}{mark(row.p_holm)} ({signed(row.difference)})" for row in run.outcomes))
        for run in comparison.runs
    ]
    caption = (
        f"Means over {comparison.topics} judged topics, with the difference to {comparison.baseline_name}",
        f"two-sided paired t-test, p corrected after Holm over {comparison.family} tests: {levels()}",
        *comparison.notes,
    )
    return Table(("run", *comparison.measures), [[baseline], rows]), caption


def _legend(comparison: Comparison) -> list[str]:
    flips = f"{comparison.resamples:,} sign flips (seed {comparison.seed}; every flip where there are fewer)"
    return [
        f"mean: over {comparison.topics} judged topics",
        f"diff, rel, W/T/L: difference to {comparison.baseline_name}, relative to it, and topics won, tied and lost",
        f"t-test, random: two-sided p of the paired t-test, and of the randomisation test with {flips}",
        f"Holm: the t-test's p corrected over {comparison.family} tests; {levels()}",
    ]
