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


def test_flat_holds_title_and_text_in_one_field(tmp_path, caplog):
    index = build_index(CATS, "flat", tmp_path / "index", "f1")
    # cat cat purr when sleep; dog bark cat 😀 emoji; onli titl (they, a, at are stopwords)
    assert index.stats() == IndexStats(documents=3, non_empty=3, terms=12)
    assert index.field_names == {"id", "contents"}
    assert ids(index) == ["d1", "007", "naïve-日本"]
    assert "1 of 4 documents have neither title nor text" in caplog.text


def test_multifield_holds_the_title_apart(tmp_path, caplog):
    index = build_index(CATS, "multifield", tmp_path / "index", "f1")
    assert index.stats() == IndexStats(documents=2, non_empty=2, terms=9)
    assert index.field_names == {"id", "contents", "title"}
    assert open_index(tmp_path / "index").fields == "multifield"
    assert "2 of 4 documents have no text" in caplog.text


def test_the_manifest_says_what_the_index_is_made_of(tmp_path):
    index = build_index(CATS, "flat", tmp_path / "index", "f1")
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    stats = IndexStats(manifest["documents"], manifest["non_empty"], manifest["terms"])
    assert stats == index.stats()
    assert manifest["empty_left_out"] == 1
    assert (manifest["fields"], manifest["fingerprint"]) == ("flat", "f1")
    assert {"expandr_ir", "pyserini", "anserini", "python"} <= manifest["versions"].keys()


def test_indexing_prints_nothing(tmp_path, capfd):
    build_index(CATS, "flat", tmp_path / "index", "f1")
    assert capfd.readouterr() == ("", "")


def test_progress_counts_documents(tmp_path, monkeypatch):
    seen = []

    @contextmanager
    def progress(description, total):
        counts = []
        yield counts.append
        seen.append((description, total, sum(counts)))

    monkeypatch.setattr(indexing, "progress", progress)
    monkeypatch.setattr(indexing, "FILE_DOCUMENTS", 1000)
    documents = [Document(str(number), "", "word") for number in range(2500)]
    index = build_index(documents, "flat", tmp_path / "index", "f")
    assert seen == [("documents read", None, 2500), ("documents indexed", 2500, 2500)]
    assert sorted(ids(index)) == sorted(document.doc_id for document in documents)


def test_lost_documents_are_an_error_that_names_both_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(lucene.LuceneIndex, "stats", lambda self: IndexStats(2, 2, 9))
    with pytest.raises(ExpandrError, match="indexed 2 of 4 documents, and left out 1 empty"):
        build_index(CATS, "flat", tmp_path / "index", "f")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("documents", "problem"),
    [
        ([], "no documents"),
        ([Document("a", "", ""), Document("b", " ", "\n")], "all 2 documents have neither title nor"),
    ],
)
def test_nothing_to_index(tmp_path, documents, problem):
    with pytest.raises(InputError, match=problem):
        build_index(documents, "flat", tmp_path / "index", "f")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "index").mkdir()
    with pytest.raises(InputError, match="is there already"):
        build_index(documents, "flat", tmp_path / "index", "f")


@pytest.mark.parametrize(
    "error", [InputError("line 2"), KeyboardInterrupt(), OSError(28, "No space left on device"), ExpandrError("Java")]
)
def test_an_error_leaves_nothing(tmp_path, error):
    def documents():
        yield CATS[0]
        raise error

    with pytest.raises(type(error)):
        build_index(documents(), "flat", tmp_path / "index", "f")
    assert list(tmp_path.iterdir()) == []


def test_cached_index_is_built_once_for_each_state_of_the_collection(own_home):
    first = cached_index(Made(CATS[:2]))
    again = cached_index(Made(CATS[:2]))
    changed = cached_index(Made(CATS[:3]))
    other_fields = cached_index(Made(CATS[:2]), "multifield")
    assert first.path == again.path
    assert len({first.path, changed.path, other_fields.path}) == 3
    assert first.path.parent == own_home / "indexes"
    assert first.path.name.startswith("made-up-here-flat-")
    assert changed.stats().documents == 3


def test_a_damaged_cached_index_says_which_folder_to_delete(own_home):
    path = cached_index(Made(CATS)).path
    next(path.glob("*.fnm")).write_bytes(b"")
    with pytest.raises(InputError, match=f"rm -r {path}"):
        cached_index(Made(CATS))


def test_two_processes_build_one_index(own_home):
    code = """
        import time
        from expandr_ir.retrievers.lucene.indexing import cached_index
        from expandr_ir.collections.facts import CollectionFacts
        from expandr_ir.records import Document

        class Slow:
            name, facts = "slow", CollectionFacts()
            def fingerprint(self):
                return "f"
            def documents(self):
                for number in range(20):
                    time.sleep(0.05)
                    yield Document(str(number), "", "word")

        print(cached_index(Slow()).stats().documents)
    """
    processes = [python(code, EXPANDR_HOME=str(own_home)) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [(process.returncode, out) for process, (out, _) in zip(processes, outputs, strict=True)] == [
        (0, "20\n")
    ] * 2
    assert len(list((own_home / "indexes").iterdir())) == 1


@pytest.mark.parametrize("stage", ["reading", "indexing"])
def test_what_is_killed_starts_anew(own_home, caplog, stage):
    code = f"""
        import time
        from expandr_ir.collections.facts import CollectionFacts
        from expandr_ir.records import Document
        from expandr_ir.retrievers.lucene import indexing

        def wait(*_):
            print("begun", flush=True)
            time.sleep(60)

        class Cats:
            name, facts = "cats", CollectionFacts()
            def fingerprint(self):
                return "d1-007"
            def documents(self):
                yield Document("d1", "", "word")
                if {stage == "reading"}:
                    wait()

        indexing._complete = wait
        indexing.cached_index(Cats())
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


@pytest.mark.parametrize("threads", [1, 2])
def test_documents_of_several_files(tmp_path, monkeypatch, caplog, threads):
    monkeypatch.setattr(indexing, "FILE_DOCUMENTS", 7)
    documents = [Document(str(number), "", f"word w{number}" if number % 5 else "") for number in range(50)]
    index = build_index(documents, "flat", tmp_path / "index", "f", threads)
    assert sorted(ids(index)) == sorted(document.doc_id for document in documents if document.text)
    assert index.stats() == IndexStats(documents=40, non_empty=40, terms=80)
    assert "10 of 50 documents have neither title nor text" in caplog.text


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


def test_an_index_that_cannot_be_written_is_searched(tmp_path):
    index = build_index(CATS, "flat", tmp_path / "index", "f")
    before = sorted((tmp_path / "index").iterdir())
    assert LuceneSearcher(index).search({"t": "cats"})["t"].doc_ids == ["d1", "007"]
    assert sorted((tmp_path / "index").iterdir()) == before


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


def test_an_index_of_something_else(tmp_path):
    foreign_index(tmp_path / "index", "body")
    with pytest.raises(InputError, match=r"has the fields body\n.*contents"):
        open_index(tmp_path / "index")


def test_an_index_without_ids(tmp_path):
    foreign_index(tmp_path / "index", "contents", "id")
    with pytest.raises(InputError, match="no ids that can be sorted by"):
        LuceneSearcher(open_index(tmp_path / "index"))


def test_folders_that_are_no_index(tmp_path):
    with pytest.raises(MissingResourceError, match="is not there"):
        open_index(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is no Lucene index"):
        open_index(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no Lucene index"):
        open_index(tmp_path / "file")


@pytest.mark.parametrize("pattern", ["segments_*", "*.fnm", "*.dvd", "*.tim"])
@pytest.mark.parametrize("left", [0, 20])
def test_damaged_files(tmp_path, pattern, left):
    build_index(CATS, "flat", tmp_path / "index", "f")
    file = next((tmp_path / "index").glob(pattern))
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(InputError, match="Lucene cannot open this index"):
        open_index(tmp_path / "index")


def test_a_damaged_manifest(tmp_path):
    build_index(CATS, "flat", tmp_path / "index", "f")
    (tmp_path / "index" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is no manifest"):
        open_index(tmp_path / "index")


@pytest.fixture
def prebuilt(tmp_path, monkeypatch):
    """Pyserini's download, as if its cache held an index of ours under every name."""
    from expandr_ir.jvm import import_pyserini

    build_index(CATS, "multifield", tmp_path / "index", "f")
    (tmp_path / "index" / "manifest.json").unlink()
    monkeypatch.setattr(
        import_pyserini("pyserini.util"),
        "download_prebuilt_index",
        lambda name, verbose: print("Downloading") or str(tmp_path / "index"),
    )


def test_an_index_by_pyserinis_name(prebuilt, capfd):
    assert open_named("beir-v1.0.0-scifact.flat").fields == "flat"
    assert open_named("beir-v1.0.0-scifact.multifield").fields == "multifield"
    assert open_named("msmarco-v1-passage").stats().documents == 2
    assert capfd.readouterr().out == ""


def test_an_unknown_name_suggests_the_nearest(prebuilt):
    with pytest.raises(InputError, match=r"Try: beir-v1.0.0-scifact.flat"):
        open_named("beir-v1.0.0-scifact.flt")


def test_a_name_that_cannot_be_downloaded(monkeypatch):
    from expandr_ir.jvm import import_pyserini

    def offline(name, verbose):
        raise ValueError("Unable to download prebuilt index at any known URLs.")

    monkeypatch.setattr(import_pyserini("pyserini.util"), "download_prebuilt_index", offline)
    with pytest.raises(MissingResourceError, match=r"could not be downloaded.*\n.*https://.*\n.*--index FOLDER"):
        open_named("beir-v1.0.0-scifact.flat")
