"""YAML of regressions: what it says, and what is wrong with it, by file and line."""

from __future__ import annotations

import re
import sys

import pytest

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.regress.catalogue import Figure, Regressions

TOY = "group/toy.yaml"


def test_what_a_collection_says(folder, change):
    change(TOY, "{documents: 3}", "{documents: [2, 4], terms: 7}")
    change(TOY, 'another paper"\n    rows:\n', 'another paper"\n    rows:\n      minilm: [0.5, 1]\n')
    regression = Regressions(folder).load("toy")
    facts = regression.facts
    assert (facts.title, facts.folder, facts.split, regression.group) == ("Toy", "toy", "test", "group")
    assert facts.statistics == {"flat": {"documents": [2, 4], "terms": 7}}
    assert list(regression.metrics) == ["nDCG@10", "R@100"]
    assert list(regression.conditions) == ["bm25-flat", "minilm", "a.x", "hyde", "other"]
    assert regression.expected == {
        "bm25-flat": {"nDCG@10": Figure(0.5, 0.0, "Pyserini 2.3.0"), "R@100": Figure(1.0, 0.0, "Pyserini 2.3.0")},
        "a.x": {"R@100": Figure(0.9, 0.01, "a paper, Table 1")},
    }
    assert regression.published == {
        "minilm": {"nDCG@10": Figure(0.5, 0.002, "another paper"), "R@100": Figure(1.0, 0.002, "another paper")},
        "other": {"nDCG@10": Figure(0.7, 0.0, "another paper")},
    }


def test_a_family_is_a_condition_of_each_combination(folder):
    conditions = Regressions(folder).catalogue.conditions
    assert [name for name in conditions if "." in name] == ["a.x", "a.y", "b.x", "b.y"]
    assert conditions["b.y"].expansions == "b.y.jsonl"
    assert conditions["b.y"].about == "what b by y wrote"
    assert conditions["b.y"].topics_field == "searched"


def test_a_table_of_another_python_is_passed_over(folder, change):
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    change(TOY, "    metrics: [R@100]\n", '    metrics: [R@100]\n    python: "2.7"\n')
    regression = Regressions(folder).load("toy")
    assert regression.expected["a.x"] == {}
    assert "a.x" in regression.conditions
    change(TOY, '"2.7"', f'"{here}"')
    assert Regressions(folder).load("toy").expected["a.x"]["R@100"].value == 0.9


def test_recorded_figures_are_read_beside(folder):
    (folder / "recorded").mkdir()
    text = "values:\n- source: recorded on a day\n  metrics: [nDCG@10]\n  rows:\n    a.x: [0.25]\n"
    (folder / "recorded" / "toy.yaml").write_text(text)
    assert Regressions(folder).load("toy").expected["a.x"]["nDCG@10"] == Figure(0.25, 0.0, "recorded on a day")
    assert list(Regressions(folder).files) == ["toy"]


@pytest.mark.parametrize(
    ("name", "old", "new", "message", "remedy"),
    [
        (TOY, "title: Toy", "titel: Toy", "unknown key 'titel'", "title"),
        (TOY, "conditions: [hyde]", "conditions: [hide]", "unknown condition 'hide'", "hyde"),
        (TOY, "conditions: [hyde]", "conditions: [hyde, hyde]", "'hyde' a second time", None),
        (TOY, "sets: [plain]", "sets: [plan]", "unknown set 'plan'", "plain"),
        (TOY, "metrics: [nDCG@10, R@100]", "metrics: [NDCG@10, R@100]", "unknown metric 'NDCG@10'", "nDCG@10"),
        (TOY, "      a.x: [0.9]", "      a.z: [0.9]", "unknown condition 'a.z'", "a.y"),
        (TOY, "      a.x: [0.9]", "      a.x: [0.9, 0.8]", "2 figures of 'a.x'", None),
        (TOY, "      a.x: [0.9]", "      a.x: [high]", "'a.x' is 'high'", None),
        (TOY, "      a.x: [0.9]", "      bm25-flat: [0.9]", "a second R@100 of 'bm25-flat'", None),
        (TOY, "      bm25-flat: [0.5, 1]", "      a.x: [1, 1]\n      a.x: [1, 1]", "'a.x' a second time", None),
        (TOY, '"a paper, Table 1"', "payserini", "unknown source 'payserini'", "pyserini"),
        (TOY, '"another paper"', '""', "a figure without a source", None),
        (TOY, '  - source: "another paper"\n    rows', "  - rows", "no key 'source'", None),
        (TOY, "flat: {documents: 3}", "flatt: {documents: 3}", "unknown key 'flatt'", "flat"),
        (TOY, "flat: {documents: 3}", "flat: {documents: [4, 3]}", "documents is [4, 3]", None),
        (TOY, "split: test", "split: [test]", "'split' is a list", None),
        (TOY, "folder: toy", "folder: true", "'folder' is True", None),
        (TOY, "folder: toy", "folder: toy\nfolder: toy", "'folder' a second time; the first is line 2", None),
        (TOY, "folder: toy", "folder: [toy", "expected ',' or ']'", None),
        ("conditions.yaml", "tier: near\n", "tier: neer\n", "unknown tier 'neer'", "near"),
        ("conditions.yaml", "family: dense", "family: dens", "unknown family 'dens'", "dense"),
        ("conditions.yaml", "baseline: bm25-flat", "baseline: bm25", "unknown baseline 'bm25'", "bm25-flat"),
        ("conditions.yaml", "    topics_field", "    topic_field", "unknown key 'topic_field'", "topics_field"),
        ("conditions.yaml", "plain: [bm25-flat, minilm]", "plain: [bm25-flt]", "unknown condition 'bm25-flt'", None),
        ("conditions.yaml", '"{method}.{llm}"\n', '"{method}"\n', "the name '{method}'", None),
        ("conditions.yaml", '"{method}.{llm}"\n', '"{method}.{lm}"\n', "unknown placeholder '{lm}'", "{llm}"),
        ("conditions.yaml", "about: what {method} by", "about: what {method by", "unexpected '{' in field name", None),
        ("conditions.yaml", "  hyde: {about", "  minilm: {about", "'minilm' a second time", None),
        ("conditions.yaml", "  other: {about", "  a.x: {about", "a second condition 'a.x'", None),
        ("conditions.yaml", "R@100: {precision: 4,", "R@100: {precision: four,", "'precision' is 'four'", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(folder, change, name, old, new, message, remedy):
    line = change(name, old, new)
    with pytest.raises(InputError) as caught:
        Regressions(folder).load("toy")
    found = re.search(rf"{name}, line (\d+): (.*)", caught.value.found, re.DOTALL)
    assert found, caught.value.found
    assert message in found[2]
    assert line <= int(found[1]) <= line + 2
    if remedy:
        assert caught.value.remedy == remedy


def test_collections_by_name(folder, tmp_path):
    with pytest.raises(InputError, match=r"unknown collection 'toi'\n(?s:.*)Try: toy"):
        Regressions(folder).load("toi")
    (folder / "other").mkdir()
    (folder / "other" / "toy.yaml").write_text("title: Toy again\nmetrics: [R@100]\n")
    with pytest.raises(InputError, match=r"two regressions of the name 'toy': .*group/toy.yaml and .*other/toy.yaml"):
        Regressions(folder)
    with pytest.raises(MissingResourceError, match="holds no regressions"):
        Regressions(tmp_path / "empty")
