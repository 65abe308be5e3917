"""A study as LaTeX, CSV, Markdown, and as the JSON that a repository can keep."""

from __future__ import annotations

import csv
import dataclasses
import io
import re

import pytest
from report_runs import NASTY, regressions, result, value

from expandr_ir.errors import InputError
from expandr_ir.masking import printable
from expandr_ir.regress.results import Results, read_results
from expandr_ir.report.evidence import gather
from expandr_ir.report.formats import COLUMNS, csv_of, fill_markers, latex_of, one_page, pages_of
from expandr_ir.report.study import Contrast, as_recorded, load_study, portable, study_of


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return gather(regressions(tmp_path_factory.mktemp("regressions")))


def check_latex(text: str) -> None:
    """Balanced groups and environments, equal columns in each row, and no special character left unescaped."""
    bare = re.sub(r"\\[\\&%$#_{}]|\\text\w+\{\}", "", text)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"[%#~<>|]", bare)
    assert bare.count("$") % 2 == 0
    assert sorted(re.findall(r"\\begin\{(\w+)\}", text)) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    for table in re.findall(r"\\begin\{tabular\}\{(l?r*)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        for row in re.findall(r"^\s+(.*?) \\\\$", table[1], re.MULTILINE):
            assert len(re.split(r"(?<!\\)&", row)) == len(table[0])


def test_latex_has_the_shape_of_papers(study):
    text = latex_of(study)
    check_latex(text)
    assert text.count("\\begin{table}") == 2
    assert r"    RR@10 & Tiny \& \textless{}small\textgreater{} \\" in text
    assert r"""    q"2'd \textless{}b\textgreater{}\&amp; & \textbf{0.8750} \\""" in text
    assert "    base & 0.4583 \\\\\n    \\midrule\n" in text, "families are apart"
    assert "dense" not in text, "it was not run"


def test_latex_of_several_collections_has_their_mean_and_marks_outside_of_bold(tmp_path):
    figures = {"base": (0.5, 0.25), "other": (0.25, 0.75), "half": (0.125, None)}
    results = [
        result(name, (value("AP", both[place]),), tmp_path, collection=collection, title=collection, baseline=None)
        for place, collection in enumerate(("one", "two"))
        for name, both in figures.items()
    ]
    study = study_of(Results(tuple(results), {}))
    first, second = study.chapters
    marked = dataclasses.replace(first.conditions[0], contrasts={"AP": Contrast(0.1, 0.001, 1, 1, 1, 1)})
    first = dataclasses.replace(first, conditions=(marked, *first.conditions[1:]))
    text = latex_of(dataclasses.replace(study, chapters=(first, second)))
    check_latex(text)
    assert "    AP & one & two & mean \\\\" in text
    assert "    base & \\textbf{0.5000}$^{**}$ & 0.2500 & 0.3750 \\\\" in text
    assert "    other & 0.2500 & \\textbf{0.7500} & \\textbf{0.5000} \\\\" in text
    assert "    half & 0.1250 & -- & -- \\\\" in text, "no mean without all of them"


def test_csv_reads_back(study):
    rows = list(csv.DictReader(io.StringIO(csv_of(study))))
    assert len(rows) == 12
    assert tuple(rows[0]) == COLUMNS
    by_name = {(row["condition"], row["metric"]): row for row in rows}
    better = by_name[NASTY, "RR@10"]
    assert float(better["measured"]) == pytest.approx(0.875)
    assert float(better["difference"]) == pytest.approx(0.875 - 11 / 24)
    assert (better["wins"], better["ties"], better["losses"], better["baseline"]) == ("3", "1", "0", "base")
    skipped = by_name["dense", "RR@10"]
    assert (skipped["measured"], skipped["verdict"], skipped["difference"]) == ("", "SKIP", "")
    assert skipped["reason"] == "the model is not here: <fetch> it"


@pytest.mark.parametrize(
    "start", ["=cmd|' /C calc'!A0", "+HACK", "-1+2", "@SUM(A1)", "\t=1", "\n=1", "\r=1", " =1", "＝1"]
)
def test_csv_holds_no_formula(tmp_path, start):
    values = (value("AP", None, 0.5, reason=start, source=f"a {start}"), value("R@100", 0.25))
    texts = dict.fromkeys(("collection", "split", "family", "tier", "baseline"), start)
    study = study_of(Results((result(start, values, tmp_path, title="x\x1b[31m", **texts),), {}))
    first, second = csv.DictReader(io.StringIO(csv_of(study)))
    assert {first[name] for name in ("condition", "reason", *texts)} == {f"'{printable(start)}"}
    assert first["source"] == printable(f"a {start}")
    assert (second["measured"], second["reason"]) == ("0.25", "")
    assert "\x1b" not in csv_of(study) + one_page(study) + latex_of(study)


def test_recorded_results_keep_the_tests_and_no_path_of_this_machine(study, tmp_path):
    text = as_recorded(study)
    (tmp_path / "results.json").write_text(text)
    again = load_study(tmp_path)
    before, after = study.chapters[0].condition(NASTY), again.chapters[0].condition(NASTY)
    assert len(read_results(tmp_path).results) == 6
    assert (after.contrasts, after.cost) == (before.contrasts, before.cost)
    assert (as_recorded(again), pages_of(again)) == (text, pages_of(study))
    assert "/tmp" not in text
    assert str(tmp_path.parent) not in text
    first = again.results.results[0]
    assert (first.spec, first.run) == ("data/tiny", None)
    assert first.command == "expandr evaluate --collection 'data/tiny' -m RR@10 'run0.run'"


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (
            "expandr search --collection /a/b/beir/tiny --output x.run",
            "expandr search --collection beir/tiny --output x.run",
        ),
        ("expandr search --collection=/a/b/beir/tiny", "expandr search --collection=beir/tiny"),
        ("expandr search --topics '/a b/c d.jsonl'", "expandr search --topics 'c d.jsonl'"),
        ("expandr search --collection irds:beir/scifact/test", "expandr search --collection irds:beir/scifact/test"),
        ("broken 'quote /a/b/c", "broken 'quote c"),
    ],
)
def test_portable_commands(command, kept):
    values = (value("AP", 0.5, reason="no /a/b/c.gz: see https://x.org/y/z"),)
    study = study_of(Results((result("x", values, "/a/b/beir/tiny", command=command),), {}))
    changed = portable(study).results.results[0]
    assert changed.command == kept
    assert changed.values[0].reason == "no c.gz: see https://x.org/y/z"


def test_pages(study):
    pages = pages_of(study)
    assert list(pages) == ["index.md", "tiny.md"]
    page = pages["tiny.md"]
    assert page.startswith("# Tiny \\& \\<small\\>\n")
    rows = [re.split(r"(?<!\\)\|", line) for line in page.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert [cell.strip() for cell in rows[2][1:8]] == ["base", "", "0.4583", "", "0.4583", "0.9000", "OK"]
    assert "- SKIP: the model is not here: \\<fetch\\> it" in page
    assert "[Tiny" in pages["index.md"]
    assert "(tiny.md): Figures: 4 OK, 1 FAIL, 2 SKIP, 5 NEW." in pages["index.md"]
    assert one_page(study) == page


def test_a_fence_is_longer_than_any_in_the_command(tmp_path):
    one = result("x", (value("AP", 0.5),), tmp_path, command="echo '```'")
    page = one_page(study_of(Results((one,), {})))
    assert "````\necho '```'\n````" in page


TEXT = "before\n<!-- results tiny base worse -->\nold\n<!-- /results -->\nafter\n"


def test_a_readme_keeps_what_is_around_its_table(study):
    filled = fill_markers(TEXT, study, "README.md")
    assert filled.startswith("before\n<!-- results tiny base worse -->\n\n")
    assert filled.endswith("\n<!-- /results -->\nafter\n")
    assert "old" not in filled
    assert "| base |  | **0.4583** |  | **0.7500** |  |  |" in filled, "the best of those shown"
    assert "| worse | base | 0.2500 | -0.2083 | 0.5000 | -0.2500 | 0/2/2 |" in filled
    assert "8 tests" in filled
    assert "with expandr\\_ir 0.1, pyserini 1.6.0, python 3.11." in filled
    assert fill_markers(filled, study, "README.md") == filled
    one = fill_markers(TEXT.replace("tiny base", "tiny R@100 base"), study, "README.md")
    assert "| worse | base | 0.5000 | -0.2500 | 0/3/1 |" in one
    assert fill_markers("nothing", study, "README.md") is None


def test_a_readme_without_names_shows_all_that_was_measured(study):
    table = fill_markers("<!-- results -->\n<!-- /results -->", study, "README.md")
    shown = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    assert shown == ["| condition", "| ---", "| base", "| q\"2'd \\<b\\>\\&amp;", "| worse", "| n2", "| n4"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- results tiny bse -->\n<!-- /results -->", "Try: base"),
        ("<!-- results tinny -->\n<!-- /results -->", "Try: tiny"),
        ("<!-- results tiny -->\n", "has no end of the results"),
    ],
)
def test_a_readme_that_cannot_be_filled(study, text, said):
    with pytest.raises(InputError, match=said):
        fill_markers(text, study, "README.md")
