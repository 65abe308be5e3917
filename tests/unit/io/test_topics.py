from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.io.topics import read_topics, write_topics_json
from expandr_ir.records import Topic


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "t.tsv.gz"])
def test_tsv_keeps_ids_and_texts_as_they_are(tmp_path, name):
    path = written(tmp_path, name, "007\twhat  is a flea?\r\n\n7\t x \n")
    assert read_topics(path) == {"007": Topic("007", "what  is a flea?"), "7": Topic("7", " x ")}
    assert list(read_topics(path)) == ["007", "7"]


@pytest.mark.parametrize("id_field", ["topic_id", "_id", "id", "qid", "query_id", "row_id"])
@pytest.mark.parametrize("text_field", ["text", "query", "title"])
def test_jsonl_knows_the_usual_field_names(tmp_path, id_field, text_field):
    path = written(tmp_path, "t.jsonl.gz", json.dumps({id_field: "007", text_field: "fleas", "more": [1]}))
    assert read_topics(path) == {"007": Topic("007", "fleas")}


def test_a_named_field_is_taken_verbatim(tmp_path):
    row = {"topic_id": "1", "query": "fleas", "text": "They jump.", "searched": " fleas\tfleas\nThey jump.\r"}
    path = written(tmp_path, "t.jsonl", json.dumps(row))
    assert read_topics(path, field="searched")["1"].text == " fleas\tfleas\nThey jump.\r"
    with pytest.raises(InputError, match=r"line 1: no field 'absent'"):
        read_topics(path, field="absent")
    with pytest.raises(InputError, match="no field 'searched'"):
        read_topics(written(tmp_path, "t.tsv", "1\ta\n"), field="searched")


def test_pyserini_json(tmp_path):
    path = written(tmp_path, "t.json", '{"007": {"title": "a\\tb", "description": "long"},\n\n"x": {"title": "c"}}')
    assert read_topics(path) == {"007": Topic("007", "a\tb"), "x": Topic("x", "c")}
    assert read_topics(written(tmp_path, "u.json", '{"1": {"description": "d"}}'), field="description")["1"].text == "d"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.tsv", "1\ta\n2\n", r"t\.tsv, line 2: 1 columns"),
        ("t.tsv", "1\ta\tb\n", r"line 1: 3 columns"),
        ("t.tsv", "1\ta\n1\tb\n", r"line 2: topic '1' a second time"),
        ("t.tsv", "1\t \n", r"line 1: topic '1' has no text"),
        ("t.tsv", "\ta\n", r"line 1: an empty id"),
        ("t.tsv", "1 2\ta\n", r"line 1: white space in the id '1 2'"),
        ("t.tsv", "", r"t\.tsv: no topics"),
        ("t.csv", "1,a\n", r"ends in '\.csv'"),
        ("t.jsonl", '{"text": "a"}', r"line 1: no field 'topic_id' or '_id'"),
        ("t.jsonl", '{"id": "1"}', r"line 1: no field 'text'"),
        ("t.jsonl", '{"id": "1", "text": null}', r"line 1: 'text' is a NoneType"),
        ("t.json", '{"1": {"title": "a"},\n\n"1": {"title": "b"}}', r"topic '1'.*a second time"),
        ("t.json", '{"1": {"title": "a"}\n\n"2": {}}', r"line 3: malformed JSON"),
        ("t.json", '{"id": "1"}\n{"id": "2"}\n', r"line 2: malformed JSON"),
        ("t.json", '{"1": "a"}', r"topic '1': a JSON str"),
        ("t.json", "[]", r"a JSON list"),
        ("t.json", "", r"line 1: malformed JSON"),
        (
            "t.jsonl",
            '{"id": "1", "query": "a", "text": "b"}',
            r"line 1: the fields 'text' and 'query'(?s:.*)--topics-field",
        ),
    ],
)
def test_bad_input_names_file_and_line(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_topics(written(tmp_path, name, content))


IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: " " not in text)


@given(st.dictionaries(IDS, st.text(min_size=1).filter(str.strip), min_size=1))
def test_what_is_written_reads_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("topics") / "topics.json"
    write_topics_json(path, texts)
    assert {topic_id: topic.text for topic_id, topic in read_topics(path).items()} == texts
    assert json.loads(path.read_text(encoding="utf-8")) == {key: {"title": text} for key, text in texts.items()}
