"""Errors of servers: what ends the command, which field is not taken, and the proxy on the way."""

import pytest

from expandr_ir.generators.faults import better_address, proxy_for, refused_field, server_name

pytestmark = pytest.mark.flash

SENT = {"temperature", "top_p", "max_tokens", "seed", "n", "stop", "repetition_penalty"}


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (
            {"message": "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'."},
            "max_tokens",
        ),
        ({"message": "no", "param": "top_p", "code": "unsupported_parameter"}, "top_p"),
        ({"message": "'temperature' does not support 0.7", "code": "unsupported_value"}, "temperature"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "seed"),
        ({"message": "property 'n' is unsupported"}, "n"),
        ({"message": "Only one completion choice is allowed"}, "n"),
        ({"message": "Model grok-4 does not support parameter stop."}, "stop"),
        ({"message": "`temperature` and `top_p` cannot both be specified for this model."}, "top_p"),
        ({"message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'}, "seed"),
        ({"detail": "Unexpected fields in the request: {'repetition_penalty'}"}, "repetition_penalty"),
        ("Unsupported parameter 'top_p'. Supported parameters: max_tokens, temperature", "top_p"),
        ({"message": "'max_tokens' is too large: 9000. The model supports at most 4096"}, None),
        ({"message": "This model's maximum context length is 4096 tokens; max_tokens is 512"}, None),
        ({"message": "temperature must be between 0 and 1"}, None),
        ({"message": "Unsupported parameter: 'tools'"}, None),
        ({"message": "Unsupported parameter", "param": ["seed"]}, None),
        ({"detail": [{"loc": 5, "msg": "Extra inputs"}, {"loc": [["seed"], {}], "msg": "Extra inputs"}]}, None),
        ({"message": "no words in common"}, None),
    ],
)
def test_a_field_that_a_server_does_not_take(error, field):
    assert refused_field(error, SENT) == field


@pytest.mark.parametrize(
    ("url", "better"),
    [
        ("http://a:8000/v1", ""),
        ("http://a/v1beta/openai", ""),
        ("http://a:8000", "http://a:8000/v1"),
        ("http://a/api", "http://a/api/v1"),
        ("http://a/v1/chat/completions", "http://a/v1"),
        ("http://a/v1/completions", "http://a/v1"),
    ],
)
def test_an_address_without_its_version_or_with_the_endpoint(url, better):
    assert better_address(url) == (better and f"--generator.api.base_url {better}")


def test_the_proxy_on_the_way_is_named(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert server_name("http://a/v1") == "http://a/v1"
    monkeypatch.setenv("ALL_PROXY", "http://anna:secret@proxy:3128")
    monkeypatch.setenv("NO_PROXY", "b")
    assert server_name("https://a/v1") == "https://a/v1 (through the proxy http://***@proxy:3128)"
    assert proxy_for("http://b/v1") is None
