"""Plots: everything lies inside the drawing, every point is a link, bars stand for topics as they say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from expandr_ir.report.plots import BARS, Point, bars, scatter, shared

NASTY = '<b>&"$x$ --> \x1b[31m שלום'


def points(*places: tuple[str, str, float, float]) -> list[Point]:
    return [Point(name, family, x, y, f"#{at}", f"{x} and {y}") for at, (name, family, x, y) in enumerate(places)]


def drawn(svg: str) -> ET.Element:
    """The drawing; the page's policy forbids styles, and ids must not meet those of another plot."""
    assert " style=" not in svg
    assert "<style" not in svg
    assert set(re.findall(r' id="([^"]*)"', svg)) <= set(re.findall(r"#([\w.]+)", svg))
    assert not re.search(r"#0000\w\w", svg)
    return ET.fromstring(svg)


def marks(svg: str) -> dict[str, tuple[float, float]]:
    """Where the points are drawn, by what their links say; x grows to the right, y downwards."""
    return {link.get("aria-label"): _centre(link) for link in drawn(svg).iter("a")}


def _centre(link: ET.Element) -> tuple[float, float]:
    for mark in link.iter("use"):
        return float(mark.get("x")), float(mark.get("y"))
    (path,) = link.iter("path")
    xs, ys = zip(*((float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+) ", path.get("d"))), strict=True)
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2


def labels(svg: str) -> set[str]:
    return {text.text for text in drawn(svg).iter("text")}


@pytest.mark.parametrize(("count", "most"), [(1, 0.0), (2, 1e6), (30, 1e-3)])
def test_points_lie_inside_and_say_what_they_are(count, most):
    families = ("bm25", "live", "other", "training")
    many = points(*((f"n{at}", families[at % 4], most * at / count, at / count) for at in range(count)))
    svg = scatter(many, "tokens", "nDCG@10")
    _, _, width, height = map(float, drawn(svg).get("viewBox").split())
    places = marks(svg)
    assert set(places) == {f"{point.name}: {point.said}" for point in many}
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places.values())
    assert drawn(svg).get("aria-label") == "nDCG@10 against tokens"


def test_only_points_that_nothing_beats_are_labelled_and_names_stay_texts():
    places = (NASTY, "bm25", 0, 0.5), ("good", "live", 100, 0.9), ("beaten", "live", 200, 0.7)
    svg = scatter(points(*places), "x", "y")
    shown = '<b>&"$x$ -->  [31m שלום'
    assert labels(svg) & {shown, "good", "beaten"} == {shown, "good"}
    assert "\x1b" not in svg


def test_higher_is_higher_and_a_wide_range_of_costs_is_logarithmic():
    three = points(*((str(x), "bm25", x, y) for x, y in ((0.001, 0.2), (0.1, 0.4), (10, 0.3))))
    (left, low), (middle, high), (right, _) = marks(scatter(three, "x", "y")).values()
    assert middle - left == pytest.approx(right - middle, abs=0.1)
    assert left < middle
    assert high < low


def test_lines_join_the_points_of_a_series():
    own = points(*((f"n{n}", "live", n, 0.5 + n / 100) for n in (1, 2, 4, 8)))
    svg = scatter(own, "n", "nDCG@10", {"n…": own})
    xs = [x for x, _ in marks(svg).values()]
    assert xs == sorted(xs)
    (path,) = [path.get("d") for path in drawn(svg).iter("path") if path.get("stroke") == "var(--live)"]
    joined = [float(x) for x in re.findall(r"[ML] ([\d.]+)", path)]
    assert joined == pytest.approx(xs, abs=0.02)
    assert {"n…", "1", "2", "4", "8"} <= labels(svg)


def test_bars_show_gains_above_and_losses_below():
    svg = bars([0.5, 0, -0.25, 0.5], "label")
    heights = {}
    for path in drawn(svg).iter("path"):
        if path.get("fill") in {"var(--gain)", "var(--loss)"}:
            heights[path.get("fill")] = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", path.get("d"))]
    (zero,) = [line for line in heights["var(--gain)"] if line in heights["var(--loss)"]][:1]
    assert min(heights["var(--gain)"]) < zero == max(heights["var(--gain)"])
    assert max(heights["var(--loss)"]) > zero == min(heights["var(--loss)"])
    assert max(heights["var(--loss)"]) - zero == pytest.approx((zero - min(heights["var(--gain)"])) / 2, abs=0.02)
    assert labels(svg) >= {"+0.50", "0", "-0.50"}


@pytest.mark.parametrize(("topics", "size"), [(1, 1), (300, 1), (400, 1), (401, 2), (10_000, 25)])
def test_many_topics_share_a_bar(topics, size):
    assert shared(topics) == size
    svg = bars([1.0] * topics, "label")
    assert svg.count(" L ") <= 4 * BARS + 20
