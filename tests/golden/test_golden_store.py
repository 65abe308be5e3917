"""The store's keys, and a store of expandr_ir 0.1.0: what an LLM wrote before the redesign is not paid for again."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fake_llm_server import FakeServer, Reply
from recordings import cases, rows, sha, write_rows

TOPICS = "1\thow long does a flea live\n007\tWas heißt „naïve café“ – genau?\n"
WRITTEN = ("plain", "boilerplate", "thinking", "empty", "truncated", "imported")
API = ["--generator", "api:fake-llm", "--generator.api.api_key_env", "null", "--generator.decoding.temperature", "0.7"]
NOWHERE = ["--generator.api.base_url", "http://127.0.0.1:9/v1"]

REQUESTS = cases("requests")


@pytest.fixture
def topics(tmp_path):
    path = tmp_path / "topics.tsv"
    path.write_text(TOPICS, encoding="utf-8")
    return path


def exported(expandr, name="exported.jsonl"):
    expandr("store", "export", "--output", name)
    return rows(Path(name))


def expanded(path):
    """The rows of an expansions file, less the time they took."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows(Path(path))]


@pytest.mark.parametrize("name", REQUESTS)
def test_keys(expandr, golden, topics, tmp_path, name):
    texts = ["They live for *weeks*.", "Passage: a hundred days"]
    write_rows(tmp_path / "recorded.jsonl", [{"topic_id": topic, "texts": texts} for topic in ("1", "007")])
    documents = [{"_id": f"d{n}", "title": "fleas", "text": f"a flea may live {n} weeks, genau"} for n in range(4)]
    write_rows(tmp_path / "own" / "corpus.jsonl", documents)
    write_rows(tmp_path / "own" / "queries.jsonl", [{"_id": "1", "text": "how long does a flea live"}])
    expandr("expand", "--topics", topics, *REQUESTS[name], "--output", "e.jsonl")
    stored = exported(expandr)
    got = {row["key"]: [row["prompt"], row["sample"], sha(row["text"])] for row in stored}
    golden.check("keys", name, {"stored": got, "file": [sha(row["text"]) for row in rows(tmp_path / "e.jsonl")]})


def test_requests_to_a_server_and_their_keys(expandr, golden, topics, tmp_path):
    options = ["--prompt", "expandr-llm", "--samples", "3", "--generator.api.samples_per_request", "2"]
    with FakeServer() as server:
        where = ["--generator.api.base_url", server.url, "--generator.api.max_in_flight", "1"]
        expandr("expand", "--topics", topics, *API, *where, *options, "--output", "e.jsonl")
    bodies = sorted(json.dumps(body, sort_keys=True) for body in server.bodies)
    stored = {row["key"]: row["text"] for row in exported(expandr)}
    golden.check("keys", "api", {"requests": [sha(body) for body in bodies], "stored": stored})


@pytest.fixture
def old(tmp_path):
    """A store that expandr_ir 0.1.0 wrote: two topics by echo, seven by a server, one imported."""
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        connection.executescript((Path(__file__).parent / "store.sql").read_text(encoding="utf-8"))
    return tmp_path / "store.sqlite"


def asked(tmp_path, *names):
    path = tmp_path / "asked.tsv"
    path.write_text("".join(f"{name}\tquestion {name}\n" for name in names))
    return path


def test_an_old_store_serves_its_texts(expandr, golden, old, topics, tmp_path):
    echo = ["--topics", topics, "--prompt", "passage", "--generator", "echo", "--samples", "2"]
    told = json.loads(expandr("expand", *echo, "--output", "echo.jsonl", "--format", "json").out)
    assert (told["stored"], told["generated"]) == (4, 0)
    given = ["--topics", asked(tmp_path, *WRITTEN), "--prompt", "passage", *API, *NOWHERE]
    told = json.loads(expandr("expand", *given, "--output", "api.jsonl", "--format", "json").out)
    assert (told["stored"], told["generated"]) == (6, 0)
    golden.check("old_store", "served", expanded("echo.jsonl") + expanded("api.jsonl"))


def test_an_old_store_does_not_serve_failures(expandr, golden, old, tmp_path):
    given = ["--topics", asked(tmp_path, "plain", "refused", "failed"), "--prompt", "passage", *API, "--format", "json"]
    forecast = json.loads(expandr("expand", *given, *NOWHERE, "--dry-run").out)
    assert (forecast["stored"], forecast["to generate"]) == (1, 1)
    with FakeServer(lambda number, body: Reply(texts=(f"text {number}",))) as server:
        where = ["--generator.api.base_url", server.url]
        told = json.loads(expandr("expand", *given, *where, "--output", "a.jsonl", code=7).out)
        assert [body["messages"][-1]["content"].split()[-1] for body in server.bodies] == ["failed"]
        assert (told["stored"], told["generated"], told["refused"]) == (1, 1, 1)
        expandr("expand", *given, *where, "--retry-refused", "--output", "b.jsonl")
    assert [row["text"] for row in rows(tmp_path / "b.jsonl")][1:] == ["text 2", "text 1"]
    golden.check("old_store", "mended", [{**row, "text": sha(row["text"])} for row in expanded("b.jsonl")])


def test_an_old_store_is_listed_exported_and_verified(expandr, golden, old, tmp_path, monkeypatch):
    golden.check("old_store", "listed", json.loads(expandr("store", "ls", "--format", "json").out))
    assert "12 generations, 0 faults" in expandr("store", "verify").out
    stored = exported(expandr)
    golden.check("old_store", "exported", [[row["key"], sha(json.dumps(row, sort_keys=True))] for row in stored])
    shown = json.loads(expandr("store", "show", stored[5]["key"][:12]).out)
    assert shown == stored[5]
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "new.sqlite"))
    expandr("store", "import", "exported.jsonl")
    assert exported(expandr, "again.jsonl") == stored
