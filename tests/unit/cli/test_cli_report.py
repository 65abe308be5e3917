"""`expandr report`: what it writes by which name, and what it says of bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from report_runs import HOSTILE, NASTY, regressions

from expandr_ir.cli import main
from expandr_ir.regress.results import NAME


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return regressions(tmp_path)


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        ("page.html", "<!DOCTYPE html>"),
        ("table.tex", "\\begin{table}"),
        ("table.csv", "collection,split,condition"),
        ("page.md", "# Tiny"),
        ("kept.json", '{\n "format": "expandr-results/1"'),
        ("no-ending", "<!DOCTYPE html>"),
        ("x.txt --format csv", "collection,"),
    ],
)
def test_the_format_is_the_one_named_else_that_of_the_ending(runs, capsys, words, begins):
    output, *options = words.split()
    assert main(["report", str(runs), "--output", output, *options]) == 0
    assert Path(output).read_text().startswith(begins)
    assert f"{output}: " in capsys.readouterr().out


def test_half_a_surrogate_pair_in_the_results(runs):
    results = Path(runs) / "results.json"
    results.write_text(results.read_text().replace('"about": "', '"about": "\\ud800', 1))
    for output in ("page.html", "table.csv", "page.md", "table.tex", "kept.json"):
        assert main(["report", str(runs), "--output", output]) == 0
        Path(output).read_text(encoding="utf-8")


def test_a_readme_keeps_what_is_around_its_table(runs):
    Path("README.md").write_text("# Mine\n<!-- results -->\n<!-- /results -->\nthe end\n")
    assert main(["report", str(runs), "--output", "README.md"]) == 0
    text = Path("README.md").read_text()
    assert text.startswith("# Mine\n<!-- results -->\n")
    assert text.endswith("<!-- /results -->\nthe end\n")
    assert "| base |" in text


def test_kept_results_give_the_same_folder_of_pages(runs):
    assert main(["report", str(runs), "--output", "kept.json", "--collection", "tiny"]) == 0
    assert json.loads(Path("kept.json").read_text())["tested"]["tiny"][NASTY]["contrasts"]["RR@10"]["wins"] == 3
    assert main(["report", "kept.json", "--output", "again", "--format", "md"]) == 0
    assert main(["report", str(runs), "--output", "first", "--format", "md"]) == 0
    assert sorted(path.name for path in Path("first").iterdir()) == ["index.md", "tiny.md"]
    for path in Path("first").iterdir():
        assert (Path("again") / path.name).read_text() == path.read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("empty", 4, "Try: expandr regress"),
        ("nowhere", 4, "is not there"),
        ("", 2, "no folder is named"),
        ("runs more", 2, "2 folders are named"),
        ("runs --collection tinny", 2, "Try: tiny"),
        ("runs --data nowhere", 2, "--data nowhere is no folder"),
        ("runs --per-topic -1", 2, "Expected: 0 or more"),
        ("runs --format pdf", 2, "unknown value of --format 'pdf'"),
        ("runs --output runs", 2, "is a folder"),
        ("runs/results.json --output runs/results.json", 2, "is also read"),
        ("strange", 2, "expandr-results/9"),
        ("broken", 2, "broken/results.json is damaged"),
    ],
)
def test_bad_input(runs, capsys, words, code, message):
    for name, content in {"strange": '{"format": "expandr-results/9"}', "broken": "{", "empty": None}.items():
        Path(name).mkdir()
        if content is not None:
            (Path(name) / NAME).write_text(content)
    assert main(["report", *words.split()]) == code
    assert message in capsys.readouterr().err
    assert not Path("report.html").exists()


def test_a_run_that_is_broken_names_its_line(runs, capsys):
    with (runs / "tiny" / "run1.run").open("a") as stream:
        stream.write("1 Q0 d7\n")
    assert main(["report", str(runs)]) == 2
    assert "run1.run, line " in capsys.readouterr().err


def test_compare_writes_the_page_of_any_runs(runs, capsys):
    files = [str(runs / "tiny" / f"run{number}.run") for number in (0, 1, 2)]
    argv = ["compare", "--collection", "data/tiny", "--split", "test", "--baseline", *files, "-m", "RR@10"]
    assert main([*argv, "--format", "html", "--output", "page.html"]) == 0
    assert "page.html: " in capsys.readouterr().out
    text = Path("page.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    (script,) = re.findall(r'<script type="application/json" class="topics">(.*?)</script>', text)
    topics = json.loads(script)
    assert topics["conditions"][1] == {"name": "run1", "baseline": "run0"}
    assert topics["topics"]["2"]["expansions"]["run1"][0] == f"{HOSTILE} 2"
    assert topics["documents"]["d5"] == ["Title 5", f"{HOSTILE} 5"]
    assert "RR@10 against LLM tokens per topic" in text
    assert main([*argv, "--output", files[0]]) == 2
    assert main([*argv, "--format", "html"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")
