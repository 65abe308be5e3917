"""`expandr train synthesize`: from a corpus to a collection that every verb reads."""

import json
import re

import pytest
from fake_llm_server import FakeServer, Reply

from expandr_ir.cli import main
from expandr_ir.collections import load_collection
from expandr_ir.io.files import read_jsonl
from expandr_ir.io.manifest import read_manifest
from expandr_ir.train.data.rows import read_rows

CROPS = ["oats", "wheat", "barley", "rye", "maize", "millet", "sorghum", "spelt", "rice", "teff", "quinoa", "emmer"]


PLAIN = ["--without-llm", "--round-trip", "null", "--dev-share", "0"]


def write_corpus(folder, rows):
    folder.mkdir(exist_ok=True)
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path):
    rows = [
        {"_id": f"d-{crop}", "title": f"How {crop} grows", "text": f"The crop {crop} is sown in spring number {number} "
         f"and needs field{number} with much water. It is harvested in autumn."}
        for number, crop in enumerate(CROPS)
    ]  # fmt: skip
    return write_corpus(tmp_path / "bare", rows)


def run(corpus, output, *more):
    return main(["train", "synthesize", "--corpus", str(corpus), "--output", str(output), *more])


def dropped(folder):
    return [(row["reason"], row["text"]) for _, row in read_jsonl(folder / "dropped.jsonl")]


def test_without_llm_the_result_is_a_collection(corpus, tmp_path, capsys):
    output = tmp_path / "made"
    argv = ["--without-llm", "--queries", "2", "--round-trip", "null", "--dev-share", ".3", "--format", "json"]
    assert run(corpus.parent, output, *argv) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[0])
    made = load_collection(output)
    assert made.splits() == ["dev", "train"]
    train, dev = made.topics("train"), made.topics("dev")
    assert not train.keys() & dev.keys()
    assert len(train) + len(dev) == figures["topics"] == figures["queries"] - len(dropped(output))
    assert [one.doc_id for one in made.documents()] == [f"d-{crop}" for crop in CROPS]
    assert (output / "corpus.jsonl").is_symlink()
    assert made.fingerprint() == load_collection(output).fingerprint()
    for split, topics in (("train", train), ("dev", dev)):
        grades = made.qrels(split)
        assert grades.keys() == topics.keys()
        for topic_id, topic in topics.items():
            ((doc_id, grade),) = grades[topic_id].items()
            assert grade == 1
            document = next(one for one in made.documents() if one.doc_id == doc_id)
            assert set(topic.text.split()) <= set(re.findall(r"\w+", f"{document.title} {document.text}"))
    rows = list(read_rows(output))
    assert len(rows) == len(train)
    assert all(len(row.positives) == 1 for row in rows)
    manifest = read_manifest(output / "queries.jsonl")
    assert manifest.describes(output / "queries.jsonl")
    assert manifest.counts["topics_dev"] == len(dev)
    assert sum(one["drawn"] for one in manifest.details["strata"]) == 12


def test_the_same_command_gives_the_same_files_and_another_seed_others(corpus, tmp_path):
    def made(name, *more):
        assert run(corpus, tmp_path / name, *PLAIN, *more) == 0
        return (tmp_path / name / "queries.jsonl").read_bytes()

    first = made("one", "--documents", "6")
    assert first == made("two", "--documents", "6") == made("one", "--documents", "6")
    assert first != made("three", "--documents", "6", "--seed", "1")
    assert not (tmp_path / "one" / "qrels" / "dev.tsv").exists()


def asks(body):
    """The document that a request of this package's own prompts shows, and what it wants."""
    text = body["messages"][-1]["content"]
    title, shown = text.split("Document:\n", 1)[1].split("\n", 2)[:2]
    return title, shown, text


def run_llm(server, corpus, output, *more):
    argv = ["--generator", "api:m", "--generator.api.base_url", server.url, "--round-trip", "null", "--dev-share", "0"]
    return run(corpus, output, *argv, "--store", str(output.parent / "store.sqlite"), *more)


def test_an_llm_writes_with_varied_manners_and_judges(corpus, tmp_path):
    def behave(_, body):
        title, _, text = asks(body)
        crop = title.split()[1]
        if "Reply with one digit" in text:
            return Reply(texts=({"oats": "0", "rye": "no idea"}.get(crop, "1."),))
        manner = re.search("Write what they type: (.*)\\.\n", text)[1]
        return Reply(texts=(f'"when to sow {crop}, {len(manner)} asked"',))

    output = tmp_path / "made"
    with FakeServer(behave) as server:
        assert run_llm(server, corpus, output, "--queries", "3", "--quality") == 0
        asked = len(server.bodies)
        assert run_llm(server, corpus, output, "--queries", "3", "--quality") == 0
        assert len(server.bodies) == asked  # all of it was stored
    rows = [row for _, row in read_jsonl(output / "queries.jsonl")]
    by_document = {}
    for row in rows:
        by_document.setdefault(row["metadata"]["doc_id"], set()).add(row["metadata"]["manner"])
    assert by_document.keys() == {f"d-{crop}" for crop in CROPS} - {"d-oats", "d-rye"}
    assert all(len(manners) == 3 for manners in by_document.values())
    assert len({manner for manners in by_document.values() for manner in manners}) == 6
    assert rows[0]["text"].startswith("when to sow ")  # the quotation marks are gone
    assert sorted({reason for reason, _ in dropped(output)}) == ["bad", "no_verdict"]
    assert len(dropped(output)) == 6
    manifest = read_manifest(output / "queries.jsonl")
    assert manifest.tokens["in"] == 10 * 72
    assert manifest.counts["dropped_bad"] == 3


def test_an_llm_that_returns_the_document(corpus, tmp_path, capsys):
    with FakeServer(lambda _, body: Reply(texts=(" ".join(asks(body)[:2]),))) as server:
        assert run_llm(server, corpus, tmp_path / "made") == 6
    said = capsys.readouterr().err
    assert "none of the 12 queries is left: 12 copied; such as 'How oats grows" in said
    assert "Try: an LLM that follows its prompt" in said
    assert not (tmp_path / "made" / "queries.jsonl").exists()


def test_an_llm_that_says_the_same_to_everything(corpus, tmp_path):
    with FakeServer(lambda *_: Reply(texts=("what is a crop",))) as server:
        assert run_llm(server, corpus, tmp_path / "made") == 0
    assert [reason for reason, _ in dropped(tmp_path / "made")] == ["duplicate"] * 11


def test_samples_that_fail_are_counted_and_tried_again(corpus, tmp_path):
    def behave(number, body):
        crop = asks(body)[0].split()[1]
        return Reply(status=400) if crop in {"teff", "rice"} and number <= 12 else Reply(texts=(f"sow {crop} when",))

    with FakeServer(behave) as server:
        assert run_llm(server, corpus, tmp_path / "made") == 7
        assert [reason for reason, _ in dropped(tmp_path / "made")] == ["failed"] * 2
        assert run_llm(server, corpus, tmp_path / "made") == 0
    assert dropped(tmp_path / "made") == []
    assert len(server.bodies) == 14


def test_dry_run_generates_nothing(corpus, tmp_path, capsys):
    with FakeServer() as server:
        assert run_llm(server, corpus, tmp_path / "made", "--queries", "2", "--dry-run", "--format", "json") == 0
    assert server.bodies == []
    figures = json.loads(capsys.readouterr().out)
    assert (figures["documents_drawn"], figures["to generate"], figures["stored"]) == (12, 24, 0)
    assert figures["new tokens, at most"] == 24 * 512
    assert not (tmp_path / "made").exists()


def test_a_corpus_that_gives_nothing(tmp_path, capsys):
    long = "the only document of this collection has a few more words than ten"
    path = write_corpus(tmp_path / "bare", [{"_id": "1", "title": "", "text": long}, {"_id": "2", "text": "short"}])
    assert run(path, tmp_path / "made", "--without-llm") == 2
    assert "of 2 documents 1 have fewer than 10 words and 0 are duplicates; 1 is left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "neither --generator nor --without-llm"),
        (["--without-llm", "--generator", "echo"], "--generator and --without-llm"),
        (["--without-llm", "--quality"], "--quality asks an LLM"),
        (["--without-llm", "--dev-share", "1"], "dev_share is 1"),
        (["--without-llm", "--extractive.kinds", "titel"], "titel"),
        (["--generator", "echo", "--prompts", "passage"], "prompt 'passage' shows {topic}"),
        (["--generator", "echo", "--prompts", "sinthetic-web"], "Try: synthetic-web"),
        (["--generator", "echo", "--quality", "--quality-prompt", "passage"], "prompt 'passage' asks for no verdict"),
    ],
)
def test_options_that_do_not_fit(argv, said, corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "store.sqlite"))
    assert run(corpus, tmp_path / "made", *argv) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_the_corpus_is_not_written_over(corpus, tmp_path, capsys):
    before = corpus.read_bytes()
    assert run(corpus, corpus.parent, *PLAIN) == 2
    assert "is where the corpus stands" in capsys.readouterr().err
    assert corpus.read_bytes() == before
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "corpus.jsonl").write_text("other")
    assert run(corpus, tmp_path / "made", *PLAIN) == 2
    assert (tmp_path / "made" / "corpus.jsonl").read_text() == "other"
    assert run(corpus, tmp_path / "copied", *PLAIN, "--corpus-as", "copy") == 0
    assert not (tmp_path / "copied" / "corpus.jsonl").is_symlink()
    assert (tmp_path / "copied" / "corpus.jsonl").read_bytes() == before


def test_a_part_without_queries_is_an_error(corpus, tmp_path, capsys):
    assert run(corpus, tmp_path / "made", *PLAIN[:-1], ".0001") == 6
    assert "queries is dev" in capsys.readouterr().err


@pytest.mark.java
def test_the_round_trip_drops_what_does_not_find_its_document(corpus, tmp_path, capsys):
    def behave(_, body):
        crop = asks(body)[0].split()[1]
        return Reply(texts=(f"maize harvest for {crop}th time" if crop in {"oats", "rye"} else f"grow {crop} at home",))

    output = tmp_path / "made"
    with FakeServer(behave) as server:
        assert run_llm(server, corpus, output, "--round-trip", "1") == 0
    assert dropped(output) == [
        ("not_found", "maize harvest for oatsth time"),
        ("not_found", "maize harvest for ryeth time"),
    ]
    assert run(corpus, tmp_path / "other", "--without-llm", "--dev-share", "0") == 0
    assert "the round trip says nothing: all 12 documents are among 20 hits" in capsys.readouterr().err


@pytest.mark.java
def test_another_language(tmp_path):
    fields = ["Weizen", "Roggen", "Gerste", "Hafer", "Mais", "Hirse", "Dinkel", "Reis", "Buchweizen", "Lein"]
    rows = [
        {"_id": name, "title": "", "text": f"Der {name} wächst auf großen Feldern; für {name} braucht man {number} "
         f"Wochen Regen. Später wird {name} mit Maschinen geerntet."} for number, name in enumerate(fields)
    ]  # fmt: skip
    rows += [
        {"_id": f"zh{n}", "title": "", "text": f"第{n}种谷物在春天播种。它需要很多水和阳光，秋天收获。"}
        for n in range(5)
    ]
    path = write_corpus(tmp_path / "bare", rows)
    assert run(path, tmp_path / "made", *PLAIN, "--queries", "2", "--round-trip", "12") == 0
    kept = {row["metadata"]["doc_id"] for _, row in read_jsonl(tmp_path / "made" / "queries.jsonl")}
    assert set(fields) <= kept
    assert any(doc_id.startswith("zh") for doc_id in kept)


@pytest.mark.java
@pytest.mark.slow
@pytest.mark.parametrize(("name", "documents", "least"), [("cacm", 3204, 0.9), ("cranfield", 1400, 0.95)])
def test_most_queries_of_real_collections_survive(name, documents, least, tmp_path, test_data):
    assert run(test_data / "classic" / name, tmp_path / "made", "--without-llm", "--queries", "2") == 0
    counts = read_manifest(tmp_path / "made" / "queries.jsonl").counts
    assert counts["documents"] == documents
    assert counts["topics"] >= least * counts["queries"] > 2 * least * (documents - 10)
    assert counts["topics"] + sum(n for key, n in counts.items() if key.startswith("dropped_")) == counts["queries"]
    assert 0.08 < counts["topics_dev"] / counts["topics"] < 0.12
