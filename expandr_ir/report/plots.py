"""Plots by matplotlib as inline SVG that takes its colours from the page, so that it reads in light, dark and print."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from expandr_ir.masking import printable
from expandr_ir.report.formatting import safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = {
    "bm25": ("■", "s"), "baseline": ("■", "s"), "frozen": ("●", "o"), "run": ("●", "o"), "dense": ("▲", "^"),
    "hybrid": ("◆", "D"), "live": ("▼", "v"), "training": ("★", "*"), "other": ("✚", "P"),
}  # fmt: skip
"""A family's sign on the page and in plots, so that colour is not all that tells families apart."""

BARS = 400  # most bars of one plot; of more topics, neighbours share a bar, which is their mean
LABELS = 6  # most points of a plot that are labelled
_COLOURS = ("ink", "muted", "line", "paper", "gain", "loss", *MARKS)
"""Custom properties of the page's style; matplotlib draws the n-th as the colour #0000nn."""


@dataclass(frozen=True, slots=True)
class Point:
    """One condition in a plot: its name, family (of MARKS), place, address on the page, and both values in words."""

    name: str
    family: str
    x: float
    y: float
    href: str
    said: str


def scatter(
    points: Sequence[Point], x_label: str, y_label: str, series: Mapping[str, Sequence[Point]] | None = None
) -> Markup:
    """Conditions as links, labelled where no other beats them at their x; or joined by the lines of named series."""
    with _drawing(x_label, y_label) as (figure, axes):
        xs = sorted({point.x for point in points})
        labelled = {point.name: point for point in points if not any(_beats(other, point) for other in points)}
        for line in (series or {}).values():
            axes.plot([point.x for point in line], [point.y for point in line], color=_colour(line[0].family))
        if series:
            axes.set_xticks(xs, labels=[f"{x:g}" for x in xs])
            labelled = {name: line[-1] for name, line in series.items()}
        elif xs[0] > 0 and xs[-1] / xs[0] > 30:
            axes.set_xscale("log")
        for family in dict.fromkeys(point.family for point in points):
            members = [point for point in points if point.family == family]
            marks = axes.scatter(
                [point.x for point in members], [point.y for point in members], s=34, marker=MARKS[family][1], zorder=3,
                color=_colour(family), edgecolors=_colour("paper"), linewidths=0.8, clip_on=False,
            )  # fmt: skip
            marks.set_urls([point.href for point in members])
        _label(axes, labelled, points)
        return _inline(figure, f"{y_label} against {x_label}", points)


def bars(differences: Sequence[float], label: str) -> Markup:
    """Gains and losses of topics, the largest gain first; of many topics, several share a bar (see `shared`)."""
    size, ranked = shared(len(differences)), sorted(differences, reverse=True)
    means = [sum(part) / len(part) for at in range(0, len(ranked), size) if (part := ranked[at : at + size])]
    most = max(0.1, *map(abs, means))
    with _drawing("", "", height=1.7) as (figure, axes):
        for colour, sign in (("gain", 1), ("loss", -1)):
            heights = [value if value * sign > 0 else 0.0 for value in means]
            axes.stairs(heights, range(len(means) + 1), fill=True, color=_colour(colour), gid=colour)
        axes.set(xlim=(0, len(means)), ylim=(-1.05 * most, 1.05 * most), xticks=[], yticks=[-most, 0, most])
        axes.spines.bottom.set_visible(False)
        axes.set_yticklabels([f"-{most:.2f}", "0", f"+{most:.2f}"])
        return _inline(figure, label, ())


def shared(topics: int) -> int:
    """The number of topics that share a bar."""
    return max(1, math.ceil(topics / BARS))


def _beats(other: Point, point: Point) -> bool:
    better = other.x <= point.x and other.y >= point.y
    return better and (other.x, other.y) != (point.x, point.y)


def _colour(name: str) -> str:
    return f"#0000{_COLOURS.index(name) + 1:02x}"


@contextmanager
def _drawing(x_label: str, y_label: str, height: float = 3.2) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure, 5.6 inches wide, with its axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {
        "font.size": 8, "svg.fonttype": "none", "axes.edgecolor": _colour("line"), "axes.labelcolor": _colour("muted"),
        "axes.grid": True, "axes.axisbelow": True, "grid.color": _colour("line"), "grid.linewidth": 0.6,
        "text.color": _colour("ink"), "xtick.color": _colour("muted"), "ytick.color": _colour("muted"),
        "xtick.major.size": 0, "ytick.major.size": 0, "axes.spines.top": False, "axes.spines.right": False,
        "axes.spines.left": False, "text.parse_math": False, "axes.unicode_minus": False,
    }  # fmt: skip
    with mpl.rc_context(style), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser's fonts are used
        figure = Figure(figsize=(5.6, height), layout="constrained")
        axes = figure.subplots()
        axes.set(xlabel=x_label, ylabel=y_label)
        yield figure, axes


def _label(axes: Axes, labelled: Mapping[str, Point], points: Sequence[Point]) -> None:
    """Names beside their points, the highest first, where they cover nothing."""
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in axes.transData.transform([(p.x, p.y) for p in points])]
    inside = axes.get_window_extent().padded(6)
    places = (
        ((7, 0), "left", "center"),
        ((-7, 0), "right", "center"),
        ((0, 7), "center", "bottom"),
        ((0, -7), "center", "top"),
    )
    for name, point in sorted(labelled.items(), key=lambda item: -item[1].y)[:LABELS]:
        for offset, side, level in places:
            text = axes.annotate(
                printable(name), (point.x, point.y), offset, textcoords="offset points", ha=side, va=level
            )
            box = text.get_window_extent()
            if inside.containsx(box.x0) and inside.containsx(box.x1) and not any(map(box.overlaps, taken)):
                taken.append(box)
                break
            text.remove()


def _inline(figure: Figure, label: str, points: Sequence[Point]) -> Markup:
    """The figure as an SVG element: no styles (the page's policy lets none in), no ids but those referred to."""
    import matplotlib as mpl

    stream = io.StringIO()
    said = {point.href: escape(printable(f"{point.name}: {point.said}")) for point in points}
    with mpl.rc_context({"svg.hashsalt": label + "".join(said)}):  # ids differ from those of the page's other plots
        figure.savefig(stream, format="svg", transparent=True)
    text = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|\n *", " ", stream.getvalue(), flags=re.DOTALL
    )
    _, size, body = re.split(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', text, maxsplit=1)
    references = set(re.findall(r"#(\w+)", body))
    body = re.sub("<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), body.replace("xlink:href", "href"))
    body = re.sub(r' id="([\w.]*)"', lambda found: found[0] if found[1] in references else "", body)
    body = re.sub(r' style="([^"]*)"', lambda found: re.sub(r" ?([^:;]+): ([^;]*);?", r' \1="\2"', found[1]), body)
    for href, words in said.items():
        body = re.sub(
            rf'<a href="{re.escape(href)}"[^>]*>', f'<a href="{href}" aria-label="{words}"><title>{words}</title>', body
        )
    for number, name in enumerate(_COLOURS, start=1):
        body = body.replace(f"#0000{number:02x}", f"var(--{name})")
    return safe(f'<svg class="plot" viewBox="{size}" role="group" aria-label="{escape(printable(label))}">{body}')
