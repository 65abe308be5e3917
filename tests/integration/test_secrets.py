"""A key never leaves the program, whatever a server does and however the key is spelled."""

import json
import logging
import sys
import threading
import time
import warnings
from base64 import b64encode
from urllib.parse import quote

import pytest
from fake_llm_server import FakeServer, Reply

from expandr_ir.cli import main
from expandr_ir.masking import MaskingFormatter, mask, mask_stderr, read_secret

KEY = "sk-secret/7f3b+9d2e"


def echoed(status):
    body = json.dumps({"error": {"message": f"x Incorrect API key: {KEY} (Bearer {KEY})", "code": "bad"}}).encode()
    return Reply(status=status, body=body)


FAULTS = {
    **{f"status {status}": echoed(status) for status in (400, 401, 402, 403, 404, 408, 422, 429, 500, 503)},
    "key at the cut": Reply(status=400, body=("x" * 290 + KEY).encode()),
    "no completion": Reply(body=f"<html>{KEY}</html>".encode()),
    "key at the cut of no completion": Reply(body=("x" * 190 + KEY).encode()),
    "no choices": Reply(body=json.dumps({"choices": [], "note": KEY}).encode()),
    "key in the text": Reply(texts=(f"your key is {KEY}, Bearer {KEY}",)),
    "key in the text, percent-encoded": Reply(texts=(f"key {quote(KEY, safe='')}",)),
    "key as finish reason": Reply(finish_reason=KEY),
    "key as content": Reply(body=json.dumps({"choices": [{"message": {"content": {KEY: KEY}}}]}).encode()),
    "key as usage": Reply(body=json.dumps({"choices": [], "usage": {"prompt_tokens": KEY}}).encode()),
    "key as fingerprint": Reply(
        body=json.dumps(
            {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "system_fingerprint": KEY}
        ).encode()
    ),
    "key in a header": Reply(status=429, headers={"Retry-After": KEY}, body=b"{}"),
    "echoed headers": Reply(status=400, body=json.dumps({"headers": {"authorization": f"Bearer {KEY}"}}).encode()),
    "truncated": Reply(cut=20),
    "closed": Reply(close=True),
    "refused": Reply(
        body=json.dumps({"choices": [{"message": {"content": None, "refusal": f"no {KEY}"}}], "model": KEY}).encode()
    ),
}
ANSWERED = {fault for fault in FAULTS if fault.startswith(("key in the text", "key as fing"))}


@pytest.fixture
def topics(workplace):
    (workplace / "topics.tsv").write_text("1\tnight shift\n2\tfish oil\n")
    return workplace


@pytest.fixture
def expand(topics, capsys):
    """Runs `expandr expand` on a server; returns its exit code and what it printed."""

    def run(url, *more):
        api = ["--generator.api.base_url", url, "--generator.api.max_attempts", "1", *more]
        code = main(["expand", "--topics", "topics.tsv", "--generator", "api:m", *api, "--output", "out.jsonl"])
        return code, "".join(capsys.readouterr())

    return run


def written(folder):
    """All bytes below a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("fault", "key"),
    [*((fault, KEY) for fault in FAULTS), *(("status 401", key) for key in (f"{KEY}\r", f"{KEY}\n", f" {KEY} "))],
)
def test_no_fault_shows_or_stores_the_key(topics, expand, expandr, monkeypatch, fault, key, caplog):
    caplog.set_level(logging.DEBUG, "openai")  # the package that sends it
    monkeypatch.setenv("MY_LLM", key)  # a name that says nothing of a secret
    with FakeServer(lambda *_: FAULTS[fault]) as server:
        code, shown = expand(server.url, "--generator.api.api_key_env", "MY_LLM")
    assert code in ({0} if fault in ANSWERED else {4, 6, 7})
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    exported = expandr("store", "export", "--output", "store.jsonl")
    for part in (KEY, KEY[:10]):
        assert part not in shown + exported.out + exported.err + caplog.text
        assert part.encode() not in written(topics)


@pytest.mark.parametrize("key", ["sk-a\nb-secret", "sk-\u00e9-secret", "sk-\x00-secret", "sk-\r\nX-Header: 1"])
def test_a_key_that_http_cannot_carry_is_refused_by_name(expand, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key.replace("\x00", "\x7f"))  # the environment holds no NUL
    code, shown = expand("http://127.0.0.1:9/v1")
    assert code == 2
    assert "OPENAI_API_KEY" in shown
    assert "secret" not in shown


def test_a_password_in_the_base_url_is_masked(topics, expand, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    code, shown = expand("http://anna:pass-7f3b@127.0.0.1:9/v1")
    assert code == 4
    assert "http://***@127.0.0.1:9/v1" in shown
    with FakeServer() as server:
        assert expand(server.url.replace("//", "//anna:pass-7f3b@"))[0] == 0
    assert "pass-7f3b" not in shown
    assert b"pass-7f3b" not in written(topics)


def test_logged_tracebacks_and_urls_are_masked(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("PLAIN", "\tquit-\u00fc\n")
    assert read_secret("PLAIN") == "quit-\u00fc"
    assert mask("Bearer abc.def hf_abcdefgh quit-\u00fc quit-\\xfc") == "Bearer *** *** *** ***"
    assert mask("no user in http://host/a@b") == "no user in http://host/a@b"
    record = logging.LogRecord("a", logging.WARNING, "f", 1, "key %s", ("hf_abcdefgh",), None)
    assert MaskingFormatter("%(message)s").format(record) == "key ***"


@pytest.mark.parametrize("unit", ["a", "a.", "://a@", "api_key:", "api_key: ", "eyJa", "sk-", "?key=", '"password": "'])
def test_masking_takes_time_linear_in_a_server_s_answer(unit):
    start = time.perf_counter()
    mask((unit * 200_000)[:200_000])
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("placeholder", ["0", "none", "true", "lm-studio"])
def test_a_placeholder_for_a_key_damages_no_manifest_and_no_text(topics, expand, monkeypatch, placeholder):
    monkeypatch.setenv("OPENAI_API_KEY", placeholder)
    with FakeServer(lambda *_: Reply(texts=(f"of {placeholder} and 0 others",))) as server:
        assert expand(server.url)[0] == 0
    rows = [json.loads(line) for line in (topics / "out.jsonl").read_text().splitlines()]
    assert {row["text"] for row in rows} == {f"of {placeholder} and 0 others"}
    manifest = json.loads((topics / "out.jsonl.manifest.json").read_text())
    assert manifest["config"]["generator"]["decoding"]["seed"] == 0
    assert manifest["config"]["dry_run"] is False


def test_secrets_of_urls_and_of_further_fields_are_masked(topics, expand, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    basic = b64encode(b"anna:pass-7f3b").decode()
    with FakeServer(lambda *_: Reply(status=400, body=f"you sent Basic {basic}, pass-7f3b".encode())) as server:
        url = f"{server.url}?api-key=q1w2e3r4".replace("//", "//anna:pass-7f3b@")
        more = '{"api_key": "z9y8x7w6", "password": "hidden-word"}'
        code, shown = expand(url, "--generator.api.extra_body", more)
        assert server.headers[0]["authorization"] == f"Basic {basic}"
    assert code == 6
    with FakeServer() as server:
        assert expand(server.url, "--generator.api.extra_body", more)[0] == 0
    for secret in (basic, "pass-7f3b", "q1w2e3r4", "z9y8x7w6", "hidden-word"):
        assert secret not in shown
        assert secret.encode() not in written(topics)


def raise_error(error):
    raise error


def test_what_python_writes_to_stderr_is_masked(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    for module, name, default in (
        (sys, "excepthook", sys.__excepthook__),
        (sys, "unraisablehook", sys.__unraisablehook__),
        (threading, "excepthook", threading.__excepthook__),
        (warnings, "formatwarning", warnings.formatwarning),
    ):
        monkeypatch.setattr(module, name, default)
    mask_stderr()
    error = ValueError("hf_abcdefgh")
    sys.excepthook(ValueError, error, None)
    thread = threading.Thread(target=raise_error, args=[error])
    thread.start()
    thread.join()
    sys.stderr.write(warnings.formatwarning("hf_abcdefgh", UserWarning, "f.py", 1))
    sys.unraisablehook(type("Args", (), {"exc_type": ValueError, "exc_value": error, "exc_traceback": None}))
    shown = capsys.readouterr().err
    assert "hf_abcdefgh" not in shown
    assert shown.count("***") == 4


def test_a_file_named_after_a_key_is_masked(topics, expandr, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "key-of-mine-1")
    (topics / "key-of-mine-1").mkdir()
    shown = expandr("store", "ls", "--store", topics / "key-of-mine-1", code=2)
    assert "key-of-mine-1" not in shown.err
