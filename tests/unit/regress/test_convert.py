"""Others' formats -> rows for --expansions."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.expansions_file import read_expansions
from expandr_ir.records import Topic
from expandr_ir.regress.convert import query2doc_rows, querygym_rows, split_repeats


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b a b a b c d", (3, "c d")),
        ("flea flea", (2, "")),
        ("do fleas jump do fleas jump They do.", (2, "They do.")),
        ("New New York New New York New New York It is a city.", (3, "It is a city.")),
        ("do fleas jump They do.", (0, "do fleas jump They do.")),
        ("one", (0, "one")),
        ("", (0, "")),
    ],
)
def test_split_repeats(text, expected):
    assert split_repeats(text) == expected


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=3, max_size=6, unique=True),
    st.integers(min_value=2, max_value=7),
    st.text("xyz ", max_size=20),
)
def test_repeats_are_taken_off_and_nothing_else(words, repeats, rest):
    topic = " ".join(words)
    assume(not rest.startswith(" "))
    found = split_repeats(f"{topic} " * repeats + rest)
    assert found == (repeats, rest)
    assert f"{topic} " * found[0] + found[1] == f"{topic} " * repeats + rest


def test_querygym(tmp_path):
    path = tmp_path / "queries.tsv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t")
        writer.writerow(["007", 'do fleas jump do fleas jump They do,\tand say "yes".\nFar.'])
        writer.writerow(["8", "how long live dogs keywords"])
    rows = list(querygym_rows(path))
    assert rows == [
        {
            "topic_id": "007",
            "text": 'They do,\tand say "yes".\nFar.',
            "searched": 'do fleas jump do fleas jump They do,\tand say "yes".\nFar.',
            "query_repeats": 2,
        },
        {"topic_id": "8", "text": "how long live dogs keywords", "searched": "how long live dogs keywords"},
    ]
    out = tmp_path / "out.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    topics = {"007": Topic("007", "do fleas jump"), "8": Topic("8", "how long live dogs")}
    read = read_expansions(out, topics).topics
    assert read["007"].expansions[0].text == 'They do,\tand say "yes".\nFar.'


@pytest.mark.parametrize("text", ["1\tq\tmore\n", "1\n", "\tq\n", '1\t"open\n'])
def test_a_tsv_that_does_not_fit(tmp_path, text):
    path = tmp_path / "queries.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"queries.tsv, line 1: "):
        list(querygym_rows(path))


def test_query2doc(tmp_path):
    path = tmp_path / "dev.jsonl"
    path.write_text('{"query_id": "007", "query": "do fleas jump", "pseudo_doc": ""}\n')
    assert list(query2doc_rows(path)) == [{"topic_id": "007", "query": "do fleas jump", "text": ""}]
    path.write_text('{"query_id": "007", "query": "do fleas jump", "passage": "x"}\n')
    with pytest.raises(InputError, match=r"dev.jsonl, line 1: no field 'pseudo_doc'"):
        list(query2doc_rows(path))
