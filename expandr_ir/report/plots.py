"""Plots as inline SVG that takes its colours from the page, so that it reads in light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from expandr_ir.report.markup import Content, Markup, join, tag

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 40
BARS = 400
"""Most bars of one plot; of more topics, neighbours share a bar, which is their mean."""

LABELS = 6
"""Most points of a scatter plot that are labelled."""

FAMILIES = ("bm25", "frozen", "dense", "hybrid", "live", "training")
"""Families with a colour and a shape of their own; all others share the last ones."""

_LEAST = 1e-9
"""What is less is 0."""

_CHARACTER = 6.0
"""Width of a character of a label, about."""


@dataclass(frozen=True, slots=True)
class Point:
    """One condition in a plot.

    Args:
        name: of the condition.
        family: its colour and shape.
        x, y: where it stands.
        href: what it links to.
        said: both values in words.
    """

    name: str
    family: str
    x: float
    y: float
    href: str
    said: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from data to the drawing.

    Args:
        low, high: the data's ends.
        start, end: the drawing's ends.
        ticks: where lines are drawn.
        log: a logarithmic scale.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is drawn."""
        scale = math.log10 if self.log else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return round(self.start + share * (self.end - self.start), 2)


def family_class(family: str) -> str:
    """The class that gives a family its colour."""
    return f"f-{family}" if family in FAMILIES else "f-other"


def shape(family: str, x: float, y: float) -> Markup:
    """A family's mark, centred, so that colour is not all that tells families apart."""
    kind = FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
    if kind == 0:
        return tag("rect", x=x - 4, y=y - 4, width=8, height=8)
    if kind == 1:
        return tag("circle", cx=x, cy=y, r=4.5)
    corners = {
        2: ((0, -5.5), (5.2, 4), (-5.2, 4)),
        3: ((0, -6), (6, 0), (0, 6), (-6, 0)),
        4: ((0, 5.5), (5.2, -4), (-5.2, -4)),
        5: ((-6, -2), (-2, -6), (2, -6), (6, -2), (6, 2), (2, 6), (-2, 6), (-6, 2)),
        6: ((-2, -6), (2, -6), (2, -2), (6, -2), (6, 2), (2, 2), (2, 6), (-2, 6), (-2, 2), (-6, 2), (-6, -2), (-2, -2)),
    }[kind]
    return tag("polygon", points=" ".join(f"{round(x + dx, 2)},{round(y + dy, 2)}" for dx, dy in corners))


def scatter(points: Sequence[Point], x_label: str, y_label: str) -> Markup:
    """Conditions by cost and quality; each is a link, and those that no other beats at its cost are labelled."""
    xs, ys = [point.x for point in points], [point.y for point in points]
    log = min(xs) > _LEAST and max(xs) / min(xs) > 30
    across = _log_axis(xs) if log else _linear_axis([0.0, *xs], LEFT, WIDTH - RIGHT)
    up = _linear_axis(ys, HEIGHT - BOTTOM, TOP)
    marks = [_mark(point, across(point.x), up(point.y)) for point in points]
    labels = _labels([(point, across(point.x), up(point.y)) for point in points])
    return _drawing(f"{y_label} against {x_label}", _frame(across, up, x_label, y_label), marks, labels)


def lines(series: Mapping[str, Sequence[Point]], x_label: str, y_label: str) -> Markup:
    """Conditions that differ in one number: a line for each series, labelled at its end."""
    points = [point for own in series.values() for point in own]
    across = _linear_axis([point.x for point in points], LEFT + 8, WIDTH - RIGHT - 8, whole=True)
    up = _linear_axis([point.y for point in points], HEIGHT - BOTTOM, TOP)
    drawn = []
    for own in series.values():
        path = " ".join(f"{'L' if at else 'M'}{across(point.x)},{up(point.y)}" for at, point in enumerate(own))
        drawn.append(tag("path", d=path, class_=f"series {family_class(own[0].family)}"))
        drawn += [_mark(point, across(point.x), up(point.y)) for point in own]
    ends = [(_renamed(own[-1], name), across(own[-1].x), up(own[-1].y)) for name, own in series.items()]
    return _drawing(f"{y_label} against {x_label}", _frame(across, up, x_label, y_label), drawn, _labels(ends))


def _mark(point: Point, x: float, y: float) -> Markup:
    """A condition's mark, which leads to it and says what it is."""
    said = f"{point.name}: {point.said}"
    kind = f"point {family_class(point.family)}"
    return tag("a", tag("title", said), shape(point.family, x, y), href=point.href, class_=kind, aria_label=said)


def bars(differences: Sequence[float], label: str) -> Markup:
    """Gains and losses of topics, the largest gain first; of many topics, several share a bar (see `shared`)."""
    size = shared(len(differences))
    ranked = sorted(differences, reverse=True)
    means = [sum(part) / len(part) for at in range(0, len(ranked), size) if (part := ranked[at : at + size])]
    height, bottom = 150, 138
    most = max(0.1, *map(abs, means))
    up = Axis(-most, most, bottom, TOP, (-most, 0, most))
    step = (WIDTH - LEFT - RIGHT) / len(means)
    width = max(step * 0.82, 0.5)
    drawn = []
    for kind, sign in (("gain", 1), ("loss", -1)):
        path = "".join(
            f"M{LEFT + at * step:.1f},{up(0)}h{width:.2f}V{up(mean)}h-{width:.2f}z"
            for at, mean in enumerate(means)
            if mean * sign > 0
        )
        drawn.append(tag("path", d=path, class_=kind) if path else None)
    grid = [
        (
            tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(tick), y2=up(tick), class_="zero" if tick == 0 else "grid"),
            tag("text", f"{tick:+.2f}" if tick else "0", x=LEFT - 6, y=up(tick) + 4, text_anchor="end"),
        )
        for tick in up.ticks
    ]
    return _drawing(label, join(*grid), drawn, height=height)


def shared(topics: int) -> int:
    """How many topics share a bar."""
    return max(1, math.ceil(topics / BARS))


def legend(families: Sequence[str]) -> Markup:
    """Which mark and colour stands for which family."""
    items = [
        tag(
            "li",
            tag("svg", shape(family, 8, 8), viewBox="0 0 16 16", aria_hidden="true", class_=family_class(family)),
            family,
        )
        for family in families
    ]
    return tag("ul", *items, class_="legend")


def _renamed(point: Point, name: str) -> Point:
    return Point(name, point.family, point.x, point.y, point.href, point.said)


def _drawing(label: str, *content: Content, height: int = HEIGHT) -> Markup:
    return tag("svg", *content, viewBox=f"0 0 {WIDTH} {height}", role="group", aria_label=label, class_="plot")


def _frame(across: Axis, up: Axis, x_label: str, y_label: str) -> Markup:
    """Grid, ticks and the names of the axes."""
    parts = []
    for tick in up.ticks:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(tick), y2=up(tick), class_="grid"))
        parts.append(tag("text", _tick(tick, up), x=LEFT - 6, y=up(tick) + 4, text_anchor="end"))
    floor = HEIGHT - BOTTOM
    for tick in across.ticks:
        parts.append(tag("line", x1=across(tick), x2=across(tick), y1=floor, y2=floor + 4, class_="grid"))
        parts.append(tag("text", _tick(tick, across), x=across(tick), y=floor + 17, text_anchor="middle"))
    parts.append(tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"))
    middle = (TOP + floor) / 2
    parts.append(tag("text", y_label, x=10, y=middle, text_anchor="middle", transform=f"rotate(-90 10 {middle})"))
    return join(*parts)


def _labels(placed: Sequence[tuple[Point, float, float]]) -> Markup:
    """Names beside the points that no other beats at the same cost or less, where they cover nothing."""
    front = [
        (point, x, y)
        for point, x, y in placed
        if not any(other.x <= point.x and other.y >= point.y and other is not point for other, _, _ in placed)
    ]
    taken = [(x - 6, y - 6, x + 6, y + 6) for _, x, y in placed]
    texts = []
    for point, x, y in sorted(front, key=lambda one: -one[0].y)[:LABELS]:
        width = _CHARACTER * len(point.name)
        for anchor, shift, left, base in (
            ("start", 8, x + 8, y + 4),
            ("end", -8, x - 8 - width, y + 4),
            ("middle", 0, x - width / 2, y - 9),
            ("middle", 0, x - width / 2, y + 17),
        ):
            box = (left, base - 9, left + width, base + 2)
            inside = left >= LEFT and box[2] <= WIDTH - 2 and base > TOP and base < HEIGHT - BOTTOM
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                at, down = round(x + shift, 1), round(base, 1)
                texts.append(tag("text", point.name, x=at, y=down, text_anchor=anchor, class_="label"))
                break
    return join(*texts)


def _overlap(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _linear_axis(values: Sequence[float], start: float, end: float, *, whole: bool = False) -> Axis:
    """A scale that holds all values and ends on round numbers."""
    low, high = min(values), max(values)
    spread = high - low if high - low > _LEAST else max(abs(high) * 0.1, 0.1)
    if whole:
        step = max(1.0, _round_step(spread / 5))
    else:
        step = _round_step(spread / 5)
        high = high if low == 0 else high + 0.04 * spread
        low = low if low == 0 else low - 0.04 * spread
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        last += 1
    return Axis(first * step, last * step, start, end, tuple(at * step for at in range(first, last + 1)))


def _log_axis(values: Sequence[float]) -> Axis:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    ticks = tuple(10.0**power for power in range(low, max(high, low + 1) + 1))
    return Axis(ticks[0], ticks[-1], LEFT, WIDTH - RIGHT, ticks, log=True)


def _round_step(rough: float) -> float:
    """The 1, 2 or 5 times a power of ten at or above a number."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _tick(value: float, axis: Axis) -> str:
    if axis.log:
        return f"{value:g}"
    step = axis.ticks[1] - axis.ticks[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}"
