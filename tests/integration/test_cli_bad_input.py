"""Bad input, end to end: the exit code, a message that names file, line and remedy, and nothing half-written."""

from __future__ import annotations

import json
import resource
import shlex
import signal
from pathlib import Path

import pytest

CORPUS = {"d1": "cats chase mice", "d2": "dogs chase cats", "d3": "mice eat cheese"}
TOPICS = {"1": "what do cats chase", "2": "who eats cheese"}
HEADER = "query-id\tcorpus-id\tscore\n"


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


DOCUMENTS = jsonl({"_id": doc_id, "title": "", "text": text} for doc_id, text in CORPUS.items())
QUERIES = jsonl({"_id": topic_id, "text": text} for topic_id, text in TOPICS.items())
EXPANSIONS = jsonl({"topic_id": topic_id, "text": f"about {text}"} for topic_id, text in TOPICS.items())


@pytest.fixture
def tiny(tmp_path):
    """A collection of three documents and two topics, an expansions file e.jsonl, and good.run."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(DOCUMENTS)
    (folder / "queries.jsonl").write_text(QUERIES)
    (folder / "qrels" / "test.tsv").write_text(f"{HEADER}1\td1\t1\n2\td3\t1\n")
    (tmp_path / "e.jsonl").write_text(EXPANSIONS)
    (tmp_path / "good.run").write_text("1 Q0 d1 1 2.0 x\n2 Q0 d3 1 2.0 x\n")
    return folder


@pytest.fixture
def fails(expandr, tmp_path, shared_home):
    """Runs a command that must fail with all parts of a message, and leave every folder as it was."""

    def files():
        paths = {path for folder in (tmp_path, shared_home) for path in folder.rglob("*") if path.is_file()}
        return {path for path in paths if not path.is_relative_to(shared_home / "fingerprints")}

    def run(line, message, code=2):
        before = files()
        err = expandr(*shlex.split(line), code=code).err
        assert [part for part in message.split(" ... ") if part not in err] == [], err
        assert {path for path in files() if not path.name.startswith("store.sqlite")} == before
        return err

    return run


SEARCH = "search --collection tiny --output out.run"
EXPANDED = f"{SEARCH} --expansions e.jsonl"
EXPORT = "export topics --collection tiny --expansions e.jsonl --output t.json"
EVALUATE = "evaluate --collection tiny out.run"
COMPARE_SELF = "compare --collection tiny --baseline good.run e.jsonl"
COMPARE = "compare --collection tiny --baseline good.run out.run"


@pytest.mark.java
@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [  # one of each reader; their unit tests have the others
        ("tiny/corpus.jsonl", DOCUMENTS + '{"_id"\n', SEARCH, "corpus.jsonl, line 4: malformed JSON ... sed -n 4p"),
        ("tiny/queries.jsonl", jsonl([{"_id": "3", "text": " "}]), SEARCH, "line 1: topic '3' has no text"),
        ("tiny/qrels/test.tsv", "1\td1\t1\n", SEARCH, "line 1: 3 columns ... starts with the line"),
        ("tiny/qrels/test.tsv", f"{HEADER}1\td1\t1\n1\td1\t0\n", SEARCH, "line 3 ... grade 0, but 1 before"),
        ("e.jsonl", EXPANSIONS + "{\n", EXPORT, "e.jsonl, line 3: malformed JSON ... sed -n 3p e.jsonl"),
        ("e.jsonl", jsonl([{"topic_id": "1"}]), EXPANDED, "e.jsonl, line 1: neither text nor texts"),
        ("e.jsonl", jsonl([{"topic_id": "9", "text": "x"}]), EXPORT, "of other topics; it has 9, these are 1, 2"),
        ("e.jsonl", EXPANSIONS.splitlines()[0], EXPANDED, "1 of 2 topics have no expansion: 2 ... --skip-missing"),
        ("out.run", "9 Q0 d1 1 2.0 x\n", COMPARE, "out.run, line 1: topic '9' is not among the collection's topics"),
        ("tiny/qrels/test.tsv", f"{HEADER}1\td1\t100000000\n", SEARCH, "test.tsv, line 2: the grade 100000000"),
        ("e.jsonl", '{"a":' + "[" * 3000 + "]" * 3000 + "}", EXPORT, "e.jsonl, line 1: malformed JSON ... 100 deep"),
        (
            "good.run.manifest.json",
            '{"seconds": {"search": "1.0"}}',
            COMPARE_SELF,
            "good.run.manifest.json is not a manifest",
        ),
        ("out.run", "1 Q0 d1 1 2.0\n", EVALUATE, "out.run, line 1: 5 columns ... topic_id Q0 doc_id rank score tag"),
    ],
)
def test_files_that_cannot_be_read(fails, tiny, name, content, line, message):
    Path(name).write_text(content)
    fails(line, message)


@pytest.mark.java
def test_what_does_not_fit_together_is_counted_and_said(expandr, tiny):
    (tiny / "queries.jsonl").write_text(QUERIES + jsonl([{"_id": "3", "text": "unjudged"}]))
    (tiny / "qrels" / "test.tsv").write_text(f"{HEADER}1\td1\t1\n8\td1\t1\n9\td2\t1\n")
    err = expandr(*SEARCH.split()).err
    assert "split test: 1 topics are judged; 2 others are left out" in err
    assert "split test: 2 judged topics have no text and are left out" in err
    assert Path("out.run").read_text().split()[0] == "1"
    out = expandr("evaluate", "--collection", "tiny", "out.run").out
    assert "judged topics without a hit, counted as 0: 2 of 3" in out


@pytest.mark.java
def test_indexes_that_are_none_or_anothers(fails, expandr, tiny):
    fails(f"{SEARCH} --index ./tiny", "tiny is no Lucene index")
    fails(f"{SEARCH} --index ./nowhere", "nowhere is not there", code=4)
    fails(f"{SEARCH} --index msmarco-passag", "unknown folder or Pyserini index 'msmarco-passag'")
    index = expandr("index", "--collection", "tiny").out.splitlines()[0]
    (tiny / "corpus.jsonl").write_text(DOCUMENTS + jsonl([{"_id": "d4", "text": "new"}]))
    message = f"the index {index} was built of other documents than tiny has ... leave --index out"
    fails(f"{SEARCH} --index {index}", message)
    expandr("search", "--topics", "tiny/queries.jsonl", "--index", index, "--output", "bare.run")
    expandr(*SEARCH.split())  # the changed collection gets an index of its own


@pytest.mark.java
def test_an_index_in_the_cache_that_was_damaged_since(fails, expandr, tiny):
    (tiny / "corpus.jsonl").write_text(DOCUMENTS + jsonl([{"_id": "d5", "text": "to be damaged"}]))
    index = Path(expandr("index", "--collection", "tiny").out.splitlines()[0])
    for manifest in ('{"fields": ', '{"fields": "flat", "fingerprint": "another"}', None):
        (index / "manifest.json").unlink()
        if manifest:
            (index / "manifest.json").write_text(manifest)
        fails(SEARCH, f"{index} ... Try: rm -r {index}; then it is built anew")


@pytest.mark.java
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--split trian", "unknown split of tiny 'trian'"),
        ("--aggregation repaet", "unknown aggregation 'repaet' ... Try: repeat"),
        ("--aggregation append", "'append' has no expansions to work with ... Try: --expansions FILE"),
        ("--own-document drop", "unknown value of --own-document 'drop' ... one of auto, keep, remove"),
        ("--hits 0", "hits is 0 ... 1 or more"),
        ("--hits many", "--hits many ... Expected: a whole number"),
        ("--k1 -1", "k1 = -1.0"),
        ("--weight 2", "weight is 2.0"),
        ("--repeats rows", "--repeats rows ... a whole number or row"),
        ("--rm3 --rocchio", "RM3 and Rocchio at once"),
        ("--heap much", "'much' is no amount of memory"),
        ("--tag 'two words'", "the tag is 'two words'"),
        ("--topics-field text", "--topics-field without --topics"),
        ("--hit 3", "unknown option of expandr search '--hit' ... Try: --hits"),
        ("extra", "'extra' is not an option"),
        ("--hits", "--hits has no value"),
        ("--output .", "--output . is a folder"),
        ("--output tiny/queries.jsonl --topics tiny/queries.jsonl", "is also read"),
    ],
)
def test_options_that_make_no_sense(fails, tiny, monkeypatch, options, message):
    if "much" in options:
        monkeypatch.setattr("expandr_ir.jvm._started_in", None)
        monkeypatch.setattr("jnius_config.vm_running", False)
    fails(f"{SEARCH} {options}", message)


EXPAND = "expand --collection tiny --dry-run --generator"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("serach", 2, "unknown verb 'serach' ... Try: search"),
        ("store", 2, "ls|show|export|import|verify"),
        ("store list", 2, "unknown verb of expandr store 'list'"),
        ("search --collection tiny", 2, "--output is missing ... expandr search --help"),
        ("search --output x.run", 2, "no topics are named ... --collection C or --topics FILE"),
        ("search --topics no.tsv --output x.run", 4, "no.tsv is not there"),
        ("search --topics tiny/queries.jsonl --output x.run", 2, "there is nothing to search in"),
        ("search --collection tinny --output x.run", 2, "'tinny' is no collection ... Try: tiny"),
        ("index --collection irds:no/such", 2, "unknown collection 'irds:no/such'"),
        ("evaluate --collection tiny", 2, "no run is named"),
        ("evaluate --collection tiny no.run", 4, "no.run is not there"),
        ("evaluate no.run", 2, "no judgements are named ... --collection C or --qrels FILE"),
        ("evaluate --collection tiny -m ndcg@10 good.run", 2, "unknown measure 'ndcg@10' ... Try: nDCG@10"),
        ("evaluate --config none.yaml good.run", 4, "--config none.yaml: no such file"),
        ("compare --collection tiny no.run", 2, "--baseline is missing"),
        ("expand --collection tiny --output e.jsonl", 2, "--generator is missing"),
        ("expand --collection tiny --generator echo", 2, "--output is missing ... or --dry-run"),
        (f"{EXPAND} eco", 2, "generator 'eco' ... Try: echo"),
        (f"{EXPAND} replay:no", 4, "no is not there"),
        (f"{EXPAND} echo --prompt pasage", 2, "passage"),
        (f"{EXPAND} echo --samples 0", 2, "samples is 0"),
        (f"{EXPAND} echo --limit 0", 2, "limit is 0"),
        ("prompts show pasage", 2, "unknown prompt 'pasage' ... Try: passage"),
        ("demo --output tiny/queries.jsonl", 2, "tiny/queries.jsonl is a file"),
    ],
)
def test_commands_that_make_no_sense(fails, tiny, line, code, message):
    fails(line, message, code)


def test_a_file_that_cannot_grow_leaves_nothing(start, tiny, tmp_path):
    (tmp_path / "e.jsonl").write_text(jsonl({"topic_id": topic_id, "text": "long " * 1000} for topic_id in TOPICS))
    before = set(tmp_path.iterdir())

    def lower_limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    process = start(*EXPORT.split(), preexec_fn=lower_limit)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    assert err.startswith("expandr: t.json: ")
    assert "Traceback" not in err
    assert set(tmp_path.iterdir()) == before
