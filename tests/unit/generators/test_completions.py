"""The protocol: what is sent, what an answer and a fault mean."""

import json

import pytest

from expandr_ir.config import ApiOptions, GeneratorConfig
from expandr_ir.errors import MissingResourceError
from expandr_ir.generators.completions import Choice, RejectedError, read_answer, read_fault, request_body
from expandr_ir.generators.retry import TransientError
from expandr_ir.records import Decoding, Message

pytestmark = pytest.mark.flash

ASKED = (Message("system", "be brief"), Message("user", "why"))


def body(decoding=None, n=1, seed=7, **extra):
    config = GeneratorConfig("api", "m", api=ApiOptions(extra_body=extra))
    return request_body(config, ASKED, decoding or Decoding(), n, seed)


def test_only_what_says_something_is_sent():
    assert body() == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why"}],
        "temperature": 1.0,
        "top_p": 0.9,
        "max_tokens": 512,
        "seed": 7,
    }


def test_everything_a_decoding_says_is_sent():
    decoding = Decoding(temperature=0.0, top_p=1.0, max_new_tokens=5, stop=("\n", "END"), repetition_penalty=1.1)
    sent = body(decoding, n=4, seed=3)
    assert sent["temperature"] == 0.0
    assert sent["stop"] == ["\n", "END"]
    assert sent["repetition_penalty"] == 1.1
    assert sent["n"] == 4
    assert sent["seed"] == 3


def test_extra_fields_go_last_and_null_takes_one_away():
    sent = body(max_tokens=None, max_completion_tokens=9, temperature=0.5)
    assert "max_tokens" not in sent
    assert (sent["max_completion_tokens"], sent["temperature"]) == (9, 0.5)


def answer(*choices, **fields):
    return read_answer(json.dumps({"choices": list(choices), **fields}))


def choice(content, reason="stop", **message):
    return {"message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}


def test_an_answer_is_read():
    read = answer(
        choice("a"),
        choice("b", "length"),
        choice(None),
        model="m-2",
        system_fingerprint="fp",
        usage={"prompt_tokens": 3, "completion_tokens": 9},
    )
    assert read.choices == (Choice("a", "stop"), Choice("b", "length"), Choice("", "stop"))
    assert (read.tokens_in, read.tokens_out, read.version) == (3, 9, "m-2, fp")


def test_a_server_need_not_count():
    read = answer(choice("a", "eos"))
    assert (read.choices, read.tokens_in, read.tokens_out, read.version) == ((Choice("a", "stop"),), None, None, "")


def test_a_filter_and_a_refusal_are_refused():
    read = answer(choice("half a te", "content_filter"), choice(None, refusal="I won't"))
    assert read.choices == (Choice("", "refused", "content filter"), Choice("", "refused", "I won't"))


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
    with pytest.raises(TransientError):
        read_answer(text)


def fault(status, code=None, retry_after_s=None):
    said = json.dumps({"error": {"message": "no", "code": code}})
    return read_fault(status, said, retry_after_s, "http://h/v1")


def test_what_may_pass_is_tried_again():
    for status in (408, 409, 429, 500, 502, 503, 529):
        found = fault(status, retry_after_s=2.0)
        assert isinstance(found, TransientError)
        assert found.retry_after_s == 2.0
    assert str(fault(503)) == "http://h/v1 answered 503: no"


def test_what_ends_everything_says_what_to_do():
    assert "api_key_env" in fault(401).remedy
    assert "api_key_env" in fault(403).remedy
    assert "curl http://h/v1/models" in fault(404).remedy
    assert "billing" in fault(429, "insufficient_quota").remedy
    assert all(isinstance(fault(status), MissingResourceError) for status in (401, 403, 404))


def test_a_bad_request_is_its_own_error():
    assert isinstance(fault(400), RejectedError)
    assert (fault(400).finish_reason, fault(422).finish_reason) == ("error", "error")
    assert fault(400, "content_filter").finish_reason == "refused"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain words", "plain words"),
        ('{"detail": "unexpected field"}', "unexpected field"),
        ('{"error": "short"}', "short"),
        ('{"object": "error", "message": "vllm"}', "vllm"),
        ("[1]", "[1]"),
        ("x" * 999, "x" * 300),
    ],
)
def test_every_shape_of_error_body_is_read(text, said):
    assert str(read_fault(400, text, None, "u")) == f"u answered 400: {said}"
