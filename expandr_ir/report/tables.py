"""One table, three spellings: for a terminal, Markdown and LaTeX."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{character: f"\\{character}" for character in "{}$&#_%"},
    }
)
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>#|~&$"})


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header: a column of words, then columns of figures.

    Args:
        header: names of the columns.
        groups: rows of cells, in groups with a line between them; stars in a figure mark significance.
        bold: cells in bold type by (row, column), rows counted over all groups; a terminal does not show it.
    """

    header: tuple[str, ...]
    groups: tuple[tuple[tuple[str, ...], ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()


def as_text(table: Table, *, colour: bool, width: int) -> str:
    """The table for a terminal; words fold where `width` characters are not enough, figures are never cut."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as RichTable
    from rich.text import Text

    rich = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    rich.add_column(Text(table.header[0]), overflow="fold")
    for name in table.header[1:]:
        rich.add_column(Text(name), justify="right", no_wrap=True)
    for group in table.groups:
        for row in group:
            rich.add_row(*(Text(cell, style="bold" if cell.endswith("*") else "") for cell in row))
        rich.add_section()
    wide = Console(file=io.StringIO(), width=10_000)
    least = Measurement.get(wide, wide.options, rich).minimum
    console = Console(file=io.StringIO(), width=max(width, least), force_terminal=colour, legacy_windows=False)
    with console.capture() as captured:
        console.print(rich)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def as_markdown(table: Table) -> str:
    """The table in GitHub's Markdown, which has no line between groups."""
    ruler = ["---", *["---:"] * (len(table.header) - 1)]
    rows = [row for group in table.groups for row in group]
    body = [
        [_strong(markdown(cell), (at, column) in table.bold) for column, cell in enumerate(row)]
        for at, row in enumerate(rows)
    ]
    lines = [[markdown(name) for name in table.header], ruler, *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_latex(table: Table, caption: str) -> str:
    r"""The table as a LaTeX `table` with booktabs rules (\usepackage{booktabs}); stars become superscripts.

    Args:
        table: what to print.
        caption: plain text.
    """
    columns = "l" + "r" * (len(table.header) - 1)
    numbered = itertools.count()
    groups = [[(next(numbered), row) for row in group] for group in table.groups]
    body = "    \\midrule\n".join("".join(_latex_row(row, at, table.bold) for at, row in group) for group in groups)
    return (
        "\\begin{table}\n"
        "  \\centering\n"
        f"  \\caption{{{latex(caption)}}}\n"
        f"  \\begin{{tabular}}{{{columns}}}\n"
        "    \\toprule\n"
        f"{_latex_row(table.header)}"
        "    \\midrule\n"
        f"{body}"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "\\end{table}\n"
    )


def latex(text: str) -> str:
    """Plain text with LaTeX's special characters escaped."""
    return text.translate(_LATEX)


def markdown(text: str) -> str:
    """Plain text with Markdown's special characters escaped, on one line."""
    return " ".join(text.split()).translate(_MARKDOWN)


def clip(text: str, limit: int) -> str:
    """The text on one line without control characters; one longer than `limit` is cut and ends in an ellipsis."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _strong(cell: str, bold: bool) -> str:
    return f"**{cell}**" if bold and cell else cell


def _latex_row(row: Sequence[str], at: int = -1, bold: Container[tuple[int, int]] = ()) -> str:
    words, *figures = map(latex, row)
    opening = "{}" if words.startswith(("[", "*")) else ""  # else the line end before it takes it for its argument
    marked = [_latex_figure(figure, (at, column) in bold) for column, figure in enumerate(figures, start=1)]
    return f"    {opening}{' & '.join([words, *marked])} \\\\\n"


def _latex_figure(figure: str, bold: bool) -> str:
    """A figure with its stars as a superscript; only the figure itself is bold."""
    value, stars = re.fullmatch(r"([^*]*)(.*)", figure, re.DOTALL).groups()  # type: ignore[union-attr]
    strong = rf"\textbf{{{value}}}" if bold and value else value
    return strong + re.sub(r"\*+", r"$^{\g<0>}$", stars)
