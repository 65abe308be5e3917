"""`expandr train preferences`: recorded texts, tiny models, faults, kill -9 in each stage."""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
import time

import pytest
import yaml

from expandr_ir.io.files import read_jsonl, write_jsonl
from expandr_ir.train.align.preference_files import read_preferences, read_provenance

WORDS = ["aspirin", "heart", "attack", "flea", "egg", "adult", "zinc", "cold", "vitamin", "deque", "log", "memory"]
QUERIES, SAMPLES = 24, 6


def words(name, count):
    """Some words, drawn from a name."""
    return " ".join(WORDS[byte % len(WORDS)] for byte in hashlib.sha256(name.encode()).digest()[:count])


@pytest.fixture
def rows(workplace):
    """Rows, six candidates and an answer of each."""
    ids = [f"r{n}" for n in range(QUERIES)]
    texts = [{"topic_id": i, "sample": s, "text": words(f"c{i} {s}", 4 + s)} for i in ids for s in range(SAMPLES)]
    write_jsonl(workplace / "candidates.jsonl", texts)
    write_jsonl(workplace / "answers.jsonl", [{"topic_id": i, "text": words(f"a{i}", 8)} for i in ids])
    rows = [{"id": i, "query": f"what of {words(f'q{i}', 4)} {i}", "positive": words(f"p{i}", 9)} for i in ids]
    write_jsonl(workplace / "rows.jsonl", rows)
    return workplace / "rows.jsonl"


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


RECORDED = ("--generator", "replay:candidates.jsonl", "--answer-generator", "replay:answers.jsonl")


@pytest.fixture
def prefer(expandr, rows, encoder):
    """Runs `expandr train preferences` on the rows; what it wrote is in out/."""

    def run(*more, code=0, llms=RECORDED, compare=("--encoder", encoder)):
        options = ["--rows", rows, "--output", "out", "--temperatures", "1.0", "--samples", SAMPLES]
        return expandr("train", "preferences", *options, "--threshold", "none", *compare, *llms, *more, code=code)

    return run


def of_folder(workplace):
    """The summary and the manifest."""
    folder = workplace / "out"
    return [json.loads((folder / n).read_text()) for n in ("summary.json", "preferences.jsonl.manifest.json")]


def test_from_rows_to_preferences(prefer, workplace):
    for more, queries in (("--queries", 5), 5), ((), QUERIES):
        forecast = json.loads(prefer("--dry-run", "--format", "json", *more).out)
        assert (forecast["rows"], forecast["queries"], forecast["stored"]) == (QUERIES, queries, 0)
        assert forecast["to generate"] == queries * 7
    assert not (workplace / "out").exists()
    assert "out/preferences.jsonl" in prefer("--parquet").out
    pairs = read_preferences("out")
    assert len({pair["row_id"] for pair in pairs}) == len(pairs) > QUERIES / 2
    for pair in pairs:
        texts = [words(f"c{pair['row_id']} {s}", 4 + s) for s in range(SAMPLES)]
        assert {pair["chosen"][0]["content"], pair["rejected"][0]["content"]} <= set(texts)
        assert pair["prompt"][-1]["content"].endswith(pair["query"])
        assert pair["chosen_scores"]["reward"] > pair["rejected_scores"]["reward"]
    summary, manifest = of_folder(workplace)
    assert summary["kept"] + sum(summary["dropped"].values()) == summary["queries"] == QUERIES
    assert (manifest["counts"]["preferences"], manifest["counts"]["generated"]) == (len(pairs), QUERIES * 7)
    provenance = read_provenance("out")
    assert provenance["generator"]["model"] == "candidates.jsonl"
    assert provenance["answers"]["generator"]["model"] == "answers.jsonl"
    assert provenance["prompt"]["id"] == "passage@1"
    import datasets
    from pyarrow import parquet
    from trl.data_utils import is_conversational

    assert is_conversational(datasets.Dataset.from_list(pairs)[0])
    assert parquet.read_table(workplace / "out" / "preferences.parquet").to_pylist() == pairs


def test_a_second_run_generates_and_encodes_nothing(prefer, workplace):
    names = ("preferences.jsonl", "scores.jsonl", "summary.json", "README.md")
    contents = []
    for _ in range(2):
        prefer()
        contents.append([(workplace / "out" / name).read_bytes() for name in names])
    assert contents[0] == contents[1]
    counts = of_folder(workplace)[1]["counts"]
    assert (counts["generated"], counts["stored"]) == (0, QUERIES * 7)
    prefer("--threshold", "quantile:.5")  # another threshold: the similarities are there already
    assert len(list((workplace / "out" / "work").glob("*.npz"))) == 1
    assert of_folder(workplace)[0]["dropped"]["below_threshold"] == QUERIES // 2


def test_reinforced_ir_by_name(expandr, workplace, rows, encoder):
    options = ["--rows", rows, "--output", "out", "--generator", "replay:candidates.jsonl", "--encoder", encoder]
    expandr("train", "preferences", "--config", "preferences-reinforced-ir", *options)
    provenance = read_provenance("out")
    assert (provenance["rewards"], provenance["answers"]) == ({"margin": 1.0}, None)
    assert provenance["decoding"]["temperatures"] == [0.9]
    assert provenance["decoding"]["repetition_penalty"] == 1.1
    assert provenance["encoder"]["expansion_prefix"] == "Generate the topic about this passage: "
    assert of_folder(workplace)[0]["dropped"]["margin"] < QUERIES


@pytest.mark.parametrize("name", ["preferences-expandr", "preferences-llm-qe"])
def test_the_published_recipes_can_be_planned(expandr, rows, name):
    options = ["--rows", rows, "--generator", "echo", "--output", "out", "--dry-run", "--format", "json"]
    done = expandr("train", "preferences", "--config", name, *options)
    assert json.loads(done.out)["to generate"] == QUERIES * 33


def test_other_parts_do_not_write_into_the_same_folder(prefer, workplace, encoder):
    prefer()
    (workplace / "other.yaml").write_text(yaml.safe_dump(yaml.safe_load(encoder.read_text()) | {"max_length": 16}))
    message = "comes from another encoder: max_length 64, not 16"
    assert message in prefer("--encoder", "other.yaml", code=2).err
    assert "comes from another LLM: engine 'replay', not 'echo'" in prefer("--generator", "echo", code=2).err


def test_missing_texts_are_told(prefer, workplace):
    lines = (workplace / "candidates.jsonl").read_text().splitlines(keepends=True)
    (workplace / "candidates.jsonl").write_text("".join(lines[:-2]))
    assert "2 samples have no text" in prefer(code=7).err
    assert of_folder(workplace)[0]["candidates_dropped"]["failed"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "9"], "'below_threshold': 24}\nExpected: at least one\nTry: --threshold quantile:.25"),
        (["--rewards", '{"corpus": 1}'], "the reward 'corpus' needs a collection"),
        (["--rows", "none.jsonl"], "none.jsonl is not there"),
    ],
)
def test_options_that_do_not_fit(prefer, workplace, options, message):
    assert message in prefer(*options, code=4 if "not there" in message else 2).err
    assert not (workplace / "out" / "preferences.jsonl").exists()


def test_a_row_without_a_positive_is_named(expandr, workplace, prefer):
    broken = workplace / "rows.jsonl"
    write_jsonl(broken, [{"query": "a", "positive": "b"}, {"query": "c", "positive": []}])
    message = f"{broken}, line 2: no positive"
    assert message in prefer(code=2).err
    assert message in expandr("train", "split", "--rows", broken, "--output", "parts", "a=1", code=2).err


def beir_of(rows, folder):
    """A collection in which each row's positive is judged, beside the candidates of all rows."""
    read = [row for _, row in read_jsonl(rows)]
    documents = {f"p{row['id']}": row["positive"] for row in read}
    documents |= {f"x{row['id']}": words(f"c{row['id']} {n % SAMPLES}", 9) for n, row in enumerate(read)}
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": key, "title": "", "text": text} for key, text in documents.items()])
    write_jsonl(folder / "queries.jsonl", [{"_id": row["id"], "text": row["query"]} for row in read])
    judged = "".join(f"{row['id']}\tp{row['id']}\t1\n" for row in read)
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


@pytest.mark.java
@pytest.mark.parametrize("retriever", ["sparse", "dense", "hybrid"])
def test_the_rewards_of_a_search_are_what_the_search_gives(expandr, prefer, workplace, rows, encoder, retriever):
    folder = beir_of(rows, workplace / "collection")
    named = [] if retriever == "sparse" else ["--encoder", encoder]
    options = [
        "--rewards",
        '{"corpus": 1, "search": 1}',
        "--corpus.collection",
        folder,
        "--corpus.retriever",
        retriever,
    ]
    own = [word.replace("--encoder", "--corpus.encoder") for word in map(str, named)]
    prefer(*options, *own, "--corpus.batch_queries", 7, llms=RECORDED[:2], compare=[])
    scores = {
        row["row_id"]: {candidate["sample"]: candidate["rewards"] for candidate in row["candidates"]}
        for _, row in read_jsonl(workplace / "out" / "scores.jsonl")
    }

    def reciprocal_ranks(*expansions):
        search = ["--collection", folder, "--split", "train", *expansions, "--output", "one.run"]
        expandr("search", *search, "--retriever", retriever, *named)
        hits = [line.split() for line in (workplace / "one.run").read_text().splitlines()]
        return {topic_id: 1 / int(rank) for topic_id, _, doc_id, rank, *_ in hits if doc_id == f"p{topic_id}"}

    alone = reciprocal_ranks()
    for sample in (0, 5):  # all queries with their first, and with their last candidate
        texts = [text for _, text in read_jsonl(workplace / "candidates.jsonl") if text["sample"] == sample]
        write_jsonl(workplace / "texts.jsonl", (text | {"sample": 0} for text in texts))
        found = reciprocal_ranks("--expansions", "texts.jsonl")
        for row_id, rewards in scores.items():
            expected = found.get(row_id, 0.0)
            assert rewards[sample]["corpus"] == pytest.approx(expected, abs=1e-6), (row_id, sample)
            gain = expected - alone.get(row_id, 0.0)
            assert rewards[sample]["search"] == pytest.approx(gain, abs=1e-6), (row_id, sample)


def kill_when(process, reached):
    """Kills the process as soon as something is there; it must still be at work then."""
    end = time.monotonic() + 240
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def count_generations(store):
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
def test_killed_in_each_stage_and_taken_up_again(expandr, start, workplace, rows, encoder):
    """Generation by a real engine and scoring by a real encoder, each killed, give the files of an unbroken run."""
    from tiny_models import tiny_llama

    llama, samples = tiny_llama(workplace / "llama"), 10 * (2 * 3 + 1)

    def line(output):
        options = f"--rows {rows} --encoder {encoder} --queries 10 --samples 3 --temperatures 1.0 --temperatures 1.3"
        options += f" --generator local:{llama} --max-new-tokens 16 --batch-samples 6 --threshold none"
        options += " --generator.local.dtype float32 --generator.local.device cpu --generator.local.batch_size 6"
        options += f" --compare.shard_texts 2 --output {output} --store {output}.sqlite"
        return ["train", "preferences", *options.split()]

    expandr(*line("whole"))
    store, work = workplace / "broken.sqlite", workplace / "broken" / "work"
    kill_when(start(*line("broken")), lambda: count_generations(store) >= 12)
    assert 12 <= count_generations(store) < samples
    kill_when(start(*line("broken")), lambda: len(list(work.glob("*.parts/0*.npy"))) >= 8)
    assert count_generations(store) == samples
    assert not list(work.glob("*.npz"))
    assert list(work.glob("*.parts/0*.npy"))
    assert not (workplace / "broken" / "preferences.jsonl.manifest.json").exists()
    expandr(*line("broken"))
    for name in ("preferences.jsonl", "scores.jsonl", "summary.json"):
        assert (workplace / "broken" / name).read_bytes() == (workplace / "whole" / name).read_bytes()
    assert not list(work.glob("*.parts"))
