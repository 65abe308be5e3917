"""What is generated from the figures that the repository keeps: current, complete, and free of texts and paths."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from expandr_ir.report.formats import fill_markers, pages_of
from expandr_ir.report.page import page_of
from expandr_ir.report.study import as_recorded, load_study

CHECKOUT = Path(__file__).parents[3]
PAGES = CHECKOUT / "docs" / "reproductions"


@pytest.fixture(scope="module")
def study():
    return load_study(PAGES / "results.json")


def test_the_reproduction_pages_are_current(study):
    pages = pages_of(study)
    assert {path.name for path in PAGES.glob("*.md")} == set(pages), "make reproductions"
    for name, text in pages.items():
        assert (PAGES / name).read_text(encoding="utf-8") == text, "make reproductions"


def test_the_readme_table_is_current(study):
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert fill_markers(text, study, "README.md") == text, "make reproductions"


def test_the_kept_figures_have_no_path(study):
    text = (PAGES / "results.json").read_text(encoding="utf-8")
    assert as_recorded(study) == text
    assert not re.search(r"[\"' =]/(?!/)\w+/", text)


def test_every_figure_that_should_hold_does(study):
    counts = study.results.counts()
    assert counts["FAIL"] == 0
    assert counts["OK"] > 40


def test_rows_without_published_figures_say_so(study):
    said = "no figures per collection are published in a form that could be read"
    markdown, page = pages_of(study)["scifact.md"], page_of(study.only(["scifact"]))
    for condition in ("expandr", "llm-qe", "reinforced-ir"):
        assert said in markdown.partition(f"### {condition}\n")[2].partition("###")[0]
        assert said in re.search(rf">{condition}</a>.*?</tr>", page, re.DOTALL)[0]
