"""Pyserini's names, with Pyserini and Java replaced by fakes: what they give, and what they raise."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from expandr_ir import jvm
from expandr_ir.collections import SplitReport, load_collection
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.records import Topic

TOPICS = {10: {"title": "ten"}, 9: {"title": "nine", "narrative": "x"}, 11: {"title": "eleven"}}


class JavaError(Exception):
    """Stands for jnius.JavaException."""


@pytest.fixture
def pyserini(monkeypatch, tmp_path):
    """A pyserini.search whose answers a test sets."""
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("9 0 007 1\n10 0 7 0\n99 0 7 1\n")
    search = ModuleType("pyserini.search")
    search.get_topics = lambda name: dict(TOPICS)
    search.get_qrels_file = lambda name: str(qrels)
    search._base = SimpleNamespace(topics_mapping={"dl19-passage": 1, "core17": 2})
    package = ModuleType("pyserini")
    package.search = search
    java = ModuleType("jnius")
    java.JavaException = JavaError
    for name, module in {"pyserini": package, "pyserini.search": search, "jnius": java}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(jvm, "start", lambda: None)
    monkeypatch.setattr(jvm, "java_class", lambda name: SimpleNamespace(getProperty=lambda key: f"/{key}"))
    return search


def raising(error):
    def call(name):
        raise error

    return call


def test_topics_and_qrels_of_a_name(pyserini):
    dl19 = load_collection("pyserini:dl19-passage")
    assert (dl19.name, dl19.index_name, dl19.splits()) == ("dl19", "msmarco-v1-passage", ["dl19-passage"])
    assert list(dl19.topics().items()) == [("9", Topic("9", "nine")), ("10", Topic("10", "ten"))]
    assert dl19.qrels() == {"9": {"007": 1}, "10": {"7": 0}, "99": {"7": 1}}
    assert dl19.report() == SplitReport("dl19-passage", 2, 1, 1, 3)


def test_an_unjudged_name_gives_all_topics_in_the_order_of_their_numbers(pyserini):
    pyserini.get_qrels_file = raising(FileNotFoundError("no qrels file"))
    core = load_collection("pyserini:core17")
    assert (core.name, core.index_name, core.splits()) == ("core17", None, [])
    assert list(core.topics()) == ["9", "10", "11"]
    with pytest.raises(InputError, match="has no judgements"):
        core.qrels()


def test_documents_are_in_the_index_only(pyserini):
    scifact, core = load_collection("pyserini:beir-v1.0.0-scifact-test"), load_collection("pyserini:core17")
    assert scifact.remove_own_document
    assert scifact.fingerprint() != load_collection("pyserini:dl19-passage").fingerprint()
    with pytest.raises(InputError, match="no documents to read") as caught:
        next(scifact.documents())
    assert caught.value.remedy == "--index beir-v1.0.0-scifact.flat"
    with pytest.raises(InputError, match="no documents to read"):
        core.fingerprint()


def test_an_unknown_name_suggests_the_nearest(pyserini):
    pyserini.get_topics = raising(ValueError("Topic core18 Not Found"))
    pyserini.get_qrels_file = raising(FileNotFoundError("no qrels file"))
    with pytest.raises(InputError, match="unknown collection 'pyserini:core18'") as caught:
        load_collection("pyserini:core18").topics()
    assert caught.value.remedy == "pyserini:core17"


@pytest.mark.parametrize("part", ["topics", "qrels"])
def test_without_a_network_the_file_to_place_is_named(pyserini, part):
    error = JavaError("java.io.IOException: Error downloading topics from https://x.org/a/qrels.dl19.txt\njava.io...")
    setattr(pyserini, "get_topics" if part == "topics" else "get_qrels_file", raising(error))
    with pytest.raises(MissingResourceError, match=rf"its {part} are not on this machine") as caught:
        load_collection("pyserini:dl19-passage").topics()
    assert caught.value.expected == "the file /user.home/.cache/pyserini/topics-and-qrels/qrels.dl19.txt"


def test_a_version_that_fetches_its_list_of_names(pyserini):
    pyserini.get_qrels_file = raising(OSError("<urlopen error [Errno -2] Name or service not known>"))
    with pytest.raises(MissingResourceError, match="nor the list of its names") as caught:
        load_collection("pyserini:dl19-passage").topics()
    assert caught.value.remedy == "--topics FILE and --qrels FILE, with --index"
