"""`expandr expand` against servers that lie: what they send is a text, a failure that passes, or the end."""

from __future__ import annotations

import json
import zlib
from collections import Counter

import pytest
from fake_llm_server import FakeServer, Reply, completion, without_fields

from expandr_ir.generators import completions
from expandr_ir.store import Store
from expandr_ir.store.verify import verify

TOPICS = 500
FAULTS = ("status 500", "status 429", "hangs", "truncated", "garbage", "null", "abort", "error", "resets", "closes")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(completions, "FIRST_WAIT_S", 0.02)
    for name in ("OPENAI_API_KEY", "ALL_PROXY", "HTTP_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def expand(expandr, tmp_path):
    """Runs `expandr expand` on topics against a server; returns what it printed."""

    def run(server, *options, topics=2, store="s.sqlite", code=0):
        lines = "".join(f"{number}\tquestion t{number}\n" for number in range(topics))
        (tmp_path / "topics.tsv").write_text(lines)
        url = server if isinstance(server, str) else server.url
        given = ["--topics", "topics.tsv", "--generator", "api:m", "--generator.api.base_url", url, "--store", store]
        return expandr("expand", *given, "--output", "e.jsonl", "--format", "json", *options, code=code)

    return run


def texts(tmp_path):
    rows = map(json.loads, (tmp_path / "e.jsonl").read_text().splitlines())
    return {(row["topic_id"], row["sample"]): row["text"] for row in rows}


def answer(content, finish_reason="stop", tokens=9, choice=(), **message):
    """An answer as servers send it; `choice`: further fields of the choice."""
    choice = {"message": {"content": content, **message}, "finish_reason": finish_reason, **dict(choice)}
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens}
    return Reply(body=json.dumps({"choices": [choice], "usage": usage}).encode())


CALL = {"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
BROKEN_OFF = "the text was broken off"
NO_ROOM = "reasoning used all of max_new_tokens (512)"


@pytest.mark.parametrize(
    ("reply", "error", "requests"),
    [
        pytest.param(answer("Fleas are insects that", "error", None), BROKEN_OFF, 3, id="A2"),
        pytest.param(answer("Fleas are insects that", "abort"), BROKEN_OFF, 3, id="A10"),
        pytest.param(answer("Fleas are", "insufficient_system_resource"), BROKEN_OFF, 3, id="A10, DeepSeek"),
        pytest.param(answer("Fleas are", None), BROKEN_OFF, 3, id="A10, no finish_reason"),
        pytest.param(answer(None, choice={"native_finish_reason": "network_error"}), "network_error", 3, id="A3"),
        pytest.param(answer(None), "the answer has no text", 3, id="A3, null alone"),
        pytest.param(answer("", tokens=None), "the answer has no text", 3, id="A3, empty and not counted"),
        pytest.param(answer(None, "tool_calls", tool_calls=[CALL]), "called the tool 'search'", 1, id="A14"),
        pytest.param(answer("", function_call=CALL["function"]), "called the tool 'search'", 1, id="A14, older"),
        pytest.param(answer(None, "length", reasoning="Let me think"), NO_ROOM, 1, id="A1"),
        pytest.param(answer(None, "length", reasoning_content="Let me"), NO_ROOM, 1, id="A1, reasoning_content"),
        pytest.param(answer("<think>Let me think", "length"), NO_ROOM, 1, id="A1, in the text"),
        pytest.param(answer("", "length"), "used all of max_new_tokens", 1, id="A1, hidden reasoning"),
    ],
)
def test_what_is_no_text_is_a_failure_that_the_next_run_asks_again(expand, tmp_path, reply, error, requests):
    options = "--generator.api.max_attempts", "3"
    with FakeServer(lambda *_: reply) as server:
        failed = expand(server, *options, topics=1, code=6)
        assert error in failed.err
        assert ("--generator.decoding.max_new_tokens" in failed.err) == ("max_new_tokens" in error)
        assert len(server.bodies) == requests
    assert not (tmp_path / "e.jsonl").exists()
    with FakeServer() as server:
        assert json.loads(expand(server, *options, topics=1).out)["generated"] == 1


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        ("[THINK]Should I mention dogs?[/THINK]Fleas jump.<|im_end|>", ["thinking", "chat_tokens"]),
        ("<think>Dogs?</think>\n\nFleas jump.", ["thinking"]),
        ("Dogs?</think>Fleas jump.</s>", ["thinking", "chat_tokens"]),
        ("<reasoning>Dogs?</reasoning>Fleas jump.", ["thinking"]),
        (
            "<|channel|>analysis<|message|>Dogs?<|end|><|start|>assistant<|channel|>final<|message|>Fleas jump.",
            ["thinking"],
        ),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "Fleas jump."}], []),
    ],
)
def test_reasoning_and_end_tokens_are_not_searched(expand, tmp_path, content, reasons):
    with FakeServer(lambda *_: answer(content)) as server:
        expand(server, topics=1)
    (row,) = map(json.loads, (tmp_path / "e.jsonl").read_text().splitlines())
    assert (row["text"], row["reasons"]) == ("Fleas jump.", reasons)


def test_texts_that_are_all_empty_are_a_failure(expand, tmp_path):
    with FakeServer(lambda *_: answer("")) as server:
        assert "the texts of all 2 topics are empty" in expand(server, code=6).err
        assert not (tmp_path / "e.jsonl").exists()
    with FakeServer(lambda _, body: answer("" if "t0" in str(body) else "Fleas jump.")) as server:
        counts = json.loads(expand(server, store="other.sqlite").out)
    assert (counts["generated"], counts["empty"]) == (2, 1)


@pytest.mark.parametrize("status", [402, 200])
def test_an_empty_account_ends_the_command_at_its_first_answer(expand, status):
    error = {"error": {"message": "Insufficient Balance", "code": 402 if status == 200 else "invalid_request_error"}}
    with FakeServer(lambda *_: Reply(status=status, body=json.dumps(error).encode())) as server:
        assert "Insufficient Balance" in expand(server, topics=40, code=4).err
    assert len(server.bodies) == 1


def test_a_refused_field_is_in_the_key_where_it_changes_the_text(expand, tmp_path):
    with FakeServer() as server:
        expand(server)
        taken = set(texts(tmp_path))
    with without_fields("max_tokens", "seed") as server:
        done = expand(server, "--generator.revision", "a")
        assert done.err.count("refuses max_tokens: it gets max_completion_tokens") == 1
        assert done.err.count("refuses seed: it is left out") == 1
    with FakeServer() as server:  # same keys
        assert json.loads(expand(server, "--generator.revision", "a").out)["generated"] == 0
    with without_fields("temperature", "top_p") as server:
        done = expand(server, "--generator.revision", "b")
        assert json.loads(done.out)["generated"] == 2
        assert len(server.bodies) == 4
        assert set(texts(tmp_path)) == taken
    as_the_user_says_it = ["--generator.api.extra_body", '{"temperature": null, "top_p": null}']
    with FakeServer() as server:
        again = expand(server, "--generator.revision", "b", *as_the_user_says_it)
        assert json.loads(again.out)["generated"] == 0
        assert json.loads(expand(server, "--generator.revision", "b").out)["generated"] == 2  # a server that takes it


def test_one_model_name_at_two_addresses_is_said_once(expand):
    with FakeServer() as a, FakeServer() as b:
        assert "stored texts" not in expand(a).err
        served = expand(b)
        assert served.err.count(f"stored texts of m come from {a.url} and not from {b.url}") == 1
        assert json.loads(served.out)["generated"] == 0
        assert not b.bodies
        asked = expand(b, "--generator.revision", "b")
        assert json.loads(asked.out)["generated"] == 2
        assert "stored texts" not in asked.err + expand(b, "--generator.revision", "b").err


def with_faults(share, log):
    """A server on which this share of the attempts fails, each topic's in a fixed order of faults."""
    attempts = Counter()

    def behave(_, body):
        topic = body["messages"][-1]["content"].split()[-1]
        attempts[topic] += 1
        draw = zlib.crc32(f"{topic} {attempts[topic]}".encode())
        if draw % 1000 >= 1000 * share:
            return Reply()
        fault = FAULTS[draw // 1000 % len(FAULTS)]
        log[fault] += 1
        broken = completion(body, Reply())
        first = broken["choices"][0]
        if fault == "null":
            first["message"]["content"] = None
        if fault in {"abort", "error"}:
            first |= {"finish_reason": fault, "message": {"content": first["message"]["content"][:5]}}
        return {
            "status 500": Reply(status=500, body=b"oops"),
            "status 429": Reply(status=429, headers={"Retry-After": "0.05"}),
            "hangs": Reply(delay_s=30),
            "truncated": Reply(cut=40),
            "garbage": Reply(body=b"\x00<html>\xff busy"),
            "resets": Reply(reset=True),
            "closes": Reply(close=True),
        }.get(fault, Reply(body=json.dumps(broken).encode()))

    return FakeServer(behave)


@pytest.mark.slow
def test_500_topics_with_30_percent_faults_get_the_texts_that_they_get_without(expand, tmp_path):
    options = "--samples", "2", "--generator.api.timeout_s", "1"
    with FakeServer() as server:
        expand(server, *options, topics=TOPICS, store="plain.sqlite")
        sound = texts(tmp_path)
    assert len(sound) == 2 * TOPICS
    log, runs = Counter(), []
    with with_faults(0.3, log) as server:
        while not runs or runs[-1]["failed"]:
            assert len(runs) < 5
            done = expand(server, *options, "--generator.api.max_attempts", "3", topics=TOPICS, code=(0, 7))
            runs.append(json.loads(done.out) | {"requests": len(server.bodies)})
            counts = runs[-1]
            assert counts["stored"] + counts["generated"] + counts["failed"] == 2 * TOPICS
            got = texts(tmp_path)
            assert got.items() <= sound.items()
            assert len(got) == 2 * TOPICS - counts["failed"]
    assert got == sound
    assert set(log) == set(FAULTS)
    assert sum(log.values()) / len(server.bodies) == pytest.approx(0.3, abs=0.05)
    with Store.open(tmp_path / "s.sqlite") as store:
        assert verify(store) == []
    print(log, [(run["requests"], run["failed"], run["seconds"]) for run in runs])
