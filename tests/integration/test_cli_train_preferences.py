"""`expandr train split`, `expandr train preferences`: recorded texts, tiny models, faults, kill -9 in each stage."""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest
import yaml

from expandr_ir.train.preference_files import read_preferences, read_provenance

sys.path.insert(0, str(Path(__file__).parents[1]))

WORDS = (
    "aspirin",
    "heart",
    "attack",
    "flea",
    "egg",
    "adult",
    "zinc",
    "cold",
    "vitamin",
    "deque",
    "log",
    "memory",
    "cell",
)
QUERIES = 24


def words(name, count):
    """Some words, drawn from a name."""
    digest = hashlib.sha256(name.encode()).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in digest[:count])


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def rows(workplace):
    return write_jsonl(
        workplace / "rows.jsonl",
        [
            {"id": f"r{n}", "query": f"what of {words(f'q{n}', 4)} {n}", "positive": words(f"p{n}", 9), "negative": []}
            for n in range(QUERIES)
        ],
    )


@pytest.fixture
def recorded(workplace):
    """Six candidates and an answer of each row."""
    texts = [
        {"topic_id": f"r{n}", "sample": s, "text": words(f"c{n} {s}", 4 + s)} for n in range(QUERIES) for s in range(6)
    ]
    write_jsonl(workplace / "candidates.jsonl", texts)
    answers = [{"topic_id": f"r{n}", "text": words(f"a{n}", 8)} for n in range(QUERIES)]
    write_jsonl(workplace / "answers.jsonl", answers)
    return ["--generator", "replay:candidates.jsonl", "--answer-generator", "replay:answers.jsonl"]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    from tiny_encoders import tiny_bert

    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def encoder(workplace, network):
    path = workplace / "tiny.yaml"
    config = {"model": str(network), "pooling": "mean", "normalize": True, "similarity": "cosine"}
    path.write_text(yaml.safe_dump(config | {"options": {"devices": ["cpu"], "precision": "float32"}}))
    return path


def recipe(rows, encoder, output="out", samples=6):
    asked = ["train", "preferences", "--rows", rows, "--encoder", encoder, "--output", output]
    return [*asked, "--temperatures", "1.0", "--samples", samples, "--threshold", "none"]


def test_from_rows_to_preferences(expandr, workplace, rows, recorded, encoder):
    asked = [*recipe(rows, encoder), *recorded]
    forecast = json.loads(expandr(*asked, "--dry-run", "--format", "json").out)
    assert (forecast["queries"], forecast["to generate"], forecast["stored"]) == (QUERIES, QUERIES * 7, 0)
    assert not (workplace / "out").exists()
    done = expandr(*asked, "--parquet")
    assert str(Path("out", "preferences.jsonl")) in done.out
    found = read_preferences("out")
    by_query = {row["row_id"]: row for row in found}
    assert len(by_query) == len(found) > QUERIES / 2
    texts = {(f"r{n}", words(f"c{n} {s}", 4 + s)) for n in range(QUERIES) for s in range(6)}
    for row in found:
        assert (row["row_id"], row["chosen"][0]["content"]) in texts
        assert row["prompt"][-1]["content"].endswith(row["query"])
        assert row["chosen_scores"]["reward"] > row["rejected_scores"]["reward"]
    summary = json.loads((workplace / "out" / "summary.json").read_text())
    assert summary["kept"] + sum(summary["dropped"].values()) == summary["queries"] == QUERIES
    manifest = json.loads((workplace / "out" / "preferences.jsonl.manifest.json").read_text())
    assert manifest["counts"]["preferences"] == len(found)
    assert manifest["counts"]["generated"] == QUERIES * 7
    provenance = read_provenance("out")
    assert provenance["generator"]["model"] == "candidates.jsonl"
    assert provenance["answers"]["generator"]["model"] == "answers.jsonl"
    assert provenance["prompt"]["id"] == "passage@1"
    import pyarrow.parquet as parquet

    assert parquet.read_table(workplace / "out" / "preferences.parquet").to_pylist() == found


def test_a_second_run_generates_and_encodes_nothing(expandr, workplace, rows, recorded, encoder):
    asked = [*recipe(rows, encoder), *recorded]
    expandr(*asked)
    names = ("preferences.jsonl", "scores.jsonl", "summary.json", "README.md")
    before = {name: (workplace / "out" / name).read_bytes() for name in names}
    expandr(*asked)
    assert {name: (workplace / "out" / name).read_bytes() for name in names} == before
    manifest = json.loads((workplace / "out" / "preferences.jsonl.manifest.json").read_text())
    assert manifest["counts"]["generated"] == 0
    assert manifest["counts"]["stored"] == QUERIES * 7
    expandr(*asked, "--threshold", "quantile:.5")  # another threshold: the similarities are there already
    assert len(list((workplace / "out" / "work").glob("*.npz"))) == 1
    assert json.loads((workplace / "out" / "summary.json").read_text())["dropped"]["below_threshold"] == QUERIES // 2


def test_what_trl_takes(expandr, workplace, rows, recorded, encoder):
    datasets = pytest.importorskip("datasets")
    expandr(*recipe(rows, encoder), *recorded)
    loaded = datasets.Dataset.from_list(read_preferences("out"))
    from trl.data_utils import is_conversational

    assert is_conversational(loaded[0])


def test_queries_are_drawn_before_anything_is_generated(expandr, workplace, rows, recorded, encoder):
    forecast = json.loads(
        expandr(*recipe(rows, encoder), *recorded, "--queries", 5, "--dry-run", "--format", "json").out
    )
    assert (forecast["rows"], forecast["queries"], forecast["to generate"]) == (QUERIES, 5, 35)


def test_reinforced_ir_by_name(expandr, workplace, rows, recorded, encoder):
    expandr(
        *["train", "preferences", "--config", "preferences-reinforced-ir", "--rows", rows, "--output", "out"],
        *["--generator", "replay:candidates.jsonl", "--encoder", encoder],
    )
    provenance = read_provenance("out")
    assert provenance["rewards"] == {"margin": 1.0}
    assert provenance["answers"] is None
    assert provenance["decoding"]["temperatures"] == [0.9]
    assert provenance["decoding"]["repetition_penalty"] == 1.1
    assert provenance["encoder"]["expansion_prefix"] == "Generate the topic about this passage: "
    assert json.loads((workplace / "out" / "summary.json").read_text())["dropped"]["margin"] < QUERIES


@pytest.mark.parametrize("name", ["preferences-expandr", "preferences-llm-qe"])
def test_the_published_recipes_can_be_planned(expandr, workplace, rows, name):
    done = expandr("train", "preferences", "--config", name, "--rows", rows, "--generator", "echo", "--output", "out",
                   "--dry-run", "--format", "json")  # fmt: skip
    assert json.loads(done.out)["to generate"] == QUERIES * 33


def test_other_parts_do_not_write_into_the_same_folder(expandr, workplace, rows, recorded, encoder, network):
    expandr(*recipe(rows, encoder), *recorded)
    other = yaml.safe_load(encoder.read_text()) | {"max_length": 16}
    (workplace / "other.yaml").write_text(yaml.safe_dump(other))
    done = expandr(*recipe(rows, workplace / "other.yaml"), *recorded, code=2)
    assert "comes from another encoder: max_length 64, not 16" in done.err
    done = expandr(*recipe(rows, encoder), "--generator", "echo", code=2)
    assert "comes from another LLM: engine 'replay', not 'echo'" in done.err
    done = expandr(*recipe(rows, encoder), *recorded, "--prompt", "query", code=2)
    assert "comes from another prompt" in done.err


def test_texts_that_are_missing_are_told(expandr, workplace, rows, recorded, encoder):
    lines = (workplace / "candidates.jsonl").read_text().splitlines(keepends=True)
    (workplace / "candidates.jsonl").write_text("".join(lines[:-2]))
    done = expandr(*recipe(rows, encoder), *recorded, code=7)
    assert "2 samples have no text" in done.err
    summary = json.loads((workplace / "out" / "summary.json").read_text())
    assert summary["candidates_dropped"]["failed"] == 2


def test_empty_and_equal_candidates_are_counted(expandr, workplace, rows, recorded, encoder):
    texts = [json.loads(line) for line in (workplace / "candidates.jsonl").read_text().splitlines()]
    for text in texts:
        if text["topic_id"] == "r0":
            text["text"] = "the same for all"
        elif text["sample"] == 1:
            text["text"] = "..." if text["topic_id"] == "r1" else words("the same", 5)
        elif text["sample"] == 2 and text["topic_id"] != "r1":
            text["text"] = words("the same", 5)
    write_jsonl(workplace / "candidates.jsonl", texts)
    expandr(*recipe(rows, encoder), *recorded)
    summary = json.loads((workplace / "out" / "summary.json").read_text())
    assert summary["candidates_dropped"] == {"duplicate": 5 + QUERIES - 2, "empty": 1}
    assert summary["dropped"]["too_few_candidates"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "9"], "'below_threshold': 24}\nExpected: at least one\nTry: --threshold quantile:.25"),
        (["--threshold", "median"], "the threshold 'median'"),
        (["--rewards", '{"slef": 1}'], "unknown reward 'slef'"),
        (["--rewards", '{"corpus": 1}'], "the reward 'corpus' needs a collection"),
        (["--temperatures", "1.0"], "the temperatures [1.0, 1.0]"),
        (["--samples", "1"], "at least 2 candidates"),
        (["--prompt", "answer"], "prompt 'answer' shows document"),
        (["--answer-prompt", "passage-with-context"], "shows passages"),
        (["--queries", "0"], "queries is 0"),
        (["--rows", "none.jsonl"], "none.jsonl is not there"),
    ],
)
def test_what_cannot_be_asked(expandr, workplace, rows, recorded, encoder, options, message):
    asked = [*recipe(rows, encoder), *recorded]
    done = expandr(*asked, *options, code=4 if "not there" in message else 2)
    assert message in done.err
    assert not (workplace / "out" / "preferences.jsonl").exists()


def test_rewards_without_an_encoder(expandr, workplace, rows, recorded):
    done = expandr("train", "preferences", "--rows", rows, *recorded, "--output", "out", code=2)
    assert "no encoder is named" in done.err


def test_a_row_without_a_positive_is_named(expandr, workplace, recorded, encoder):
    broken = write_jsonl(workplace / "broken.jsonl", [{"query": "a", "positive": "b"}, {"query": "c", "positive": []}])
    done = expandr(*recipe(broken, encoder), *recorded, code=2)
    assert f"{broken}, line 2: no positive" in done.err
    done = expandr("train", "split", "--rows", broken, "--output", "parts", "a=1", code=2)
    assert f"{broken}, line 2: no positive" in done.err


def test_split(expandr, workplace, rows):
    done = expandr("train", "split", "--rows", rows, "--output", "parts", "dpo=.5", "retriever=.5")
    parts = {
        name: [json.loads(line)["row_id"] for line in (workplace / "parts" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("dpo", "retriever")
    }
    assert sorted([*parts["dpo"], *parts["retriever"]]) == sorted(f"r{n}" for n in range(QUERIES))
    assert "0 duplicates" in done.err
    manifest = json.loads((workplace / "parts" / "dpo.jsonl.manifest.json").read_text())
    assert manifest["counts"]["rows"] == len(parts["dpo"])
    assert manifest["seeds"] == {"split": 42}
    before = (workplace / "parts" / "dpo.jsonl").read_bytes()
    reordered = write_jsonl(
        workplace / "reordered.jsonl", [json.loads(line) for line in rows.read_text().splitlines()[::-1]]
    )
    expandr("train", "split", "--rows", reordered, "--output", "again", "dpo=.5", "retriever=.5")
    assert sorted((workplace / "again" / "dpo.jsonl").read_bytes().splitlines()) == sorted(before.splitlines())
    assert expandr("train", "split", "--rows", rows, "--output", "parts", "dpo=2", code=2)
    assert "is also read" in expandr(
        "train", "split", "--rows", "parts/dpo.jsonl", "--output", "parts", "dpo=1", code=2
    ).err  # fmt: skip


def beir_of(rows, folder):
    """A collection in which each row's positive is judged, beside the candidates of all rows."""
    documents = {f"p{n}": words(f"p{n}", 9) for n in range(QUERIES)}
    documents |= {f"x{n}": words(f"c{n} {n % 6}", 9) for n in range(QUERIES)}
    folder.mkdir()
    write_jsonl(folder / "corpus.jsonl", [{"_id": key, "title": "", "text": text} for key, text in documents.items()])
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    write_jsonl(folder / "queries.jsonl", [{"_id": row["id"], "text": row["query"]} for row in found])
    (folder / "qrels").mkdir()
    judged = "".join(f"r{n}\tp{n}\t1\n" for n in range(QUERIES))
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


@pytest.mark.java
@pytest.mark.parametrize("retriever", ["sparse", "dense"])
def test_the_corpus_reward_is_what_a_search_gives(expandr, workplace, rows, recorded, encoder, retriever):
    folder = beir_of(rows, workplace / "collection")
    options = ["--rewards", '{"corpus": 1}', "--corpus.collection", folder, "--corpus.retriever", retriever]
    options += ["--corpus.batch_queries", 7, *(["--encoder", encoder] if retriever == "dense" else [])]
    asked = ["train", "preferences", "--rows", rows, "--output", "out", "--temperatures", "1.0", "--samples", 6]
    expandr(*asked, "--threshold", "none", *recorded[:2], *options)
    scores = {
        row["row_id"]: {one["sample"]: one["reward"] for one in row["candidates"]}
        for row in map(json.loads, (workplace / "out" / "scores.jsonl").read_text().splitlines())
    }
    for sample in (0, 5):  # all queries with their first, and with their last candidate
        texts = [json.loads(line) for line in (workplace / "candidates.jsonl").read_text().splitlines()]
        one = write_jsonl(workplace / "one.jsonl", [text | {"sample": 0} for text in texts if text["sample"] == sample])
        search = ["search", "--collection", folder, "--split", "train", "--expansions", one, "--output", "one.run"]
        search += ["--retriever", retriever, *(["--encoder", encoder] if retriever == "dense" else [])]
        expandr(*search)
        ranks = {}
        for line in (workplace / "one.run").read_text().splitlines():
            topic_id, _, doc_id, rank, *_ = line.split()
            if doc_id == f"p{topic_id[1:]}":
                ranks[topic_id] = int(rank)
        for row_id, rewards in scores.items():
            expected = 1 / ranks[row_id] if row_id in ranks else 0.0
            assert rewards[sample] == pytest.approx(expected, abs=1e-6), (row_id, sample)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    from tiny_models import tiny_llama

    return tiny_llama(tmp_path_factory.mktemp("llama"))


def wait_for(process, there):
    """Returns as soon as something is there, and says whether the process was still at work."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if there():
            return process.poll() is None
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    raise TimeoutError(process.args)


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def generated(store):
    """Texts that a store holds."""
    if not store.is_file():
        return 0
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT count(*) FROM generations").fetchone()[0]
    except sqlite3.OperationalError:  # it is being made
        return 0
    finally:
        connection.close()


@pytest.fixture
def one_thread(monkeypatch):
    """Models this small wait for threads more than they compute."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("one_thread")
def test_killed_in_each_stage_and_taken_up_again(expandr, start, workplace, rows, encoder, llama):
    """Generation by a real engine and scoring by a real encoder, each killed, give the files of an unbroken run."""
    samples = 10 * (2 * 3 + 1)
    asked = [*recipe(rows, encoder, samples=3), "--queries", 10]
    asked[asked.index("--output") + 1] = "{output}"
    asked += ["--temperatures", "1.3", "--generator", f"local:{llama}", "--max-new-tokens", 16, "--batch-samples", 6]
    asked += [
        "--generator.local.dtype",
        "float32",
        "--generator.local.device",
        "cpu",
        "--generator.local.batch_size",
        6,
    ]
    asked += ["--compare.shard_texts", 2, "--store", "{output}.sqlite"]

    def line(output):
        return [str(word).format(output=output) for word in asked]

    expandr(*line("whole"))
    store, work = workplace / "broken.sqlite", workplace / "broken" / "work"

    process = start(*line("broken"))
    assert wait_for(process, lambda: generated(store) >= 12)
    killed(process)
    assert 12 <= generated(store) < samples

    process = start(*line("broken"))
    assert wait_for(process, lambda: len(list(work.glob("*.shards/0*.npy"))) >= 8)
    killed(process)
    assert generated(store) == samples
    assert not list(work.glob("*.npz"))
    assert list(work.glob("*.shards/0*.npy"))
    assert not (workplace / "broken" / "preferences.jsonl.manifest.json").exists()

    expandr(*line("broken"))
    for name in ("preferences.jsonl", "scores.jsonl", "summary.json"):
        assert (workplace / "broken" / name).read_bytes() == (workplace / "whole" / name).read_bytes()
    assert not list(work.glob("*.shards"))
