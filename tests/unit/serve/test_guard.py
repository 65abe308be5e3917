"""Who may ask, from where, and how much; what every answer carries."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from expandr_ir.cli import main
from expandr_ir.errors import InputError
from expandr_ir.serve.faults import without_places
from expandr_ir.serve.guard import HEADERS, MOST_BYTES, Guard
from expandr_ir.serve.options import ServeOptions, public_name
from expandr_ir.serve.server import listen

TOKEN = "0123456789abcdef0123"


async def echo(request):
    return PlainTextResponse(str(len(await request.body())))


def guarded(token="", base_url="http://localhost:8081"):
    routes = [Route(path, echo, methods=["GET", "POST"]) for path in ("/", "/v1/x")]
    return TestClient(Guard(Starlette(routes=routes), token), base_url=base_url)


def test_every_answer_forbids_frames_and_foreign_scripts():
    for answer in (guarded().get("/v1/x"), guarded(TOKEN).get("/v1/x"), guarded().get("/none")):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"x-api-key": TOKEN}, 200),
        ({"x-api-key": "é".encode()}, 401),
    ],
)
def test_a_token_is_needed_where_there_is_one(headers, status):
    client = guarded(TOKEN, "http://search.example")
    assert client.get("/v1/x", headers=headers).status_code == status
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "192.168.0.1"])
def test_without_a_token_other_names_of_this_machine_are_refused(host):
    assert guarded().get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8081", "[::1]:8081"])
def test_its_own_names_are_not(host):
    assert guarded().get("/v1/x", headers={"host": host}).status_code == 200


def test_pages_of_other_sites_cannot_ask():
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        assert guarded().get("/v1/x", headers={"sec-fetch-site": site}).status_code == status


def test_a_body_is_bounded_whether_its_length_is_told_or_not():
    assert guarded().post("/v1/x", content=b"x" * MOST_BYTES).text == str(MOST_BYTES)
    assert guarded().post("/v1/x", content=b"x" * (MOST_BYTES + 1)).status_code == 413
    chunks = (b"x" * 100_000 for _ in range(20))
    assert guarded().post("/v1/x", content=chunks).status_code == 413


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/index is no Lucene index", "... is no Lucene index"),
        ("gpt at https://llm.internal:8000/v1 refused", "gpt at ... refused"),
        (r"C:\Users\me\index is damaged", "... is damaged"),
        ("input/output error", "input/output error"),
        ("one of hyde, lamer", "one of hyde, lamer"),
    ],
)
def test_places_are_no_part_of_an_answer(text, shown):
    assert without_places(text) == shown


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("openai", "openai"),
        ("mine/llm.yaml", "llm"),
        ("api:Qwen/Qwen2.5-7B", "api:Qwen2.5-7B"),
        ("replay:/data/texts.jsonl", "replay:texts.jsonl"),
        ("api:gpt-4.1", "api:gpt-4.1"),
    ],
)
def test_public_names_have_no_folders(spec, name):
    assert public_name(spec) == name


def test_others_than_this_machine_need_a_token_that_cannot_be_guessed(monkeypatch):
    monkeypatch.delenv("EXPANDR_TOKEN", raising=False)
    assert ServeOptions().token() == ServeOptions(host="::1").token() == ServeOptions(host="localhost").token() == ""
    with pytest.raises(InputError, match=r"(?s)0\.0\.0\.0 can be reached from elsewhere.*openssl rand"):
        ServeOptions(host="0.0.0.0").token()
    monkeypatch.setenv("EXPANDR_TOKEN", "short")
    with pytest.raises(InputError, match="has 5 characters"):
        ServeOptions().token()
    monkeypatch.setenv("EXPANDR_TOKEN", TOKEN)
    assert ServeOptions(host="0.0.0.0").token() == TOKEN


def test_a_port_in_use_and_a_foreign_address_are_errors_of_the_command(capsys):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 is in use" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"192\.0\.2\.1, port 0"):
        listen("192.0.2.1", 0)


def test_numbers_out_of_range_are_refused():
    for options in ({"port": 70_000}, {"searches": 0}, {"expansions": 0}, {"timeout_s": 0}):
        with pytest.raises(InputError):
            ServeOptions(**options)
