from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import write_jsonl
from expandr_ir.records import ExpandedTopic, Expansion, Topic

TOPICS = {"1": Topic("1", "fleas"), "007": Topic("007", "dogs  bark")}


def rows_file(folder, *rows, name="e.jsonl"):
    path = folder / name
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def row(topic_id, text, **more):
    return {"topic_id": topic_id, "text": text, **more}


@pytest.mark.parametrize("name", ["e.jsonl", "e.jsonl.gz"])
def test_texts_are_verbatim_and_topics_keep_their_order(tmp_path, name):
    path = rows_file(
        tmp_path, row("007", " Woof.\n", query="dogs bark\r"), row("1", "Hop."), row("1", "Jump."), name=name
    )
    found = read_expansions(path, TOPICS)
    assert list(found) == ["1", "007"]
    assert found["1"] == ExpandedTopic(TOPICS["1"], (Expansion(0, "Hop."), Expansion(1, "Jump.")))
    assert found["007"].expansions[0].text == " Woof.\n"
    assert found.missing == ()
    assert found.counts == {"topics": 2, "empty": 0, "failed": 0, "other_rows": 0}


def test_texts_count_up_from_the_rows_sample(tmp_path):
    first, last = {"topic_id": "1", "texts": ["a", "b"], "sample": 0}, {"topic_id": "1", "texts": ["e"], "sample": 2}
    path = rows_file(tmp_path, row("1", "d", sample=3), first, last | {"raw": "x"})
    expansions = read_expansions(path, {"1": TOPICS["1"]})["1"].expansions
    assert [(e.sample, e.text, e.raw) for e in expansions] == [(n, text, None) for n, text in enumerate("abed")]
    assert expansions[2].extra == {"raw": "x"}


def test_details_are_read_and_the_rest_is_kept(tmp_path):
    details = {"raw": "Sure: Hop.", "key": "ab", "tokens_in": 9, "seconds": 2}
    extra = {"searched": "fleas Hop.", "finish_reason": "stop"}
    more = details | extra | {"query": "fleas", "query_repeats": 5, "reasons": ["lead-in"], "tokens_out": None}
    topic = read_expansions(rows_file(tmp_path, row("1", "Hop.", **more)), {"1": TOPICS["1"]})["1"]
    assert topic.query_repeats == 5
    assert topic.expansions == (Expansion(0, "Hop.", reasons=("lead-in",), extra=extra, **details),)


@pytest.mark.parametrize(
    ("rows", "skip", "message"),
    [
        ([row("1", "Hop.")], False, r"1 of 2 topics have no expansion: 007(?s:.*)--skip-missing"),
        ([{"topic_id": "1", "finish_reason": "error"}], True, "no expansion: 1, 007; 1 rows say that no text came"),
        ([row(str(n), "x") for n in range(20, 30)], True, r"it has 20, 21, 22, 23, 24, \.\.\., these are 1, 007"),
        ([], True, "2 of 2 topics have no expansion"),
    ],
)
def test_topics_without_expansions_are_an_error(tmp_path, rows, skip, message):
    with pytest.raises(InputError, match=message):
        read_expansions(rows_file(tmp_path, *rows), TOPICS, skip)


def test_what_does_not_fit_is_counted(tmp_path):
    path = rows_file(
        tmp_path,
        row("1", ""),
        row("1", " \n"),
        row("9", "for another topic"),
        {"topic_id": "007", "finish_reason": "refused"},
        {"topic_id": "007", "finish_reason": "error", "text": ""},
    )
    found = read_expansions(path, TOPICS, skip_missing=True)
    assert list(found) == ["1"]
    assert [e.text for e in found["1"].expansions] == ["", " \n"]
    assert found.missing == ("007",)
    assert found.counts == {"topics": 2, "empty": 2, "failed": 2, "other_rows": 1}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("1", "x", query="cats"), r"line 2: 'query' is 'cats', but topic '1' is 'fleas'"),
        (row("1", "x", topic_text="cats"), r"line 2: 'topic_text' is 'cats'"),
        (row("007", "x", sample=0), r"line 2: topic '007' has sample 0 a second time"),
        ({"text": "x"}, r"line 2: no field 'topic_id'"),
        ({"topic_id": "1"}, r"line 2: neither text nor texts among its fields topic_id"),
        (row("1", "x", texts=["y"]), r"line 2: both text and texts"),
        (row("1", None), r"line 2: 'text' is null"),
        (row("1", 5), r"line 2: 'text' is 5"),
        ({"topic_id": "1", "texts": []}, r"line 2: 'texts' is \[\]"),
        ({"topic_id": "1", "texts": "x"}, r"line 2: 'texts' is \"x\""),
        ({"topic_id": "1", "texts": ["x", None]}, r"line 2: 'texts' is"),
        (row("1", "x", sample=-1), r"line 2: 'sample' is -1"),
        (row("1", "x", sample="0"), r"line 2: 'sample' is '0'"),
        (row("1", "x", sample=True), r"line 2: 'sample' is True"),
        (row("1", "x", query_repeats=0), r"line 2: 'query_repeats' is 0"),
        (row("1", "x", query_repeats=2.5), r"line 2: 'query_repeats' is 2\.5"),
        (row("007", "x", query_repeats=3), r"line 2: topic '007' has query_repeats 3, but 2 before"),
        (row("1", "x", seconds="2 s"), r"line 2: 'seconds' is a str"),
        (row("1", "x", tokens_out=True), r"line 2: 'tokens_out' is a bool"),
    ],
)
def test_bad_rows_name_file_and_line(tmp_path, bad, message):
    path = rows_file(tmp_path, row("007", "Woof.", query_repeats=2), bad)
    with pytest.raises(InputError, match=rf"e\.jsonl, {message}"):
        read_expansions(path, TOPICS)


ANY_TEXT = st.text(st.characters(codec=None)) | st.sampled_from(["", "cut \ud83d", "a\u2028b\x85c\r\n\t"])


@given(st.lists(ANY_TEXT, min_size=1))
def test_any_text_an_llm_wrote_comes_back_as_it_was(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("expansions") / "e.jsonl.gz"
    rows = [row("1", text, sample=sample, mark="é") for sample, text in enumerate(texts)]
    assert write_jsonl(path, rows) == len(texts)
    expansions = read_expansions(path, {"1": TOPICS["1"]})["1"].expansions
    assert [joined(e.text) for e in expansions] == [joined(text) for text in texts]
    assert all(e.extra == {"mark": "é"} for e in expansions)


def joined(text: str) -> str:
    """Two surrogates side by side are one character: JSON cannot tell them apart."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
