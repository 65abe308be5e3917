"""`expandr expand` and what is done with its file: planned, paid once, broken off, searched."""

from __future__ import annotations

import json
import re
import signal
import time

import pytest
import yaml
from fake_llm_server import FakeServer, Reply

from expandr_ir.demo import expansions_path, topics
from expandr_ir.io.files import sha256_file
from expandr_ir.io.runs import read_run
from expandr_ir.prompts import load_prompt

TOPICS = 40


@pytest.fixture
def expand(expandr, tmp_path):
    """Runs `expandr expand` on 40 topics into e.jsonl, and returns its counts."""
    (tmp_path / "topics.tsv").write_text("".join(f"{number:03}\tsubject {number}\n" for number in range(TOPICS)))

    def run(*options, generator="echo", code=0):
        given = ["--topics", "topics.tsv", "--generator", generator, "--output", "e.jsonl", "--format", "json"]
        done = expandr("expand", *given, *options, code=code)
        return json.loads(done.out) if done.out else done.err

    return run


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def manifest(path):
    return json.loads(path.with_name(f"{path.name}.manifest.json").read_text())


def test_what_is_stored_is_not_generated_again(expand, tmp_path):
    forecast = expand("--samples", "2", "--dry-run")
    assert (forecast["topics"], forecast["stored"], forecast["to generate"]) == (TOPICS, 0, 2 * TOPICS)
    assert forecast["prompt tokens, about"] > TOPICS
    assert forecast["new tokens, at most"] == 2 * TOPICS * 512
    assert not (tmp_path / "e.jsonl").exists()
    for options, stored, generated in [
        (["--samples", "2", "--limit", "3"], 0, 6),
        (["--samples", "2"], 6, 2 * TOPICS - 6),
        (["--samples", "2"], 2 * TOPICS, 0),
        (["--samples", "4", "--output", "e4.jsonl.gz"], 2 * TOPICS, 2 * TOPICS),
        (["--generator.decoding.seed", "1"], 0, TOPICS),
        (["--generator.decoding.stop", "x"], 0, TOPICS),
        (["--prompt", "query"], 0, TOPICS),
    ]:
        counts = expand(*options)
        assert (counts["stored"], counts["generated"]) == (stored, generated), options
    forecast = expand("--samples", "4", "--dry-run")
    assert (forecast["stored"], forecast["to generate"], forecast["new tokens, at most"]) == (4 * TOPICS, 0, 0)


def test_the_manifest_says_how_it_came_about(expand, tmp_path):
    expand("--samples", "2", "--generator.decoding.seed", "7")
    got, prompt = manifest(tmp_path / "e.jsonl"), load_prompt("passage")
    assert [row["topic_id"] for row in rows(tmp_path / "e.jsonl")][:4] == ["000", "000", "001", "001"]
    assert got["output"] == {"path": "e.jsonl", "sha256": sha256_file(tmp_path / "e.jsonl")}
    assert got["inputs"]["topics"]["sha256"] == sha256_file(tmp_path / "topics.tsv")
    assert got["command"][:2] == ["expandr", "expand"]
    assert got["seeds"] == {"decoding": 7}
    assert got["config"]["generator"]["decoding"]["seed"] == 7
    assert (got["details"]["prompt"], got["details"]["prompt_sha256"]) == ("passage@1", prompt.sha256)
    assert got["details"]["generator"]["engine"] == "echo"
    assert (got["counts"]["topics"], got["counts"]["generated"], got["counts"]["failed"]) == (TOPICS, 2 * TOPICS, 0)
    assert got["tokens"]["in"] == got["counts"]["tokens_in"] > 0
    assert {"expandr_ir", "python", "torch"} <= got["versions"].keys()


def test_a_printed_config_gives_the_same_result(expand, expandr, tmp_path):
    given = ["--samples", "2", "--generator.decoding.stop", "sample", "--generator.decoding.stop", "Query"]
    expand(*given)
    first = (tmp_path / "e.jsonl").read_bytes()
    to_print = ["--topics", "topics.tsv", "--generator", "echo", "--output", "e.jsonl", *given, "--print_config"]
    printed = expandr("expand", *to_print).out
    assert yaml.safe_load(printed)["generator"]["decoding"]["stop"] == ["sample", "Query"]
    (tmp_path / "c.yaml").write_text(printed)
    done = expandr("expand", "--config", "c.yaml")
    assert re.search(r"^generated +0$", done.out, re.MULTILINE)
    assert (tmp_path / "e.jsonl").read_bytes() == first


def test_run_samples_as_it_is_told(expandr, tmp_path):
    (tmp_path / "topics.tsv").write_text("1\tpython\n")
    with FakeServer() as server:
        given = ["--collection", "demo", "--topics", "topics.tsv", "--generator.api.base_url", server.url]
        given += ["--generator.api.api_key_env", "null", "--generator.decoding.max_new_tokens", "100"]
        expandr("run", "--expander", "query2doc-zs", *given, "--output", "q2d.run")
        (body,) = server.bodies
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("gpt-4.1", 100, 1.0)
    assert manifest(tmp_path / "q2d.run")["config"]["expander"]["max_new_tokens"] == 100


def test_some_that_fail_are_named_counted_and_tried_again(expand, expandr, tmp_path):
    broken = {"subject 3", "subject 5"}

    def behave(_, body):
        words = body["messages"][-1]["content"]
        return Reply(status=400) if words.endswith(tuple(broken)) else Reply()

    with FakeServer(behave) as server:
        api = ["--topics", "topics.tsv", "--generator", "api:m", "--generator.api.base_url", server.url]
        done = expandr("expand", *api, "--output", "e.jsonl", "--format", "json", code=7)
        counts = json.loads(done.out)
        assert (counts["generated"], counts["failed"], counts["topics_missing"]) == (TOPICS - 2, 2, 2)
        assert "topic 003, sample 0 failed: " in done.err
        assert "2 samples have no text; the same command tries those that failed again" in done.err
        assert not {"003", "005"} & {row["topic_id"] for row in rows(tmp_path / "e.jsonl")}
        assert manifest(tmp_path / "e.jsonl")["counts"]["topics_missing"] == 2
        broken.clear()
        requests = len(server.bodies)
        assert expand("--generator.api.base_url", server.url, generator="api:m")["generated"] == 2
        assert len(server.bodies) == requests + 2
    assert len(rows(tmp_path / "e.jsonl")) == TOPICS


def test_nothing_at_all_is_a_failure_and_leaves_no_file(expand, tmp_path):
    message = f"none of the {TOPICS} topics got an expansion; topic 000: "
    assert message in expand(generator=f"replay:{expansions_path()}", code=6)
    nowhere = ["--generator.api.base_url", "http://127.0.0.1:9/v1", "--generator.api.max_attempts", "1"]
    assert "no server at http://127.0.0.1:9/v1" in expand(*nowhere, generator="api:m", code=4)
    assert not (tmp_path / "e.jsonl").exists()


def test_ctrl_c_keeps_what_was_done(expand, start, tmp_path):
    with FakeServer(lambda *_: Reply(delay_s=0.05)) as server:
        options = ["--generator.api.base_url", server.url, "--generator.api.max_in_flight", "2", "--batch-samples", "4"]
        given = ["--topics", "topics.tsv", "--generator", "api:m", "--output", "e.jsonl"]
        process = start("expand", *given, *options)
        while len(server.bodies) < 10:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "what was generated is stored; the same command goes on from there" in err
        assert "interrupted" in err
        assert "Traceback" not in err
        assert not (tmp_path / "e.jsonl").exists()
        counts = expand(*options, generator="api:m")
        assert counts["stored"] >= 6
        assert counts["stored"] + counts["generated"] == TOPICS
        assert len(server.bodies) <= TOPICS + 2  # the two in flight


@pytest.mark.java
def test_the_prompt_with_passages_shows_the_ten_that_bm25_finds(expandr, tmp_path):
    given = ["--collection", "demo", "--generator", "echo", "--prompt", "passage-with-context", "--limit", "3"]
    expandr("expand", *given, "--output", "e.jsonl")
    expandr("search", "--collection", "demo", "--output", "bm25.run", "--hits", "10")
    run, expansions = read_run(tmp_path / "bm25.run"), rows(tmp_path / "e.jsonl")
    assert len(expansions) == 3
    for row in expansions:
        shown = re.findall(r"^\[(\d+)\] (\S+)", row.get("raw", row["text"]), re.MULTILINE)
        assert shown == [(str(hit.rank), hit.doc_id) for hit in run[row["topic_id"]]]
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
    err = expandr(*search, "--skip-missing").err
    assert "2 topics without an expansion are left out" in err
    assert "1 expansions are empty" in err
    assert "1 topics have only empty expansions and were searched alone" in err
    counts = manifest(tmp_path / "x.run")["counts"]
    assert (counts["topics"], counts["missing_topics"], counts["empty_expansions"]) == (len(ids) - 2, 2, 1)
    expandr("search", "--collection", "demo", "--output", "plain.run")
    assert read_run(tmp_path / "x.run")[ids[0]] == read_run(tmp_path / "plain.run")[ids[0]]


def doubtful(_, body):
    """A server that is cut off, writes nothing, or writes."""
    number = int(body["messages"][-1]["content"].split("subject ")[1].split()[0])
    return [Reply(finish_reason="length"), Reply(texts=("",)), Reply()][number % 3]


@pytest.mark.parametrize(
    ("options", "n_asked"),
    [
        ([], 0),
        (["--retry", "empty"], 13),
        (["--retry", "empty", "--retry=truncated"], 27),
        (["--retry", '["truncated", "refused"]'], 14),
        (["--retry", "refused", "--retry-refused"], 0),
    ],
)
@pytest.mark.parametrize("verb", ["expand", "run"])
def test_doubtful_texts_are_asked_anew(expand, expandr, tmp_path, verb, options, n_asked):
    api = ["--generator.api.api_key_env", "null", "--generator.decoding.temperature", "0.7"]
    given = ["--prompt", "passage", *api]
    with FakeServer(doubtful) as server:
        expand(*given, "--generator.api.base_url", server.url, generator="api:m")
    (tmp_path / "hyde.yaml").write_text(
        "{generator: 'api:m', prompt: passage, retriever: sparse, sparse_aggregation: append}"
    )
    with FakeServer() as server:
        given += ["--generator.api.base_url", server.url, *options]
        if verb == "expand":
            forecast = expand(*given, "--dry-run", generator="api:m")
            assert forecast["to generate"] == n_asked
            counts = expand(*given, generator="api:m")
        else:
            where = ["--collection", "demo", "--topics", "topics.tsv", "--expander", "hyde.yaml", "--format", "json"]
            counts = json.loads(expandr("run", *where, "--generator", "api:m", *given, "--output", "a.run").out)
        assert len(server.bodies) == n_asked
    assert (counts["generated"], counts["stored"]) == (n_asked, TOPICS - n_asked)


def test_what_is_forgotten_is_generated_again(expand, expandr):
    expand()
    dry = expandr("store", "forget", "--topic", "subject 7", "--dry-run").out
    assert dry.endswith("1 of 40 generations would be forgotten\n")
    assert expand()["generated"] == 0
    expandr("store", "forget", "--topic", "subject 7", "--model", "x", code=2)
    expandr("store", "forget", "--topic", "subject 7")
    assert expand()["generated"] == 1
    assert "nothing says what to forget" in expandr("store", "forget", "--dry-run", code=2).err
    assert "Try: empty" in expandr("store", "forget", "--reason", "emty", code=2).err
