"""`expandr expand` and what is done with its file: planned, paid once, broken off, shared, searched."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter

import pytest
import yaml
from fake_llm_server import FakeServer, Reply

from expandr_ir.demo import expansions_path, topics
from expandr_ir.io.files import sha256_file
from expandr_ir.prompts import load_prompt

TOPICS = 40


@pytest.fixture
def topics_file(tmp_path):
    path = tmp_path / "topics.tsv"
    path.write_text("".join(f"{number:03}\tsubject {number}\n" for number in range(TOPICS)))
    return path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def manifest(path):
    return json.loads(path.with_name(f"{path.name}.manifest.json").read_text())


def told(done):
    return json.loads(done.out)


def asked(server):
    """How often the server was asked about each subject."""
    return Counter(re.search(r"subject (\d+)", body["messages"][-1]["content"])[1] for body in server.bodies)


def wait_for(server, requests, process):
    while len(server.bodies) < requests:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def test_what_is_stored_is_not_generated_again(expandr, tmp_path, topics_file):
    given = ["expand", "--topics", topics_file, "--generator", "echo", "--format", "json"]
    forecast = told(expandr(*given, "--samples", "2", "--dry-run"))
    assert (forecast["topics"], forecast["stored"], forecast["to generate"]) == (TOPICS, 0, 2 * TOPICS)
    assert forecast["prompt tokens, about"] > TOPICS
    assert forecast["new tokens, at most"] == 2 * TOPICS * 512
    assert not (tmp_path / "e.jsonl").exists()
    counts = told(expandr(*given, "--samples", "2", "--output", "e.jsonl", "--limit", "3"))
    assert (counts["stored"], counts["generated"]) == (0, 6)
    assert [row["topic_id"] for row in rows(tmp_path / "e.jsonl")] == ["000", "000", "001", "001", "002", "002"]
    counts = told(expandr(*given, "--samples", "2", "--output", "e.jsonl"))
    assert (counts["stored"], counts["generated"]) == (6, 2 * TOPICS - 6)
    first = (tmp_path / "e.jsonl").read_bytes()
    counts = told(expandr(*given, "--samples", "2", "--output", "e.jsonl"))
    assert (counts["stored"], counts["generated"]) == (2 * TOPICS, 0)
    assert (tmp_path / "e.jsonl").read_bytes() == first
    counts = told(expandr(*given, "--samples", "4", "--output", "e4.jsonl.gz"))
    assert (counts["stored"], counts["generated"]) == (2 * TOPICS, 2 * TOPICS)
    forecast = told(expandr(*given, "--samples", "4", "--dry-run"))
    assert (forecast["stored"], forecast["to generate"], forecast["new tokens, at most"]) == (4 * TOPICS, 0, 0)


def test_other_decoding_is_another_text(expandr, topics_file):
    given = ["expand", "--topics", topics_file, "--generator", "echo", "--output", "e.jsonl", "--format", "json"]
    expandr(*given)
    for option in (["--generator.decoding.seed", "1"], ["--generator.decoding.stop", "x"], ["--prompt", "query"]):
        assert told(expandr(*given, *option))["stored"] == 0


def test_the_manifest_says_how_it_came_about(expandr, tmp_path, topics_file):
    expandr(
        *("expand", "--topics", topics_file, "--generator", "echo", "--samples", "2", "--output", "e.jsonl"),
        *("--generator.decoding.seed", "7"),
    )
    got, prompt = manifest(tmp_path / "e.jsonl"), load_prompt("passage")
    assert got["output"] == {"path": "e.jsonl", "sha256": sha256_file(tmp_path / "e.jsonl")}
    assert got["inputs"]["topics"] == {"path": str(topics_file), "sha256": sha256_file(topics_file)}
    assert got["command"][:2] == ["expandr", "expand"]
    assert got["seeds"] == {"decoding": 7}
    assert got["config"]["generator"]["decoding"]["seed"] == 7
    assert (got["details"]["prompt"], got["details"]["prompt_sha256"]) == ("passage@1", prompt.sha256)
    assert got["details"]["generator"]["engine"] == "echo"
    assert (got["counts"]["topics"], got["counts"]["generated"], got["counts"]["failed"]) == (TOPICS, 2 * TOPICS, 0)
    assert got["tokens"]["in"] == got["counts"]["tokens_in"] > 0
    assert {"expandr_ir", "python", "torch"} <= got["versions"].keys()


def test_a_printed_config_gives_the_same_result(expandr, tmp_path, topics_file):
    given = [
        *("--topics", topics_file, "--generator", "echo", "--samples", "2", "--generator.decoding.stop", "sample"),
        *("--generator.decoding.stop", "Query", "--output", "e.jsonl"),
    ]
    printed = expandr("expand", *given, "--print_config").out
    assert yaml.safe_load(printed)["generator"]["decoding"]["stop"] == ["sample", "Query"]
    (tmp_path / "c.yaml").write_text(printed)
    expandr("expand", *given)
    first = (tmp_path / "e.jsonl").read_bytes()
    done = expandr("expand", "--config", "c.yaml", "--format", "json")
    assert told(done)["generated"] == 0
    assert (tmp_path / "e.jsonl").read_bytes() == first


def test_some_that_fail_are_named_counted_and_tried_again(expandr, tmp_path, topics_file):
    broken = {"subject 3", "subject 5"}

    def behave(_, body):
        words = body["messages"][-1]["content"]
        return Reply(status=400) if words.endswith(tuple(broken)) else Reply()

    with FakeServer(behave) as server:
        given = [
            *("expand", "--topics", topics_file, "--generator", "api:m", "--generator.api.base_url", server.url),
            *("--output", "e.jsonl", "--format", "json"),
        ]
        done = expandr(*given, code=7)
        assert (told(done)["generated"], told(done)["failed"], told(done)["topics_missing"]) == (TOPICS - 2, 2, 2)
        assert "topic 003, sample 0 failed: " in done.err
        assert "2 samples have no text; the same command tries those that failed again" in done.err
        assert {row["topic_id"] for row in rows(tmp_path / "e.jsonl")} == {f"{n:03}" for n in range(TOPICS)} - {
            "003",
            "005",
        }
        assert manifest(tmp_path / "e.jsonl")["counts"]["topics_missing"] == 2
        broken.clear()
        asked_before = len(server.bodies)
        assert told(expandr(*given))["generated"] == 2
        assert len(server.bodies) == asked_before + 2
    assert len(rows(tmp_path / "e.jsonl")) == TOPICS


def test_nothing_at_all_is_a_failure_and_leaves_no_file(expandr, tmp_path, topics_file):
    given = ("expand", "--topics", topics_file, "--generator", f"replay:{expansions_path()}", "--output", "e.jsonl")
    done = expandr(*given, code=6)
    assert f"none of the {TOPICS} topics got an expansion; topic 000: " in done.err
    assert not (tmp_path / "e.jsonl").exists()


def test_a_server_that_is_not_there(expandr, tmp_path, topics_file):
    given = [
        "--generator",
        "api:m",
        "--generator.api.base_url",
        "http://127.0.0.1:9/v1",
        "--generator.api.max_attempts",
    ]
    done = expandr("expand", "--topics", topics_file, *given, "1", "--output", "e.jsonl", code=4)
    assert "no server at http://127.0.0.1:9/v1" in done.err
    assert not (tmp_path / "e.jsonl").exists()


def slow(server, topics_file):
    return [
        *("expand", "--topics", topics_file, "--generator", "api:m", "--generator.api.base_url", server.url),
        *("--generator.api.max_in_flight", "2", "--batch-samples", "4", "--output", "e.jsonl", "--format", "json"),
    ]


def test_ctrl_c_keeps_what_was_done(expandr, start, tmp_path, topics_file):
    with FakeServer(lambda *_: Reply(delay_s=0.05)) as server:
        process = start(*slow(server, topics_file))
        wait_for(server, 10, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "what was generated is stored; the same command goes on from there" in err
        assert "interrupted" in err
        assert "Traceback" not in err
        assert not (tmp_path / "e.jsonl").exists()
        counts = told(expandr(*slow(server, topics_file)))
        assert counts["stored"] >= 6
        assert counts["stored"] + counts["generated"] == TOPICS
        assert sum(asked(server).values()) <= TOPICS + 2  # the two in flight


def test_kill_9_loses_the_batch_in_flight_at_most(expandr, start, tmp_path, topics_file):
    with FakeServer(lambda *_: Reply(delay_s=0.05)) as server:
        process = start(*slow(server, topics_file))
        wait_for(server, 14, process)
        process.kill()
        process.wait()
        counts = told(expandr(*slow(server, topics_file)))
        assert counts["stored"] >= 8
        assert counts["stored"] + counts["generated"] == TOPICS
        twice = [int(subject) for subject, times in asked(server).items() if times > 1]
        assert len({subject // 4 for subject in twice}) <= 1
    assert [row["topic_id"] for row in rows(tmp_path / "e.jsonl")] == [f"{number:03}" for number in range(TOPICS)]


@pytest.mark.java
def test_the_prompt_with_passages_shows_the_ten_that_bm25_finds(expandr, tmp_path):
    given = ["--collection", "demo", "--generator", "echo", "--prompt", "passage-with-context", "--limit", "5"]
    expandr("expand", *given, "--output", "e.jsonl")
    expandr("search", "--collection", "demo", "--output", "bm25.run", "--hits", "10")
    found = {}
    for line in (tmp_path / "bm25.run").read_text().splitlines():
        topic_id, _, doc_id, *_ = line.split()
        found.setdefault(topic_id, []).append(doc_id)
    got = rows(tmp_path / "e.jsonl")
    assert len(got) == 5
    for row in got:
        raw = row.get("raw", row["text"])
        shown = re.findall(r"^\[(\d+)\] (\S+)", raw, re.MULTILINE)
        assert shown == [(str(rank), doc_id) for rank, doc_id in enumerate(found[row["topic_id"]], start=1)]
        assert len(shown) == 10
    expandr("expand", *given, "--passages", "3", "--output", "e3.jsonl")
    assert all("[4] " not in row.get("raw", row["text"]) for row in rows(tmp_path / "e3.jsonl"))


@pytest.mark.java
def test_empty_is_counted_and_missing_is_an_error_or_left_out(expandr, tmp_path):
    ids = list(topics())
    some = [{"topic_id": topic_id, "text": "" if topic_id == ids[0] else "collections"} for topic_id in ids[:-2]]
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    search = ["search", "--collection", "demo", "--expansions", "e.jsonl", "--output", "x.run"]
    assert f"2 of {len(ids)} topics have no expansion: {ids[-2]}, {ids[-1]}" in expandr(*search, code=2).err
    done = expandr(*search, "--skip-missing")
    assert "2 topics without an expansion are left out" in done.err
    assert "1 expansions are empty" in done.err
    assert "1 topics have only empty expansions and were searched alone" in done.err
    counts = manifest(tmp_path / "x.run")["counts"]
    assert (counts["topics"], counts["missing_topics"], counts["empty_expansions"]) == (len(ids) - 2, 2, 1)
    expandr("search", "--collection", "demo", "--output", "plain.run")
    first = [line.split()[:5] for line in (tmp_path / "x.run").read_text().splitlines() if line.startswith(ids[0])]
    plain = [line.split()[:5] for line in (tmp_path / "plain.run").read_text().splitlines() if line.startswith(ids[0])]
    assert first == plain
