"""Scores and comparisons as text for a terminal, JSON, Markdown or LaTeX."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from expandr_ir.errors import unknown_name
from expandr_ir.evaluate import Scores, coverage_notes
from expandr_ir.evaluate.compare import Comparison, Outcome, TopicChange
from expandr_ir.evaluate.cost import Cost
from expandr_ir.report.figures import levels, mark, mean, p_value, signed
from expandr_ir.report.tables import Table, as_latex, as_markdown, as_text, clip, markdown

__all__ = ["CLIP", "FORMATS", "SHOWN", "mark", "render", "render_scores"]

FORMATS = ("text", "json", "markdown", "latex")

CLIP = 160
"""Characters shown of a topic or an expansion."""

SHOWN = 2
"""Expansions shown of a topic; the others are counted."""


def render(comparison: Comparison, form: str, *, colour: bool = False, width: int = 120) -> str:
    """The comparison as a string that ends in a line break.

    "text" and "markdown" hold means, differences and tests by measure, seconds and tokens of a topic where they are
    known, notes, and the topics helped and hurt most, with clipped texts. "latex" is a booktabs table of means and
    differences. "json" is everything, with every topic's value.

    Args:
        comparison: what `compare` returned.
        form: one of FORMATS.
        colour: of "text": whether a terminal shows it.
        width: of "text", in characters.

    Raises:
        InputError: there is no such format.
    """
    remarks = [*_legend(comparison), *comparison.notes]
    tables = [*_outcome_tables(comparison), *_cost_tables(comparison)]
    if form == "json":
        return _json(asdict(comparison))
    if form == "latex":
        return as_latex(_compact_table(comparison), "; ".join([*_caption(comparison), *comparison.notes]))
    if form == "markdown":
        return _blocks([*map(as_markdown, tables), _bullets(remarks), *_markdown_examples(comparison)])
    if form == "text":
        texts = [as_text(table, colour=colour, width=width) for table in tables]
        return _blocks([*texts, _lines(remarks), *_text_examples(comparison)])
    raise unknown_name("format", form, FORMATS)


def render_scores(scores: Mapping[str, Scores], form: str, *, colour: bool = False, width: int = 120) -> str:
    """The means of runs, by name, as a string that ends in a line break; "json" holds every topic's value too.

    Args:
        scores: run name -> what `evaluate` returned, all of the same qrels and measures.
        form: one of FORMATS.
        colour: of "text": whether a terminal shows it.
        width: of "text", in characters.

    Raises:
        InputError: there is no such format.
    """
    first = next(iter(scores.values()))
    remarks = [f"Means over {first.topics} judged topics", *coverage_notes(scores)]
    rows = tuple((name, *map(mean, own.means.values())) for name, own in scores.items())
    table = Table(("run", *first.means), (rows,))
    if form == "json":
        return _json({name: {"topics": own.topics} | asdict(own) for name, own in scores.items()})
    if form == "latex":
        return as_latex(table, "; ".join(remarks))
    if form == "markdown":
        return _blocks([as_markdown(table), _bullets(remarks)])
    if form == "text":
        return _blocks([as_text(table, colour=colour, width=width), _lines(remarks)])
    raise unknown_name("format", form, FORMATS)


def _outcome_tables(comparison: Comparison) -> list[Table]:
    """One table for each measure, the baseline first."""
    tables = []
    for position, measure in enumerate(comparison.measures):
        header = (measure, "mean", "diff", "rel", "t-test", "random", "Holm", "W/T/L")
        baseline = (comparison.baseline_name, mean(comparison.baseline.means[measure]), *[""] * 6)
        runs = [(run.name, *_figures(run.outcomes[position])) for run in comparison.runs]
        tables.append(Table(header, ((baseline, *runs),)))
    return tables


def _figures(outcome: Outcome) -> tuple[str, ...]:
    return (
        mean(outcome.mean),
        f"{signed(outcome.difference)}{mark(outcome.p_holm)}",
        "n/a" if outcome.relative is None else f"{outcome.relative:+.1%}",
        p_value(outcome.p_t_test),
        p_value(outcome.p_randomisation),
        p_value(outcome.p_holm),
        f"{outcome.wins}/{outcome.ties}/{outcome.losses}",
    )


def _cost_tables(comparison: Comparison) -> list[Table]:
    """One table of what a topic costs, or none where no manifest says."""
    costs = [(comparison.baseline_name, comparison.baseline_cost), *((run.name, run.cost) for run in comparison.runs)]
    if all(cost == Cost(None, None) for _, cost in costs):
        return []
    rows = tuple(
        (
            name,
            "n/a" if cost.seconds is None else f"{cost.seconds:.4f}",
            "n/a" if cost.tokens is None else f"{cost.tokens:.1f}",
        )
        for name, cost in costs
    )
    return [Table(("run", "seconds per topic", "tokens per topic"), (rows,))]


def _compact_table(comparison: Comparison) -> Table:
    """A row for each run and a column for each measure: mean, mark and difference."""
    baseline = (comparison.baseline_name, *map(mean, comparison.baseline.means.values()))
    rows = [
        (run.name, *(f"{mean(row.mean)}{mark(row.p_holm)} ({signed(row.difference)})" for row in run.outcomes))
        for run in comparison.runs
    ]
    return Table(("run", *comparison.measures), ((baseline,), tuple(rows)))


def _legend(comparison: Comparison) -> list[str]:
    flips = f"{comparison.resamples:,} sign flips (seed {comparison.seed}; every flip where there are fewer)"
    return [
        f"mean: over {comparison.topics} judged topics",
        f"diff, rel, W/T/L: difference to {comparison.baseline_name}, relative to it, and topics won, tied and lost",
        f"t-test, random: two-sided p of the paired t-test, and of the randomisation test with {flips}",
        f"Holm: the t-test's p corrected over {comparison.family} tests; {levels()}",
    ]


def _caption(comparison: Comparison) -> list[str]:
    return [
        f"Means over {comparison.topics} judged topics, with the difference to {comparison.baseline_name}",
        f"two-sided paired t-test, p corrected after Holm over {comparison.family} tests: {levels()}",
    ]


def _examples(comparison: Comparison) -> Iterator[tuple[str, Sequence[TopicChange]]]:
    for run in comparison.runs:
        if run.helped or run.hurt:
            yield f"{run.name}: helped most on {comparison.measures[0]}", run.helped
            yield f"{run.name}: hurt most on {comparison.measures[0]}", run.hurt


def _text_examples(comparison: Comparison) -> Iterator[str]:
    for heading, changes in _examples(comparison):
        lines = [heading if changes else f"{heading}: no topic"]
        for change in changes:
            lines.append(f"  {_change(change)}  {_topic(change)}")
            lines += [f"    | {text}" for text in _shown(change)]
        yield _lines(lines)


def _markdown_examples(comparison: Comparison) -> Iterator[str]:
    for heading, changes in _examples(comparison):
        lines = [f"**{markdown(heading)}**" if changes else f"**{markdown(heading)}**: no topic", ""]
        for change in changes:
            lines.append(f"- {_change(change)} {markdown(_topic(change))}")
            lines += [f"    - {markdown(text)}" for text in _shown(change)]
        yield _lines(lines).rstrip("\n") + "\n"


def _shown(change: TopicChange) -> list[str]:
    shown = [clip(text, CLIP) for text in change.expansions[:SHOWN]]
    more = len(change.expansions) - SHOWN
    return [*shown, f"(and {more} more)"] if more > 0 else shown


def _topic(change: TopicChange) -> str:
    return change.topic_id if change.text is None else f"{change.topic_id}: {clip(change.text, CLIP)}"


def _change(change: TopicChange) -> str:
    return f"{signed(change.difference)} ({mean(change.baseline)} to {mean(change.value)})"


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _bullets(remarks: Sequence[str]) -> str:
    return _lines([f"- {markdown(remark)}" for remark in remarks])


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _blocks(blocks: Sequence[str]) -> str:
    return "\n".join(blocks)
