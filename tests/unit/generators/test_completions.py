"""The protocol: bodies of requests, answers, waits between attempts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests_for_tests import request

from expandr_ir.config import ApiOptions, GeneratorConfig
from expandr_ir.errors import MissingResourceError
from expandr_ir.generators.completions import backoff_s, read_answer, request_body
from expandr_ir.generators.faults import Fault, read_retry_after
from expandr_ir.records import Decoding, Generation, SampleKey

pytestmark = pytest.mark.flash


def body(decoding=None, n=1, seed=7, **extra):
    config = GeneratorConfig("api", "m", api=ApiOptions(extra_body=extra))
    return request_body(config, request("1", "why", decoding=decoding or Decoding(), system="be brief"), n, seed)


PLAIN = {
    "model": "m",
    "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Question: why"}],
    "temperature": 1.0,
    "top_p": 0.9,
    "max_tokens": 512,
    "seed": 7,
}


def test_bodies_of_requests():
    assert body() == PLAIN  # only fields with a value
    decoding = Decoding(temperature=0.0, top_p=1.0, max_new_tokens=5, stop=("\n", "END"), repetition_penalty=1.1)
    sent = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 5, "stop": ["\n", "END"], "repetition_penalty": 1.1}
    assert body(decoding, n=4, seed=3) == PLAIN | sent | {"n": 4, "seed": 3}
    others = body(max_tokens=None, max_completion_tokens=9, temperature=0.5)  # go last; null takes a field away
    assert others | {"max_tokens": 512} == PLAIN | {"max_completion_tokens": 9, "temperature": 0.5}
    assert "max_tokens" not in others


def answer(*choices, stop=(), **fields):
    samples = [SampleKey(n, f"k{n}", n) for n in range(4)]
    text = json.dumps({"choices": list(choices), **fields})
    return read_answer(text, samples, Decoding(stop=tuple(stop)), "client 1", "http://a/v1")


def choice(content, reason="stop", **message):
    return {"message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}


def test_an_answer_is_shared_out_over_its_texts():
    usage = {"prompt_tokens": 3, "completion_tokens": 8}
    choices = choice("a"), choice("b", "length"), choice("")
    assert answer(*choices, model="m-2", system_fingerprint="fp", usage=usage) == [
        Generation("k0", "a", "stop", 3, 3, 0.0, "client 1 at http://a/v1, m-2, fp"),
        Generation("k1", "b", "length", 3, 3, 0.0, "client 1 at http://a/v1, m-2, fp"),
        Generation("k2", "", "stop", 3, 2, 0.0, "client 1 at http://a/v1, m-2, fp"),
    ]
    assert answer(choice("life END of it", "length"), choice("a", "eos"), stop=("END",)) == [
        Generation(
            "k0", "life ", "stop", None, None, 0.0, "client 1 at http://a/v1"
        ),  # some servers leave the stop text in
        Generation("k1", "a", "stop", None, None, 0.0, "client 1 at http://a/v1"),
    ]


def test_an_error_in_an_answer_of_status_200_is_an_error():
    samples = [SampleKey(0, "k", 0)]
    for error, kind in (
        ({"code": 402, "message": "no credits"}, MissingResourceError),
        ({"code": 502, "message": "bad gateway"}, Fault),
        ("Unexpected endpoint or method. (POST /chat/completions)", Fault),
    ):
        with pytest.raises(kind, match="http://a answered with an error"):
            read_answer(json.dumps({"error": error}), samples, Decoding(), "client 1", "http://a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>busy</html>",
        '{"choices": [{"message": {"content": "cut',
        "{}",
        "null",
        '{"choices": []}',
        '{"choices": null}',
        '{"choices": [{}]}',
        '{"choices": [{"message": null}]}',
        '{"choices": [{"message": {"content": 7}}]}',
        '{"choices": [{"message": {"content": "a"}}], "usage": 7}',
    ],
)
def test_a_broken_answer_may_pass(text):
    with pytest.raises(Fault) as caught:
        read_answer(text, [SampleKey(0, "k", 0)], Decoding(), "client 1", "http://a/v1")
    assert caught.value.retry_after_s == 0.0


@pytest.mark.parametrize("count", ["1e999", "NaN", "-1", str(2**63), '"many"', "[1]", "null"])
def test_a_count_of_tokens_that_can_be_none_is_unknown(count):
    text = json.dumps({"choices": [choice("a")], "usage": {"prompt_tokens": 0, "completion_tokens": 0}})
    (done,) = read_answer(text.replace("0", count), [SampleKey(0, "k", 0)], Decoding(), "client 1", "http://a/v1")
    assert (done.text, done.tokens_in, done.tokens_out) == ("a", None, None)


@given(st.integers(1, 10_000))
def test_a_wait_is_between_half_and_all_of_its_step(attempt):
    step = min(30.0, 0.5 * 2.0 ** min(attempt - 1, 50))  # doubles from half a second
    assert step / 2 <= backoff_s(attempt) <= step


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0),
        ("3", 3.0),
        ("0.25", 0.25),
        ("-5", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", 0.0),
        ("Wed, 21 Oct 99999999999999999999 07:28:30 GMT", 0.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert read_retry_after(header, now=1445412480.0) == seconds  # Wed, 21 Oct 2015 07:28:00 GMT
