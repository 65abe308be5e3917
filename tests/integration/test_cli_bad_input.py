"""Bad input, end to end: the exit code, a message that names file, line and remedy, and nothing half-written."""

from __future__ import annotations

import gzip
import json
import resource
import signal
import subprocess
from pathlib import Path

import pytest

CORPUS = {"d1": "cats chase mice", "d2": "dogs chase cats", "d3": "mice eat cheese"}
TOPICS = {"1": "what do cats chase", "2": "who eats cheese"}
QRELS = {"1": "d1", "2": "d3"}


def jsonl(rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def documents():
    return [{"_id": doc_id, "title": "", "text": text} for doc_id, text in CORPUS.items()]


def queries():
    return [{"_id": topic_id, "text": text} for topic_id, text in TOPICS.items()]


def expansions(**fields):
    return [{"topic_id": topic_id, "text": f"about {text}"} | fields for topic_id, text in TOPICS.items()]


@pytest.fixture
def tiny(tmp_path):
    """A collection of three documents and two topics."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_bytes(jsonl(documents()))
    (folder / "queries.jsonl").write_bytes(jsonl(queries()))
    judged = "".join(f"{topic_id}\t{doc_id}\t1\n" for topic_id, doc_id in QRELS.items())
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


@pytest.fixture
def fails(expandr, tmp_path, shared_home):
    """Runs a command that must fail and leave every folder as it was."""

    def files():
        found = {path for folder in (tmp_path, shared_home) for path in folder.rglob("*") if path.is_file()}
        return {path for path in found if not path.is_relative_to(shared_home / "fingerprints")}

    def run(*argv, code=2):
        before = files()
        done = expandr(*argv, code=code)
        store = {path for path in files() if path.name.startswith("store.sqlite")}
        assert files() - store == before
        return done.err

    return run


SEARCH = ("search", "--collection", "tiny", "--output", "out.run")

CORPUS_FILE, TOPICS_FILE, QRELS_FILE = "corpus.jsonl", "queries.jsonl", "qrels/test.tsv"
HEADER = b"query-id\tcorpus-id\tscore\n"
LATIN_1 = '{"_id": "d1", "text": "é"}\n'.encode("latin-1")

BAD_COLLECTIONS = {  # one of each reader; their unit tests have the others
    "malformed JSON": (CORPUS_FILE, jsonl(documents()) + b'{"_id"\n', ["line 4: malformed JSON", "sed -n 4p corpus"]),
    "an id twice": (CORPUS_FILE, jsonl(documents() * 2), ["line 4: document 'd1' a second time", "line 1"]),
    "no document": (CORPUS_FILE, b"\n \n", ["no documents", "at least one document"]),
    "latin-1": (CORPUS_FILE, LATIN_1, ["line 1: invalid UTF-8", "iconv"]),
    "a topic without text": (TOPICS_FILE, jsonl([{"_id": "3", "text": " "}]), ["line 1: topic '3' has no text"]),
    "qrels without a header": (QRELS_FILE, b"1\td1\t1\n", ["line 1: 3 columns", "starts with the line"]),
    "two grades": (QRELS_FILE, HEADER + b"1\td1\t1\n1\td1\t0\n", ["line 3", "grade 0, but 1 before"]),
}


@pytest.mark.java
@pytest.mark.parametrize("case", BAD_COLLECTIONS)
def test_bad_collections(fails, tiny, case):
    name, content, messages = BAD_COLLECTIONS[case]
    (tiny / name).write_bytes(content)
    told = fails(*SEARCH)
    assert all(message in told for message in (str(Path("tiny", name)) * ("line" in messages[0]), *messages)), told


def test_judgements_of_other_topics(fails, tiny):
    (tiny / QRELS_FILE).write_bytes(HEADER + b"9\td1\t1\n")
    told = fails(*SEARCH)
    assert "no topic has judgements; topics are 1, 2, judged are 9" in told


@pytest.mark.parametrize("part", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_part_is_named(fails, tiny, part):
    (tiny / part).unlink()
    assert f"has no {part}" in fails(*SEARCH)


@pytest.mark.java
@pytest.mark.parametrize("part", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_truncated_gzip_is_named(fails, tiny, part):
    packed = gzip.compress((tiny / part).read_bytes())
    (tiny / part).unlink()
    (tiny / f"{part}.gz").write_bytes(packed[:-6])
    told = fails(*SEARCH)
    assert f"{Path(part).name}.gz: unreadable gzip" in told
    assert "gzip -t" in told


@pytest.mark.java
def test_what_does_not_fit_together_is_counted_and_said(expandr, tiny):
    (tiny / "queries.jsonl").write_bytes(jsonl([*queries(), {"_id": "3", "text": "unjudged"}]))
    (tiny / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\td1\t1\n8\td1\t1\n9\td2\t1\n")
    told = expandr(*SEARCH).err
    assert "split test: 1 topics are judged; 2 others are left out" in told
    assert "split test: 2 judged topics have no text and are left out" in told
    assert Path("out.run").read_text().split()[0] == "1"
    assert (
        "judged topics without a hit, counted as 0: 2 of 3"
        in expandr("evaluate", "--collection", "tiny", "out.run").out
    )


def test_a_split_that_does_not_exist_lists_those_that_do(fails, tiny):
    (tiny / "qrels" / "train.tsv").write_bytes((tiny / "qrels" / "test.tsv").read_bytes())
    told = fails(*SEARCH, "--split", "trian")
    assert "unknown split of tiny 'trian'" in told
    assert "one of test, train" in told
    assert "Try: train" in told


BAD_EXPANSIONS = {
    "malformed JSON": (jsonl(expansions()) + b"{\n", ["e.jsonl, line 3: malformed JSON", "sed -n 3p e.jsonl"]),
    "no text": (jsonl([{"topic_id": "1"}]), ["e.jsonl, line 1: neither text nor texts"]),
    "other topics": (jsonl([{"topic_id": "9", "text": "x"}]), ["of other topics; it has 9, these are 1, 2"]),
    "a topic without a row": (jsonl(expansions()[:1]), ["1 of 2 topics have no expansion: 2", "--skip-missing"]),
}


@pytest.mark.parametrize("case", BAD_EXPANSIONS)
def test_bad_expansions(fails, tiny, tmp_path, case):
    content, messages = BAD_EXPANSIONS[case]
    (tmp_path / "e.jsonl").write_bytes(content)
    for verb in (SEARCH, ("export", "topics", "--collection", "tiny", "--output", "t.json")):
        told = fails(*verb, "--expansions", "e.jsonl")
        assert all(message in told for message in messages), told


@pytest.mark.java
def test_repeats_by_row_need_the_row_to_say_them(fails, tiny, tmp_path):
    (tmp_path / "e.jsonl").write_bytes(jsonl(expansions()))
    told = fails(*SEARCH, "--expansions", "e.jsonl", "--repeats", "row")
    assert "topic '1' has query_repeats None" in told
    assert "Try: --repeats 5" in told


BAD_RUNS = {
    "unknown topic": ("9 Q0 d1 1 2.0 x\n", ["out.run, line 1: topic '9' is not among the collection's topics"]),
    "five columns": ("1 Q0 d1 1 2.0\n", ["out.run, line 1: 5 columns", "topic_id Q0 doc_id rank score tag"]),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_bad_runs(fails, tiny, tmp_path, case):
    content, messages = BAD_RUNS[case]
    (tmp_path / "out.run").write_text(content)
    (tmp_path / "good.run").write_text("1 Q0 d1 1 2.0 x\n2 Q0 d3 1 2.0 x\n")
    for told in (
        fails("evaluate", "--collection", "tiny", "out.run"),
        fails("compare", "--collection", "tiny", "--baseline", "good.run", "out.run"),
    ):
        assert all(message in told for message in messages), told


@pytest.mark.java
def test_indexes_that_are_none_or_anothers(fails, expandr, tiny, tmp_path):
    assert "tiny is no Lucene index" in fails(*SEARCH, "--index", "./tiny")
    assert "nowhere is not there" in fails(*SEARCH, "--index", "./nowhere", code=4).replace(
        "expandr: nowhere", "./nowhere"
    )
    assert "unknown folder or Pyserini index 'msmarco-passag'" in fails(*SEARCH, "--index", "msmarco-passag")
    index = expandr("index", "--collection", "tiny").out.splitlines()[0]
    (tiny / "corpus.jsonl").write_bytes(jsonl([*documents(), {"_id": "d4", "text": "new"}]))
    told = fails(*SEARCH, "--index", index)
    assert f"the index {index} was built of other documents than tiny has" in told
    assert "leave --index out" in told
    expandr("search", "--topics", "tiny/queries.jsonl", "--index", index, "--output", "bare.run")
    assert expandr(*SEARCH).code == 0  # the changed collection gets an index of its own


@pytest.mark.java
def test_an_index_in_the_cache_that_was_damaged_since(fails, expandr, tiny):
    (tiny / "corpus.jsonl").write_bytes(jsonl([*documents(), {"_id": "d5", "text": "to be damaged"}]))
    index = Path(expandr("index", "--collection", "tiny").out.splitlines()[0])
    for manifest in ('{"fields": ', '{"fields": "flat", "fingerprint": "another"}', None):
        (index / "manifest.json").unlink()
        if manifest:
            (index / "manifest.json").write_text(manifest)
        told = fails(*SEARCH)
        assert str(index) in told
        assert f"Try: rm -r {index}; then it is built anew" in told


@pytest.mark.java
@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--aggregation", "repaet"], ["unknown aggregation 'repaet'", "Try: repeat"]),
        (["--aggregation", "append"], ["'append' has no expansions to work with", "Try: --expansions FILE"]),
        (["--own-document", "drop"], ["unknown value of --own-document 'drop'", "one of auto, keep, remove"]),
        (["--hits", "0"], ["hits is 0", "1 or more"]),
        (["--hits", "many"], ["--hits many", "Expected: a whole number"]),
        (["--k1", "-1"], ["k1 = -1.0"]),
        (["--weight", "2"], ["weight is 2.0", "from 0 to 1"]),
        (["--repeats", "rows"], ["--repeats rows", "a whole number or row"]),
        (["--rm3", "--rocchio"], ["RM3 and Rocchio at once"]),
        (["--heap", "much"], ["'much' is no amount of memory"]),
        (["--tag", "two words"], ["the tag is 'two words'"]),
        (["--topics-field", "text"], ["--topics-field without --topics"]),
        (["--hit", "3"], ["unknown option of expandr search '--hit'", "Try: --hits"]),
        (["extra"], ["'extra' is not an option"]),
        (["--hits"], ["--hits has no value"]),
        (["--output", "."], ["--output . is a folder"]),
        (["--output", "/dev/null"], ["--output /dev/null is no plain file"]),
        (["--output", "tiny/queries.jsonl", "--topics", "tiny/queries.jsonl"], ["is also read"]),
    ],
)
def test_options_that_make_no_sense(fails, tiny, monkeypatch, options, messages):
    if "much" in options:
        monkeypatch.setattr("expandr_ir.jvm._started_in", None)
        monkeypatch.setattr("jnius_config.vm_running", False)
    told = fails(*SEARCH, *options)
    assert all(message in told for message in messages), told


@pytest.mark.parametrize(
    ("argv", "code", "messages"),
    [
        (["serach"], 2, ["unknown verb 'serach'", "Try: search"]),
        (["store"], 2, ["ls|show|export|import|verify"]),
        (["store", "list"], 2, ["unknown verb of expandr store 'list'"]),
        (["search", "--collection", "tiny"], 2, ["--output is missing", "expandr search --help"]),
        (["search", "--output", "x.run"], 2, ["no topics are named", "--collection C or --topics FILE"]),
        (["search", "--topics", "no.tsv", "--output", "x.run"], 4, ["no.tsv is not there"]),
        (["search", "--topics", "tiny/queries.jsonl", "--output", "x.run"], 2, ["there is nothing to search in"]),
        (["search", "--collection", "tinny", "--output", "x.run"], 2, ["'tinny' is no collection", "Try: tiny"]),
        (["index", "--collection", "irds:no/such"], 2, ["unknown collection 'irds:no/such'"]),
        (["evaluate", "--collection", "tiny"], 2, ["no run is named"]),
        (["evaluate", "--collection", "tiny", "no.run"], 4, ["no.run is not there"]),
        (["evaluate", "no.run"], 2, ["no judgements are named", "--collection C or --qrels FILE"]),
        (["compare", "--collection", "tiny", "no.run"], 2, ["--baseline is missing"]),
        (["expand", "--collection", "tiny", "--output", "e.jsonl"], 2, ["--generator is missing"]),
        (["expand", "--collection", "tiny", "--generator", "echo"], 2, ["--output is missing", "or --dry-run"]),
        (["expand", "--collection", "tiny", "--generator", "eco", "--dry-run"], 2, ["generator 'eco'", "Try: echo"]),
        (["expand", "--collection", "tiny", "--generator", "replay:no", "--dry-run"], 4, ["no is not there"]),
        (["expand", "--collection", "tiny", "--generator", "echo", "--dry-run", "--prompt", "pasage"], 2, ["passage"]),
        (["expand", "--collection", "tiny", "--generator", "echo", "--dry-run", "--samples", "0"], 2, ["samples is 0"]),
        (["expand", "--collection", "tiny", "--generator", "echo", "--dry-run", "--limit", "0"], 2, ["limit is 0"]),
        (["prompts", "show", "pasage"], 2, ["unknown prompt 'pasage'", "Try: passage"]),
        (["demo", "--ask", " "], 2, ["the question is blank"]),
        (["demo", "--output", "tiny/queries.jsonl"], 2, ["tiny/queries.jsonl is a file"]),
    ],
)  # fmt: skip
def test_commands_that_make_no_sense(fails, tiny, argv, code, messages):
    told = fails(*argv, code=code)
    assert all(message in told for message in messages), told


@pytest.mark.parametrize(
    ("measure", "messages"),
    [
        ("ndcg@10", ["unknown measure 'ndcg@10'", "Try: nDCG@10"]),
        ("ndcg_cut.10", ["Try: nDCG@10"]),
        ("nDCG@10,AP", ["Try: -m nDCG@10 -m AP"]),
        ("R", ["lacks its cutoff", "R@10"]),
    ],
)
def test_measures_that_do_not_exist(fails, tiny, tmp_path, measure, messages):
    (tmp_path / "out.run").write_text("1 Q0 d1 1 2.0 x\n")
    told = fails("evaluate", "--collection", "tiny", "-m", measure, "out.run")
    assert all(message in told for message in messages), told


def test_a_file_that_cannot_grow_leaves_nothing(start, tiny, tmp_path):
    rows = [{"topic_id": topic_id, "text": "long " * 1000} for topic_id in TOPICS]
    (tmp_path / "e.jsonl").write_bytes(jsonl(rows))
    before = set(tmp_path.iterdir())

    def lower_limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    process = start(
        *("export", "topics", "--collection", "tiny", "--expansions", "e.jsonl", "--output", "t.json"),
        preexec_fn=lower_limit,
    )
    _, told = process.communicate(timeout=60)
    assert process.returncode == 6
    assert told.startswith("expandr: t.json: ")
    assert "Traceback" not in told
    assert set(tmp_path.iterdir()) == before


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_leaves_nothing(fails, expandr, tiny, tmp_path, small_disk):
    rows = [{"topic_id": topic_id, "text": "long " * 5000} for topic_id in TOPICS]
    (tmp_path / "e.jsonl").write_bytes(jsonl(rows))
    export = ("export", "topics", "--collection", "tiny", "--expansions", "e.jsonl", "--output", small_disk / "t.json")
    told = fails(*export, code=6)
    assert f"{small_disk / 't.json'}: the disk is full" in told
    assert "make room there" in told


def test_a_read_only_disk_is_met_before_the_work(fails, tiny, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    told = fails("expand", "--collection", "tiny", "--generator", "echo", "--output", small_disk / "e.jsonl", code=6)
    assert f"{small_disk} cannot be written" in told
    assert "generated" not in told
