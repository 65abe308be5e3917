"""The page: self-contained, well-formed, and no text of anyone's can become markup."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from report_runs import HOSTILE, NASTY, collection, regressions, result, run_file, value

from expandr_ir.collections import load_collection
from expandr_ir.evaluate.compare import compare
from expandr_ir.records import Hits, Topic
from expandr_ir.regress.results import Results, write_results
from expandr_ir.report import page as pages
from expandr_ir.report import render
from expandr_ir.report.evidence import DOCUMENT_CHARACTERS, EXPANSION_CHARACTERS, gather, study_of_comparison


def page_of(runs, **options) -> str:
    return pages.page_of(gather(runs), **options)


class Page(HTMLParser):
    """Elements, texts and problems of a page."""

    VOID = frozenset({"meta", "link", "br", "hr", "col"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts, self.scripts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        (self.scripts if self.open and self.open[-1] in {"script", "style"} else self.texts).append(text)

    def having(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return page_of(regressions(tmp_path_factory.mktemp("regressions")))


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def topics_of(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" class="topics">(.*?)</script>', text)
    return json.loads(found)


def test_it_loads_nothing_from_anywhere(page):
    addresses = [*page.having("src"), *page.having("href"), *page.having("action")]
    assert all(address.startswith("#") or address == "data:," for address in addresses)
    assert not re.search(r"@import|url\(", "".join(page.scripts))


def test_its_policy_names_its_own_style_and_script(page):
    (policy,) = [one["content"] for name, one in page.elements if one.get("http-equiv") == "Content-Security-Policy"]
    style, script = page.scripts[:2]
    assert policy.startswith("default-src 'none'")
    for text in (style, script):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on") or key == "style"]


def test_hostile_texts_stay_texts(text, page):
    assert text.count("<script") == 2, "its own, and the data"
    assert "<b>bold" not in text
    assert "<b>&amp;amp;" not in text
    assert any(HOSTILE in one for one in page.texts), "the topic, in the lists of helped and hurt"
    assert page.texts.count(NASTY) >= 3
    found = topics_of(text)
    assert found["documents"]["d5"] == ["Title 5", f"{HOSTILE} 5"]
    assert found["topics"]["2"]["text"] == f"topic 2 {HOSTILE}"
    assert found["topics"]["2"]["expansions"][NASTY][0] == f"{HOSTILE} 2"


def test_links_within_the_page_have_a_target(text, page):
    ids = page.having("id")
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    found = topics_of(text)
    for address in page.having("href"):
        if address.startswith("#topic/"):
            where, topic_id, condition = map(unquote, address.removeprefix("#topic/").split("/"))
            assert where == found["collection"]
            assert topic_id in found["topics"]
            assert condition in {one["name"] for one in found["conditions"]}
        elif address.startswith("#"):
            assert address[1:] in ids


def test_figures_moved_topics_and_plots_are_there(text, page):
    words = [word.strip() for word in page.texts]
    figures = ("0.4583", "0.8750", "+0.4167", "0.2500", "-0.2083", "0.9000", "FAIL", "SKIP", "OK", "NEW")
    assert {*figures, "Helped most on RR@10", "Hurt most on RR@10", "0.50 → 1.00"} <= {*words}
    scopes = [attributes.get("scope") for name, attributes in page.elements if name == "th"]
    assert None not in scopes
    assert {"row", "col", "colgroup"} <= set(scopes)
    for axis in ("LLM tokens per topic", "seconds per topic", "the number of expansions of a topic"):
        assert f"RR@10 against {axis}" in text
    assert "n…" in text


def test_commands_stand_there_as_they_are_typed(text):
    commands = [html.unescape(code) for code in re.findall(r"<pre tabindex=\"0\"><code>(.*?)</code>", text, re.DOTALL)]
    assert "python -m pyserini --a 'b c'" in commands
    assert sum(command.startswith("expandr evaluate --collection '/") for command in commands) == 5
    assert text.count('class="copy"') == 7, "six commands and one of Pyserini's"


def test_topics_in_full(text, page):
    data = topics_of(text)
    first, second = data["topics"]["1"], data["topics"]["2"]
    assert second["tops"]["base"] == ["d5", "d2", "d6", "d7", "d8", "d9"]
    assert second["tops"][NASTY][0] == "d2"
    assert (first["grades"], second["grades"]) == ({"d1": 1, "d9": 0}, {"d2": 1})
    assert (second["values"]["base"], second["relevant"]) == (0.5, 1)
    assert [condition["baseline"] for condition in data["conditions"]] == [None, "base", "base", "base", "base"]
    cut = first["expansions"][NASTY][2]
    assert len(cut) <= EXPANSION_CHARACTERS
    assert cut.endswith("long…")
    assert first["expansions"]["worse"][1] == "", "empty is kept as empty"
    limits = f"documents after {DOCUMENT_CHARACTERS} characters, expansions after {EXPANSION_CHARACTERS}"
    assert limits in " ".join(page.texts)


def test_the_number_of_topics_in_full_and_what_is_not_shown(tmp_path):
    runs = regressions(tmp_path)
    few = page_of(runs, per_topic=1)
    assert len(topics_of(few)["topics"]) == 1
    assert "the 1 of 4 that moved most" in few
    none = page_of(runs, per_topic=0)
    assert 'class="topics"' not in none
    assert "#topic/" not in none.split("</head>")[1]
    with (tmp_path / "expansions.jsonl").open("a") as stream:
        stream.write('{"topic_id": "77", "text": "more"}\n')
    text = page_of(runs)
    assert topics_of(text)["topics"]["1"]["expansions"] == {}
    assert "were changed after the run, and are not shown" in text
    (tmp_path / "expansions.jsonl").unlink()
    assert "expansions.jsonl are not there" in page_of(runs)


def page_of_results(tmp_path, *results) -> str:
    write_results(tmp_path, Results(results, {}))
    return page_of(tmp_path)


def test_two_names_that_look_alike_have_two_ids(tmp_path):
    results = [result(name, (value("RR@10", 0.5),), "/x", baseline=None) for name in ("a b", "a-b", "a+b", "…")]
    page = Page(page_of_results(tmp_path, *results))
    assert len([name for name in page.having("id") if name.startswith("tiny-a-b")]) == 3


def test_many_collections_have_an_overview_of_each_measured_metric(tmp_path):
    results = [
        result("base", (value("RR@10", number / 10), value("R@100", None)), "/x", collection=name, title=name)
        for number, name in enumerate("abcdef", start=1)
    ]
    page = Page(page_of_results(tmp_path, *results))
    tables = [attributes.get("class") for name, attributes in page.elements if name == "table"]
    assert (tables.count("matrix"), tables.count("matrix figures")) == (1, 6)
    assert page.texts.count("0.6000") == 4, "overview, figures, summary and details"
    assert "0.3500" in page.texts, "the mean"


def rows_of(text: str, kind: str) -> list[list[str]]:
    """The cells of the body of the first table of a class, row by row."""
    (body,) = re.findall(rf'<table class="{kind}">.*?<tbody>(.*?)</tbody>', text, re.DOTALL)[:1]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows)
    return [[html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in row] for row in cells]


def test_rows_say_what_a_figure_is_compared_with_and_why_one_was_skipped(text):
    rows = {row[0].lstrip("■▼"): row[1:] for row in rows_of(text, "matrix figures")}
    assert rows["worse"][:6] == ["base", "0.2500", "-0.2083", "0.9000", "0.9000", "FAIL"]
    assert rows["worse"][6:] == ["0.5000", "-0.2500", "–", "–", "NEW"]
    assert rows["base"][:6] == ["–", "0.4583", "–", "0.4583", "0.9000", "OK"]
    assert list(rows) == ["base", NASTY, "worse", "n2", "n4"]
    (row,) = rows_of(text, "matrix skipped")
    assert row == ["▲dense", "base", "the model is not here: <fetch> it", "0.5000", "0.5000"]


def test_many_metrics_are_in_several_tables(tmp_path):
    values = tuple(value(f"P@{cut}", cut / 100, cut / 100) for cut in range(1, 10))
    text = page_of_results(tmp_path, result("base", values, "/x"))
    assert text.count('<table class="matrix figures') == 3, "four columns a metric, at most sixteen in all"


def test_recorded_texts_of_unknown_cost_are_in_no_cost_plot(tmp_path):
    runs = regressions(tmp_path, manifests=False)
    text = page_of(runs)
    assert "RR@10 against LLM tokens per topic; not shown: 4 of 5 conditions, whose cost is not known" in text
    assert "RR@10 against seconds per topic; not shown: 5 of 5" in text
    drawn = re.findall(r'aria-label="(RR@10 against [^"]*)"', text)
    assert drawn == ["RR@10 against expansions of a topic"]
    known = re.findall(r'aria-label="(RR@10 against [^"]*)"', page_of(regressions(tmp_path / "known")))
    assert known[:2] == ["RR@10 against LLM tokens per topic", "RR@10 against seconds per topic"]


def test_ten_thousand_topics_stay_small(tmp_path):
    count, folder, runs = 10_000, tmp_path / "large", tmp_path / "runs"
    (folder / "qrels").mkdir(parents=True)
    for name, line, last in (
        ("corpus.jsonl", f'{{{{"_id": "d{{0}}", "title": "", "text": "{"text " * 100}"}}}}\n', count + 9),
        ("queries.jsonl", '{{"_id": "{0}", "text": "topic {0}"}}\n', count),
        ("qrels/test.tsv", "{0}\td{0}\t1\n", count),
    ):
        head = "query-id\tcorpus-id\tscore\n" if name.endswith(".tsv") else ""
        (folder / name).write_text(head + "".join(line.format(at) for at in range(1, last + 1)))
    ranks = {"base": [1 + at % 3 for at in range(count)], "other": [1 + (at // 2) % 3 for at in range(count)]}
    for name, ranked in ranks.items():
        run_file(runs / f"{name}.run", *ranked)
    results = [
        result(name, (value("RR@10", sum(1 / rank for rank in ranked) / count),), folder, run=f"{name}.run")
        for name, ranked in ranks.items()
    ]
    text = page_of_results(runs, *results)
    assert len(text) < 400_000
    assert len(topics_of(text)["topics"]) == 100
    assert "one bar is the mean of 25 topics" in text


def test_any_comparison_gives_a_page_with_topics_in_full_where_its_runs_are_given(tmp_path):
    qrels = {str(topic): {f"d{topic}": 1} for topic in (1, 2, 3)}
    runs = {
        name: {
            str(topic): Hits([*("x" * at for at in range(1, rank)), f"d{topic}"], [9.0 - at for at in range(rank)])
            for topic, rank in enumerate(ranks, start=1)
        }
        for name, ranks in {"base": (1, 2, 3), NASTY: (1, 1, 1)}.items()
    }
    comparison = compare(
        runs["base"],
        {NASTY: runs[NASTY]},
        qrels,
        ["RR@10", "R@100"],
        baseline_name="base",
        topics={topic_id: Topic(topic_id, f"topic {topic_id} {HOSTILE}") for topic_id in qrels},
        expansions={NASTY: {"2": [f"text {HOSTILE}"]}},
    )
    text = render(comparison, "html")
    page = Page(text)
    rows = rows_of(text, "matrix figures")
    assert rows[0][1:6] == ["–", "0.6111", "–", "–", "–"]
    assert rows[1][:6] == [f"●{NASTY}", "base", "1.0000", "+0.3889", "0.3834", "2/1/0"]
    assert any(HOSTILE in words for words in page.texts), "the topic and its expansion"
    assert text.count("<script") == 1
    assert "0.50 → 1.00" in [words.strip() for words in page.texts]

    tiny = load_collection(collection(tmp_path / "tiny"))
    data = topics_of(pages.page_of(study_of_comparison(comparison, tiny, "test", qrels, runs)))
    assert data["topics"]["3"]["tops"] == {"base": ["x", "xx", "d3"], NASTY: ["d3"]}
    assert data["documents"]["d3"] == ["Title 3", f"{HOSTILE} 3"]
    assert data["conditions"] == [{"name": "base", "baseline": None}, {"name": NASTY, "baseline": "base"}]
    assert len(data["topics"]) == 3
