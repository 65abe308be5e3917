"""Plots: everything lies inside the drawing, bars stand for topics as they say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.report.plots import BARS, HEIGHT, WIDTH, Point, bars, lines, scatter, shared

finite = st.floats(min_value=0, max_value=1e6, allow_nan=False)
point = st.builds(
    Point,
    st.text(max_size=20),
    st.sampled_from(["bm25", "live", "other"]),
    finite,
    st.floats(0, 1),
    st.just("#x"),
    st.text(),
)


def drawn(svg: str) -> ET.Element:
    return ET.fromstring(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff￾￿]", "", svg))


@given(st.lists(point, min_size=1, max_size=30))
def test_points_lie_inside(points):
    tree = drawn(scatter(points, "tokens", "nDCG@10"))
    assert tree.attrib["aria-label"] == "nDCG@10 against tokens"
    links = tree.findall("a")
    assert len(links) == len(points)
    for link in links:
        shape = link[1]
        x, y = _centre(shape)
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def _centre(shape: ET.Element) -> tuple[float, float]:
    if shape.tag == "circle":
        return float(shape.attrib["cx"]), float(shape.attrib["cy"])
    if shape.tag == "rect":
        return float(shape.attrib["x"]) + 4, float(shape.attrib["y"]) + 4
    corners = [tuple(map(float, pair.split(","))) for pair in shape.attrib["points"].split()]
    return sum(x for x, _ in corners) / len(corners), sum(y for _, y in corners) / len(corners)


def test_only_points_that_nothing_beats_are_labelled():
    points = [
        Point("cheap", "bm25", 0, 0.5, "#", ""),
        Point("good", "live", 100, 0.9, "#", ""),
        Point("beaten", "live", 200, 0.7, "#", ""),
    ]
    labels = {text.text for text in drawn(scatter(points, "x", "y")).findall("text[@class='label']")}
    assert labels == {"cheap", "good"}


def test_higher_is_higher():
    points = [Point("a", "bm25", 1, 0.2, "#", ""), Point("b", "bm25", 2, 0.4, "#", "")]
    (xa, ya), (xb, yb) = (_centre(link[1]) for link in drawn(scatter(points, "x", "y")).findall("a"))
    assert xb > xa
    assert yb < ya


def test_a_wide_range_of_costs_is_logarithmic():
    points = [Point(str(x), "bm25", x, 0.5, "#", "") for x in (0.001, 0.1, 10)]
    left, middle, right = (_centre(link[1])[0] for link in drawn(scatter(points, "x", "y")).findall("a"))
    assert middle - left == pytest.approx(right - middle, abs=0.1)


def test_lines_are_drawn_in_the_order_of_their_numbers():
    own = [Point(f"n{n}", "live", n, 0.5 + n / 100, "#", "") for n in (1, 2, 4, 8)]
    tree = drawn(lines({"n…": own}, "n", "nDCG@10"))
    path = tree.find("path[@class='series f-live']").attrib["d"]
    xs = [float(part[1:].split(",")[0]) for part in path.split()]
    assert xs == sorted(xs)
    assert len(xs) == 4
    assert [text.text for text in tree.findall("text[@class='label']")] == ["n…"]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=3000))
def test_bars_are_bounded_and_say_how_many_topics_share_one(differences):
    svg = bars(differences, "label")
    size = shared(len(differences))
    assert len(differences) / size <= BARS
    assert svg.count("M") <= BARS
    drawn(svg)


def test_bars_show_gains_above_and_losses_below():
    tree = drawn(bars([0.5, 0, -0.25, 0.5], "label"))
    gains, losses = (tree.find(f"path[@class='{kind}']").attrib["d"] for kind in ("gain", "loss"))
    assert (gains.count("M"), losses.count("M")) == (2, 1)
    zero = float(tree.find("line[@class='zero']").attrib["y1"])
    assert float(re.search(r"V([\d.]+)", gains)[1]) < zero < float(re.search(r"V([\d.]+)", losses)[1])
    assert shared(300) == 1
    assert shared(10_000) == 25
