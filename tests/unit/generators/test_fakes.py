"""Recorded texts are served by topic and sample, and never to another topic; echo gives the prompt back."""

import gzip
import hashlib
import json

import pytest
from requests_for_tests import request

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators import load_generator
from expandr_ir.records import Message

pytestmark = pytest.mark.flash


def replay(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_generator(GeneratorConfig("replay", str(path)))


def texts(generator, *requests):
    return {generation.key: generation.text for generation in generator.generate(requests)}


def test_rows_of_a_topic_are_its_samples_in_order(tmp_path):
    generator = replay(
        tmp_path / "e.jsonl",
        {"topic_id": "1", "text": "a"},
        {"topic_id": 2, "texts": ["c", "d"], "note": "kept out"},
        {"topic_id": "1", "text": "b"},
        {"topic_id": "3", "text": "second", "sample": 1},
        {"topic_id": "3", "text": "first", "sample": 0},
    )
    done = texts(generator, *(request(topic_id, "x", samples=2) for topic_id in "123"))
    assert done == {"1-0": "a", "1-1": "b", "2-0": "c", "2-1": "d", "3-0": "first", "3-1": "second"}


def test_what_is_not_recorded_is_an_error_of_its_own(tmp_path):
    failed = {"topic_id": "1", "sample": 1, "text": "", "finish_reason": "error"}
    generator = replay(tmp_path / "e.jsonl", {"topic_id": "1", "text": ""}, failed)
    empty, missing, other = generator.generate([request("1", "x", samples=2), request("9", "z")])
    assert (empty.finish_reason, empty.text, empty.error) == ("stop", "", None)
    assert (missing.finish_reason, missing.error) == ("error", "e.jsonl has no sample 1 of topic '1'")
    assert (other.finish_reason, other.key) == ("error", "9-0")


def test_the_file_s_content_is_the_revision(tmp_path):
    path = tmp_path / "e.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"topic_id": "1", "text": "a"}\n', mtime=0))
    generator = load_generator(GeneratorConfig("replay", str(path)))
    assert generator.id.model == "e.jsonl.gz"
    assert generator.id.revision == hashlib.sha256(path.read_bytes()).hexdigest()
    assert texts(generator, request("1", "x")) == {"1-0": "a"}
    assert generator.count_tokens([]) == 0


@pytest.mark.parametrize("name", ["query", "topic_text"])
def test_texts_for_other_topics_are_refused_before_anything_is_served(tmp_path, name):
    generator = replay(
        tmp_path / "e.jsonl",
        {"topic_id": "1", "text": "a", name: "flea  life\r"},
        {"topic_id": "2", "text": "b", name: "dogs"},
    )
    assert texts(generator, request("1", "flea life")) == {"1-0": "a"}  # white space is no difference
    with pytest.raises(InputError, match=rf"e\.jsonl, line 2: '{name}' is 'dogs', but topic '2' is 'cats'"):
        next(generator.generate([request("1", "flea life"), request("2", "cats")]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, "no field 'topic_id'"),
        ({"topic_id": "1"}, "neither text nor texts"),
        ({"topic_id": "0", "text": "a", "sample": 0}, "topic '0' has sample 0 a second time"),
    ],
)
def test_a_broken_row_is_named_with_its_line(tmp_path, row, message):
    with pytest.raises(InputError, match=f"line 2: {message}"):
        replay(tmp_path / "e.jsonl", {"topic_id": "0", "text": "x"}, row)
    with pytest.raises(MissingResourceError):
        load_generator(GeneratorConfig("replay", str(tmp_path / "none.jsonl")))


def test_echo_gives_the_last_user_message_back_with_the_sample():
    generator = load_generator("echo:any")
    done = list(generator.generate([request("7", "flea life", samples=2), request("8", "log files")]))
    assert [(one.key, one.text) for one in done] == [
        ("7-0", "Question: flea life (sample 0)"),
        ("7-1", "Question: flea life (sample 1)"),
        ("8-0", "Question: log files (sample 0)"),
    ]
    assert {one.finish_reason for one in done} == {"stop"}
    assert (done[0].tokens_in, done[0].tokens_out) == (3, 5)  # words
    assert generator.count_tokens([Message("system", "be brief"), Message("user", "why")]) == 3
    generator.close()
