"""The four spellings of a comparison, with texts that would break each of them."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from expandr_ir.errors import InputError
from expandr_ir.evaluate import Scores
from expandr_ir.evaluate.compare import ComparedRun, Comparison, Cost, Outcome, TopicChange
from expandr_ir.report import FORMATS, render, render_scores
from expandr_ir.report.formatting import mark

NASTY = "50% of $x_1 & #2 {a} ~b^c\\d <script>|`*[bold]x[/bold]\n\x1b[31mred\x00"
NAME = "q2d_50%"
LONG = "word " * 100


def scores(first, second):
    return Scores({"nDCG@10": (first + second) / 2}, {"nDCG@10": {"1": first, "2": second}}, (), ("9",), ())


def comparison(*, p_holm=0.004, cost=None):
    outcome = Outcome("nDCG@10", 0.5, 0.75, 0.25, 0.5, 0.004, 0.00001, p_holm, 1, 1, 0)
    helped = TopicChange("1", NASTY, 0.25, 0.75, 0.5, (LONG, NASTY, "third", "fourth"))
    return Comparison(
        measures=("nDCG@10",),
        topics=2,
        baseline_name="bm25",
        baseline=scores(0.25, 0.75),
        baseline_cost=Cost(0.01, None) if cost else Cost(None, None),
        runs=(ComparedRun(NAME, scores(0.75, 0.75), cost or Cost(None, None), (outcome,), (helped,), ()),),
        family=1,
        resamples=10_000,
        seed=0,
        notes=("q2d_50%: topics without a judgement, not scored: 1",),
    )


def test_text_states_every_figure():
    text = render(comparison(), "text")
    lines = text.splitlines()
    assert lines[0].split() == ["nDCG@10", "mean", "diff", "rel", "t-test", "random", "Holm", "W/T/L"]
    assert lines[2].split() == ["bm25", "0.5000"]
    assert lines[3].split() == [NAME, "0.7500", "+0.2500**", "+50.0%", "0.0040", "<0.0001", "0.0040", "1/1/0"]
    assert "mean: over 2 judged topics" in lines
    assert "Holm: the t-test's p corrected over 1 tests; * below 0.05, ** below 0.01" in lines
    assert "q2d_50%: topics without a judgement, not scored: 1" in lines
    assert "q2d_50%: helped most on nDCG@10" in lines
    assert "  +0.5000 (0.2500 to 0.7500)  1: 50% of $x_1 & #2 {a} ~b^c\\d <script>|`*[bold]x[/bold] [31mred" in lines
    assert "q2d_50%: hurt most on nDCG@10: no topic" in lines
    expansions = [line for line in lines if line.startswith("    | ")]
    assert len(expansions) == 3
    assert expansions[0].endswith("word…")
    assert len(expansions[0]) <= len("    | ") + 160
    assert expansions[2] == "    | (and 2 more)"


def test_text_is_plain_unless_a_terminal_shows_it_and_never_cut():
    assert "\x1b" not in render(comparison(), "text")
    assert "\x1b[1m+0.2500**" in render(comparison(), "text", colour=True).replace("\x1b[0m\x1b[1m", "")
    long = render(dataclasses.replace(comparison(), baseline_name="x" * 300), "text")
    assert "x" * 300 in long.splitlines()[2]
    assert "+0.2500**  +50.0%  0.0040  <0.0001  0.0040  1/1/0" in long
    assert "[red]x[/red]" in render_scores({"[red]x[/red]": scores(0, 1)}, "text")


def test_marks():
    assert [mark(p) for p in (None, 1.0, 0.05, 0.049, 0.01, 0.0099)] == ["", "", "", "*", "*", "**"]
    assert "+0.2500 " in render(comparison(p_holm=0.2), "text")
    assert " n/a " in render(comparison(p_holm=None), "text")


def test_costs_are_shown_where_a_manifest_says():
    assert "seconds per topic" not in render(comparison(), "text")
    lines = [line.split() for line in render(comparison(cost=Cost(1.5, 320.25)), "text").splitlines()]
    assert ["bm25", "0.0100", "n/a"] in lines
    assert [NAME, "1.5000", "320.2"] in lines
    assert "| q2d\\_50% | 1.5000 | 320.2 |" in render(comparison(cost=Cost(1.5, 320.25)), "markdown")


def test_json_is_complete():
    data = json.loads(render(comparison(), "json"))
    assert data == json.loads(json.dumps(dataclasses.asdict(comparison())))
    assert data["runs"][0]["scores"]["per_topic"]["nDCG@10"] == {"1": 0.75, "2": 0.75}
    assert data["runs"][0]["helped"][0]["expansions"] == [LONG, NASTY, "third", "fourth"]


def test_markdown_escapes_what_would_be_markup():
    text = render(comparison(), "markdown")
    assert "| nDCG@10 | mean | diff | rel | t-test | random | Holm | W/T/L |\n| --- | ---: |" in text
    assert "| q2d\\_50% | 0.7500 | +0.2500\\*\\* | +50.0% |" in text
    assert r"1: 50% of \$x\_1 \& \#2 \{a\} \~b^c\\d \<script\>\|\`\*\[bold\]x\[/bold\] \[31mred" in text
    assert all(line.startswith(("| ", "- ", "    - ", "**")) for line in text.splitlines() if line)
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert columns == {9}


def test_latex_is_a_booktabs_table():
    assert render(comparison(), "latex") == (
        "\\begin{table}\n"
        "  \\centering\n"
        "  \\caption{Means over 2 judged topics, with the difference to bm25; two-sided paired t-test, p corrected "
        "after Holm over 1 tests: * below 0.05, ** below 0.01; "
        "q2d\\_50\\%: topics without a judgement, not scored: 1}\n"
        "  \\begin{tabular}{lr}\n"
        "    \\toprule\n"
        "    run & nDCG@10 \\\\\n"
        "    \\midrule\n"
        "    bm25 & 0.5000 \\\\\n"
        "    \\midrule\n"
        "    q2d\\_50\\% & 0.7500$^{**}$ (+0.2500) \\\\\n"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "\\end{table}\n"
    )


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("a&b", r"a\&b"),
        ("{x}~^", r"\{x\}\textasciitilde{}\textasciicircum{}"),
        ("a\\b", r"a\textbackslash{}b"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("[x]", "{}[x]"),
        ("*", "{}*"),
    ],
)
def test_latex_escapes_names(name, cell):
    assert f"    {cell} & 0.5000 \\\\\n" in render_scores({name: scores(0.25, 0.75)}, "latex")


def test_scores_of_runs():
    both = {"bm25": scores(0.25, 0.75), NAME: scores(0.75, 0.75)}
    text = render_scores(both, "text")
    assert ["bm25", "0.5000"] in [line.split() for line in text.splitlines()]
    assert "Means over 2 judged topics" in text
    assert "bm25: topics without a judgement, not scored: 1" in text
    assert "| q2d\\_50% | 0.7500 |\n" in render_scores(both, "markdown")
    data = json.loads(render_scores(both, "json"))["bm25"]
    assert (data["means"], data["topics"]) == ({"nDCG@10": 0.5}, 2)
    assert data["per_topic"]["nDCG@10"] == {"1": 0.25, "2": 0.75}


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "html"])
def test_every_format_ends_in_one_line_break(form):
    for text in (render(comparison(), form), render_scores({"bm25": scores(0, 1)}, form)):
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(InputError, match=r"unknown format 'markdwn'(?s:.*)Try: markdown"):
        render(comparison(), "markdwn")
    with pytest.raises(InputError, match="unknown format 'html'"):
        render_scores({"bm25": scores(0, 1)}, "html")
