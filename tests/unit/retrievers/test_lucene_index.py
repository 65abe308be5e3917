"""Building, keeping and opening indexes of a handful of documents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from expandr_ir.collections.facts import CollectionFacts
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.jvm import java_class
from expandr_ir.records import Document
from expandr_ir.retrievers import lucene
from expandr_ir.retrievers.lucene import IndexStats, indexing, open_index, open_named
from expandr_ir.retrievers.lucene.indexing import build_index, cached_index
from expandr_ir.retrievers.lucene.searcher import LuceneSearcher

pytestmark = pytest.mark.java

CATS = [
    Document("d1", "Cats", "Cats purr when they sleep."),
    Document("007", "", "A dog barks at cats \ud83d and 😀 emoji"),
    Document("naïve-日本", "Only a title", ""),
    Document("empty", "", ""),
]


@dataclass
class Made:
    """A collection of given documents."""

    facts = CollectionFacts()
    given: list[Document]
    name: str = "made up/here"

    def fingerprint(self):
        return "-".join(document.doc_id for document in self.given)

    def documents(self):
        return iter(self.given)


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ids(index):
    reader, utils = index.reader, java_class("io.anserini.index.IndexReaderUtils")
    return [utils.convertLuceneDocidToDocid(reader, number) for number in range(reader.maxDoc())]


@pytest.mark.parametrize(
    ("fields", "left_out", "stats", "names", "doc_ids"),
    [
        # cat cat purr when sleep; dog bark cat 😀 emoji; onli titl (they, a, at are stopwords)
        (
            "flat", "1 of 4 documents have neither title nor text", IndexStats(documents=3, non_empty=3, terms=12),
            {"id", "contents"}, ["d1", "007", "naïve-日本"],
        ),
        (
            "multifield", "2 of 4 documents have no text", IndexStats(documents=2, non_empty=2, terms=9),
            {"id", "contents", "title"}, ["d1", "007"],
        ),
    ],
)  # fmt: skip
def test_fields_and_manifest(tmp_path, caplog, capfd, fields, left_out, stats, names, doc_ids):
    index = build_index(CATS, fields, tmp_path / "index", "f1")
    assert (index.stats(), index.field_names, ids(index)) == (stats, names, doc_ids)
    assert left_out in caplog.text
    assert capfd.readouterr() == ("", "")
    assert open_index(tmp_path / "index").fields == fields
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    assert IndexStats(manifest["documents"], manifest["non_empty"], manifest["terms"]) == stats
    assert (manifest["empty_left_out"], manifest["fields"], manifest["fingerprint"]) == (4 - len(doc_ids), fields, "f1")
    assert {"expandr_ir", "pyserini", "anserini", "python"} <= manifest["versions"].keys()
    with pytest.raises(InputError, match="is there already"):
        build_index(CATS, fields, tmp_path / "index", "f2")


@pytest.mark.parametrize("threads", [1, 2])
def test_documents_of_several_files_and_their_progress(tmp_path, monkeypatch, caplog, threads):
    seen = []

    @contextmanager
    def progress(description, total):
        counts = []
        yield counts.append
        seen.append((description, total, sum(counts)))

    monkeypatch.setattr(indexing, "progress", progress)
    monkeypatch.setattr(indexing, "FILE_DOCUMENTS", 7)
    documents = [Document(str(number), "", f"word w{number}" if number % 5 else "") for number in range(50)]
    index = build_index(documents, "flat", tmp_path / "index", "f", threads)
    assert seen == [("documents read", None, 50), ("documents indexed", 50, 40)]
    assert sorted(ids(index)) == sorted(document.doc_id for document in documents if document.text)
    assert index.stats() == IndexStats(documents=40, non_empty=40, terms=80)
    assert "10 of 50 documents have neither title nor text" in caplog.text


def test_lost_documents_are_an_error_that_names_both_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(lucene.LuceneIndex, "stats", lambda self: IndexStats(2, 2, 9))
    with pytest.raises(ExpandrError, match="indexed 2 of 4 documents, and left out 1 empty"):
        build_index(CATS, "flat", tmp_path / "index", "f")
    assert list(tmp_path.iterdir()) == []


def failing(error):
    yield CATS[0]
    raise error


@pytest.mark.parametrize(
    ("documents", "error", "message"),
    [
        ([], InputError, "no documents"),
        ([Document("a", "", ""), Document("b", " ", "\n")], InputError, "all 2 documents have neither title nor"),
        (failing(InputError("line 2")), InputError, "line 2"),
        (failing(KeyboardInterrupt()), KeyboardInterrupt, None),
        (failing(OSError(28, "No space left on device")), OSError, "No space"),
    ],
)
def test_an_error_leaves_nothing(tmp_path, documents, error, message):
    with pytest.raises(error, match=message):
        build_index(documents, "flat", tmp_path / "index", "f")
    assert list(tmp_path.iterdir()) == []


def test_cached_index_is_built_once_for_each_state_of_the_collection(own_home):
    first, again = cached_index(Made(CATS[:2])), cached_index(Made(CATS[:2]))
    changed, other_fields = cached_index(Made(CATS[:3])), cached_index(Made(CATS[:2]), "multifield")
    assert first.path == again.path
    assert len({first.path, changed.path, other_fields.path}) == 3
    assert first.path.parent == own_home / "indexes"
    assert first.path.name.startswith("made-up-here-flat-")
    assert changed.stats().documents == 3
    next(first.path.glob("*.fnm")).write_bytes(b"")
    with pytest.raises(InputError, match=f"rm -r {first.path}"):
        cached_index(Made(CATS[:2]))


def test_two_processes_build_one_index(own_home):
    code = """
        import time
        from types import SimpleNamespace
        from expandr_ir.retrievers.lucene.indexing import cached_index
        from expandr_ir.collections.facts import CollectionFacts
        from expandr_ir.records import Document

        def documents():
            for number in range(20):
                time.sleep(0.05)
                yield Document(str(number), "", "word")

        slow = SimpleNamespace(name="slow", facts=CollectionFacts(), fingerprint=lambda: "f", documents=documents)
        print(cached_index(slow).stats().documents)
    """
    processes = [python(code, EXPANDR_HOME=str(own_home)) for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in processes] == ["20\n"] * 2
    assert len(list((own_home / "indexes").iterdir())) == 1


@pytest.mark.parametrize("stage", ["reading", "indexing"])
def test_what_is_killed_starts_anew(own_home, caplog, stage):
    code = f"""
        import time
        from types import SimpleNamespace
        from expandr_ir.collections.facts import CollectionFacts
        from expandr_ir.records import Document
        from expandr_ir.retrievers.lucene import indexing

        def wait(*_):
            print("begun", flush=True)
            time.sleep(60)

        def documents():
            yield Document("d1", "", "word")
            if {stage == "reading"}:
                wait()

        indexing._complete = wait
        cats = dict(name="cats", facts=CollectionFacts(), fingerprint=lambda: "d1-007", documents=documents)
        indexing.cached_index(SimpleNamespace(**cats))
    """
    process = python(code, EXPANDR_HOME=str(own_home))
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any(path.suffix == ".building" for path in (own_home / "indexes").iterdir())
    index = cached_index(Made(CATS[:2], "cats"))
    assert index.stats().documents == 2
    assert "starts anew" in caplog.text
    assert list((own_home / "indexes").iterdir()) == [index.path]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error(small_disk, capfd):
    texts = [" ".join(f"w{number * 61 % 9973}x{word * 37 % 997}" for word in range(60)) for number in range(4000)]
    documents = [Document(str(number), "", text) for number, text in enumerate(texts)]
    with pytest.raises(ExpandrError, match="No space left on device\nTry: make room on the disk"):
        build_index(documents, "flat", small_disk / "index", "f")
    assert capfd.readouterr() == ("", "")
    assert list(small_disk.iterdir()) == []


def test_an_index_is_the_commit_that_was_opened(tmp_path):
    index = build_index(CATS[:1], "flat", tmp_path / "index", "f")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "corpus.jsonl").write_text('{"_id": "new one", "title": "", "text": "dogs"}\n')
    arguments = ["-collection", "BeirFlatCollection", "-input", tmp_path / "more", "-index", tmp_path / "index"]
    java_class("io.anserini.index.IndexCollection").main([*map(str, arguments), "-threads", "1", "-quiet"])
    assert (ids(open_index(tmp_path / "index")), ids(index)) == (["new one"], ["d1"])


def test_an_id_with_a_line_end_is_an_error(tmp_path):
    index = build_index([*CATS[:1], Document("a\nb", "", "cats")], "flat", tmp_path / "index", "f")
    with pytest.raises(InputError, match="a document id with a line end"):
        LuceneSearcher(index).search({"t": "cats"})


def foreign_index(path, *fields):
    """An index by Lucene itself, of one document."""
    directory = java_class("org.apache.lucene.store.FSDirectory").open(java_class("java.nio.file.Paths").get(str(path)))
    config = java_class("org.apache.lucene.index.IndexWriterConfig")()
    writer = java_class("org.apache.lucene.index.IndexWriter")(directory, config)
    document = java_class("org.apache.lucene.document.Document")()
    store = java_class("org.apache.lucene.document.Field$Store")
    for field in fields:
        document.add(java_class("org.apache.lucene.document.StringField")(field, "x", store.YES))
    writer.addDocument(document)
    writer.close()


def test_folders_of_something_else(tmp_path):
    foreign_index(tmp_path / "body", "body")
    with pytest.raises(InputError, match=r"has the fields body\n.*contents"):
        open_index(tmp_path / "body")
    foreign_index(tmp_path / "ids", "contents", "id")
    with pytest.raises(InputError, match="no ids that can be sorted by"):
        LuceneSearcher(open_index(tmp_path / "ids"))
    with pytest.raises(MissingResourceError, match="is not there"):
        open_index(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="is no Lucene index"):
            open_index(path)


@pytest.mark.parametrize("pattern", ["segments_*", "*.fnm", "*.dvd", "*.tim"])
def test_damaged_files(tmp_path, pattern):
    build_index(CATS, "flat", tmp_path / "index", "f")
    file = next((tmp_path / "index").glob(pattern))
    for left in (20, 0):
        file.write_bytes(file.read_bytes()[:left])
        with pytest.raises(InputError, match="Lucene cannot open this index"):
            open_index(tmp_path / "index")
    (tmp_path / "index" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        open_index(tmp_path / "index")


def test_an_index_by_pyserinis_name(tmp_path, monkeypatch, capfd):
    """As if Pyserini's cache held an index of ours under every name; then there is no network."""
    from expandr_ir.jvm import import_pyserini

    build_index(CATS, "multifield", tmp_path / "index", "f")
    (tmp_path / "index" / "manifest.json").unlink()
    download = lambda name, verbose: print("Downloading") or str(tmp_path / "index")  # noqa: E731
    monkeypatch.setattr(import_pyserini("pyserini.util"), "download_prebuilt_index", download)
    assert open_named("beir-v1.0.0-scifact.flat").fields == "flat"
    assert open_named("beir-v1.0.0-scifact.multifield").fields == "multifield"
    assert open_named("msmarco-v1-passage").stats().documents == 2
    assert capfd.readouterr().out == ""
    with pytest.raises(InputError, match=r"Try: beir-v1.0.0-scifact.flat"):
        open_named("beir-v1.0.0-scifact.flt")

    def offline(name, verbose):
        raise ValueError("Unable to download prebuilt index at any known URLs.")

    monkeypatch.setattr(import_pyserini("pyserini.util"), "download_prebuilt_index", offline)
    with pytest.raises(MissingResourceError, match=r"could not be downloaded.*\n.*https://.*\n.*--index FOLDER"):
        open_named("beir-v1.0.0-scifact.flat")
