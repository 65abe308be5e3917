"""Figures, texts and tables as every format prints them: escaped by their format, without control characters."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from expandr_ir.masking import printable

LEVELS = ((0.01, "**"), (0.05, "*"))
"""Marks of a difference whose corrected p-value is below a level, the strictest first."""

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


class Bold(str):
    """A cell in bold type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A column of words, then columns of figures, whose stars mark significance; rows in groups with lines between."""

    header: Sequence[str]
    groups: Sequence[Sequence[Sequence[str]]]


def mark(p_value: float | None) -> str:
    """The mark of a corrected p-value: "**" below 0.01, "*" below 0.05, else ""."""
    return next((stars for level, stars in LEVELS if p_value is not None and p_value < level), "")


def levels() -> str:
    """The marks in words."""
    return ", ".join(f"{stars} below {level}" for level, stars in reversed(LEVELS))


def mean(value: float | None, precision: int = 4, missing: str = "–") -> str:
    """A mean, such as 0.7203."""
    return missing if value is None else f"{value:.{precision}f}"


def signed(value: float, precision: int = 4) -> str:
    """A difference with its sign; a difference that rounds to 0 is +."""
    return f"{round(value, precision) + 0.0:+.{precision}f}"


def p_value(value: float | None) -> str:
    """A p-value, "n/a" where none could be computed."""
    return "<0.0001" if value is not None and value < 0.0001 else mean(value, missing="n/a")


def clip(text: str, limit: int) -> str:
    """The text on one line; one longer than `limit` is cut and ends in an ellipsis."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def slug(text: str) -> str:
    """Letters, digits and hyphens, for a class, an id or a file name; OK* is "ok-star"."""
    return re.sub(r"\W+", "-", text.lower().replace("*", "-star")).strip("-") or "x"


def safe(text: str) -> Markup:
    """Text that is of its format already, and is not escaped again."""
    return Markup(text)  # noqa: S704 - the callers escape


def fill(template: str, **values: Any) -> str:
    """The template of this name, such as "page.html.jinja", with its values escaped as html, md, tex or txt asks."""
    return _environment(template.split(".")[1]).get_template(template).render(values)


def markdown(text: str) -> str:
    """Plain text with Markdown's special characters escaped, on one line."""
    escaped = " ".join(text.split()).translate(_MARKDOWN)
    return f"**{escaped}**" if isinstance(text, Bold) and escaped else escaped


def latex(text: str) -> str:
    """Plain text with LaTeX's special characters escaped."""
    return text.translate(_LATEX)


def _latex_row(row: Sequence[str]) -> Markup:
    """A row of a table: stars become superscripts, and only the figure itself is bold."""
    opening = "{}" if row[0].startswith(("[", "*")) else ""  # else the line end before it takes it for its argument
    cells = [opening + latex(printable(row[0]))]
    for figure in row[1:]:
        value, stars = re.fullmatch(r"([^*]*)(.*)", latex(printable(figure)), re.DOTALL).groups()  # type: ignore[union-attr]
        strong = rf"\textbf{{{value}}}" if isinstance(figure, Bold) and value else value
        cells.append(strong + re.sub(r"\*+", r"$^{\g<0>}$", stars))
    return safe(" & ".join(cells) + r" \\")


def _text_table(table: Table, colour: bool) -> Markup:
    """The table for a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    rich = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in table.header:
        rich.add_column(Text(printable(name)), justify="right" if rich.columns else "left")
    for group in table.groups:
        for row in group:
            rich.add_row(*(Text(printable(cell), style="bold" if cell.endswith("*") else "") for cell in row))
        rich.add_section()
    console = Console(file=io.StringIO(), width=10_000, force_terminal=colour, legacy_windows=False)  # cuts no figure
    with console.capture() as captured:
        console.print(rich)
    return safe("\n".join(line.rstrip() for line in captured.get().splitlines()))


@cache
def _environment(form: str) -> Environment:
    """The templates of a format. Every value passes `finalize`, so that none can get out unescaped."""
    escapes: dict[str, Callable[[str], str]] = {"html": escape, "md": markdown, "tex": latex, "txt": str}

    def finalize(value: Any) -> Markup:
        if isinstance(value, Markup):
            return value
        text = "" if value is None else printable(str(value))
        return safe(escapes[form](Bold(text) if isinstance(value, Bold) else text))

    environment = Environment(
        loader=PackageLoader("expandr_ir.report"),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"mean": mean, "signed": signed, "mark": mark, "p_value": p_value, "levels": levels}
    environment.filters |= {"slug": slug, "clip": clip, "latex_row": _latex_row, "text_table": _text_table}
    environment.filters["as_json"] = lambda value: json.dumps(asdict(value), indent=2, ensure_ascii=False)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.tests["bold"] = lambda value: isinstance(value, Bold)
    return environment
