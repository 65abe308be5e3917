"""The protocol: bodies of requests, answers, waits between attempts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests_for_tests import request

from expandr_ir.config import ApiOptions, GeneratorConfig
from expandr_ir.generators import completions
from expandr_ir.generators.completions import Fault, backoff_s, read_answer, read_retry_after, request_body
from expandr_ir.records import Decoding, SampleKey

pytestmark = pytest.mark.flash


def body(decoding=None, n=1, seed=7, **extra):
    config = GeneratorConfig("api", "m", api=ApiOptions(extra_body=extra))
    return request_body(config, request("1", "why", decoding=decoding or Decoding(), system="be brief"), n, seed)


def test_only_fields_with_a_value_are_sent():
    assert body() == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "Question: why"}],
        "temperature": 1.0,
        "top_p": 0.9,
        "max_tokens": 512,
        "seed": 7,
    }


def test_every_field_of_a_decoding_is_sent():
    decoding = Decoding(temperature=0.0, top_p=1.0, max_new_tokens=5, stop=("\n", "END"), repetition_penalty=1.1)
    sent = body(decoding, n=4, seed=3)
    assert (sent["temperature"], sent["stop"], sent["repetition_penalty"]) == (0.0, ["\n", "END"], 1.1)
    assert (sent["n"], sent["seed"]) == (4, 3)


def test_extra_fields_go_last_and_null_takes_one_away():
    sent = body(max_tokens=None, max_completion_tokens=9, temperature=0.5)
    assert "max_tokens" not in sent
    assert (sent["max_completion_tokens"], sent["temperature"]) == (9, 0.5)


def answer(*choices, stop=(), **fields):
    samples = [SampleKey(n, f"k{n}", n) for n in range(4)]
    return read_answer(json.dumps({"choices": list(choices), **fields}), samples, stop, "client 1", 6.0)


def choice(content, reason="stop", **message):
    return {"message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}


def test_an_answer_is_shared_out_over_its_texts():
    generations = answer(
        choice("a"),
        choice("b", "length"),
        choice(None),
        model="m-2",
        system_fingerprint="fp",
        usage={"prompt_tokens": 3, "completion_tokens": 8},
    )
    assert [(one.key, one.text, one.finish_reason) for one in generations] == [
        ("k0", "a", "stop"),
        ("k1", "b", "length"),
        ("k2", "", "stop"),
    ]
    assert [(one.tokens_in, one.tokens_out, one.seconds) for one in generations] == [(3, 3, 2), (3, 3, 2), (3, 2, 2)]
    assert {one.engine_version for one in generations} == {"client 1, m-2, fp"}


def test_a_server_need_not_count_and_may_leave_the_stop_text_in():
    (read,) = answer(choice("life END of it", "length"), stop=("END",))
    assert (read.text, read.finish_reason, read.tokens_in, read.tokens_out) == ("life ", "stop", None, None)
    assert answer(choice("a", "eos"))[0].finish_reason == "stop"


def test_a_filter_and_a_refusal_are_refused():
    filtered, refused = answer(choice("half a te", "content_filter"), choice(None, refusal="I won't"))
    assert (filtered.text, filtered.finish_reason, filtered.error) == ("", "refused", "content filter")
    assert (refused.text, refused.finish_reason, refused.error) == ("", "refused", "I won't")


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
        '{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "many"}}',
    ],
)
def test_a_broken_answer_may_pass(text):
    with pytest.raises(Fault) as caught:
        read_answer(text, [SampleKey(0, "k", 0)], (), "client 1", 1.0)
    assert caught.value.retry_after_s == 0.0


def test_waits_double_from_half_a_second(monkeypatch):
    monkeypatch.setattr(completions.random, "random", lambda: 0.5)
    assert [backoff_s(attempt) for attempt in (1, 2, 3)] == [0.375, 0.75, 1.5]  # .5 x 2^(k-1) x (1 + .5)/2


@given(st.integers(1, 10_000))
def test_a_wait_is_between_half_and_all_of_its_step(attempt):
    step = min(30.0, 0.5 * 2.0 ** min(attempt - 1, 50))
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
        ("", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert read_retry_after(header, now=1445412480.0) == seconds  # Wed, 21 Oct 2015 07:28:00 GMT
