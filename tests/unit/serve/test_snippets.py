"""A search as a command and as Python: what was typed is quoted, and only what differs from the defaults is said."""

from __future__ import annotations

import ast

from expandr_ir.collections import load_collection
from expandr_ir.expanders import expander_config
from expandr_ir.records import Topic
from expandr_ir.retrievers import SearchOptions
from expandr_ir.serve.index import expanded
from expandr_ir.serve.snippets import command, python
from expandr_ir.serve.wire import SearchRequest

DEMO = load_collection("demo")
HOSTILE = 'it\'s $(reboot) `x`\n"quoted"'


def test_a_plain_search_is_one_line_more_than_its_topic():
    topic = expanded(Topic("query", HOSTILE), [])
    assert command(DEMO, topic, SearchOptions(hits=10)).splitlines() == [
        "printf 'query\\t%s\\n' 'it'\"'\"'s $(reboot) `x` \"quoted\"' > topic.tsv",
        "expandr search --collection demo --topics topic.tsv --hits 10 --output query.run",
    ]


def test_an_expanders_own_search_is_repeated():
    options = SearchRequest(query="x").options(expander_config("exp4fuse"), None)
    text = command(DEMO, expanded(Topic("query", "x"), ["a 'text'"]), options)
    assert "--expansions texts.jsonl" in text
    assert "--with-topics-alone --fusion exp4fuse" in text
    assert "encoder" not in text
    dense = SearchRequest(query="x", retriever="dense").options(expander_config("reinforced-ir"), "models/mine")
    assert "--retriever dense" in command(DEMO, expanded(Topic("query", "x"), ["t"]), dense)
    assert "--encoder mine" in command(DEMO, expanded(Topic("query", "x"), ["t"]), dense)


def test_python_holds_the_texts_as_literals():
    code = python(DEMO, expanded(Topic("query", HOSTILE), [HOSTILE, "b"]), SearchOptions(hits=10, repeats=2))
    tree = ast.parse(code)
    texts = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "texts")
    assert ast.literal_eval(texts) == [HOSTILE, "b"]
    assert "SearchOptions(repeats=2, hits=10)" in code or "SearchOptions(hits=10, repeats=2)" in code


def test_a_folder_is_named_without_the_folders_above(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, row in (("corpus", '{"_id": "d", "title": "", "text": "x"}'), ("queries", '{"_id": "q", "text": "x"}')):
        (folder / f"{name}.jsonl").write_text(row)
    text = command(load_collection(folder), expanded(Topic("query", "x"), []), SearchOptions())
    assert "--collection mine" in text
    assert str(tmp_path) not in text
