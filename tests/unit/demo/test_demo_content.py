"""The demo's content: documents of the running interpreter, questions, judgements and recorded expansions."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import defaultdict

import pytest

from expandr_ir import demo
from expandr_ir.collections import load_collection
from expandr_ir.io.files import read_jsonl
from expandr_ir.records import Document


@pytest.fixture(scope="module")
def by_id() -> dict[str, Document]:
    return {document.doc_id: document for document in demo.documents()}


def test_several_thousand_documents_sorted_each_once_and_none_of_other_packages(by_id, monkeypatch):
    def info_once(self):
        """Log once."""

    info_once.__module__ = "elsewhere.logging"
    monkeypatch.setattr(logging.Logger, "info_once", info_once, raising=False)
    assert list(demo.documents()) == list(by_id.values())
    doc_ids = list(by_id)
    assert doc_ids == sorted(set(doc_ids))
    assert 5000 < len(doc_ids) < 7000
    assert [doc_id for doc_id, document in by_id.items() if " at 0x" in document.text] == []


def test_a_document_is_words_parameters_and_docstring(by_id):
    document = by_id["textwrap.dedent"]
    assert document.title == "textwrap.dedent"
    assert document.text.startswith("textwrap dedent: dedent(text)\n\nRemove any common leading whitespace")
    assert by_id["concurrent.futures"].text.startswith("concurrent futures\n\nExecute computations asynchronously")
    constructed = by_id["concurrent.futures.ThreadPoolExecutor"].text
    assert "max_workers: The maximum number of threads" in constructed  # the constructor's


@pytest.mark.parametrize(
    ("name", "other_names"),
    [
        ("open", ["builtins.open", "io.open"]),
        ("OSError", ["IOError", "os.error", "socket.error"]),
        ("random.choice", ["random.Random.choice", "secrets.choice"]),
        ("asyncio.Queue", ["asyncio.queues.Queue"]),
        ("asyncio.TaskGroup", ["asyncio.taskgroups.TaskGroup"]),
        ("json.JSONEncoder", ["json.encoder.JSONEncoder"]),
        ("os.path.join", ["posixpath.join", "ntpath.join"]),
        ("io.StringIO", ["_io.StringIO"]),
        ("socket.socket.bind", ["socket.SocketType.bind"]),
        ("pathlib.PurePath.stem", ["pathlib.Path.stem", "pathlib.PosixPath.stem"]),
        ("time.perf_counter", ["timeit.default_timer"]),
        ("logging.Logger.critical", ["logging.Logger.fatal"]),
    ],
)
def test_each_object_stands_once_under_its_public_name(by_id, name, other_names):
    assert name in by_id
    assert [other for other in other_names if other in by_id and by_id[other].text == by_id[name].text] == []


@pytest.mark.parametrize("name", ["errno", "string.digits", "errno.EPERM", "int.__add__", "object.__init__", "this"])
def test_constants_and_boilerplate_are_no_documents(by_id, name):
    assert (name in by_id) == (name == "errno")


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_reading_is_silent_and_imports_the_standard_library_only():
    code = (
        "import sys; from expandr_ir.demo import documents; before = set(sys.modules); list(documents())\n"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "assert all(root.startswith('_') for root in roots), roots"
    )
    done = _python("-W", "error", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_docstrings_the_error_says_why():
    code = "from expandr_ir.demo import documents; next(documents())"
    done = _python("-OO", "-c", code)
    assert "MissingResourceError: this Python runs with -OO" in done.stderr


def test_every_question_has_an_answer_that_it_does_not_name(by_id):
    collection = load_collection("demo")
    topics, qrels = collection.topics(), collection.qrels()
    assert (collection.name, collection.splits(), collection.index_name) == ("demo", ["test"], None)
    assert next(collection.documents()) == next(iter(by_id.values()))
    assert collection.fingerprint() == load_collection("demo").fingerprint()
    assert len(topics) >= 64
    assert list(topics) == list(qrels) == sorted(topics)
    assert len({topic.text for topic in topics.values()}) == len(topics)
    assert {grade for grades in qrels.values() for grade in grades.values()} == {1, 2}
    assert {doc_id for grades in qrels.values() for doc_id in grades} <= by_id.keys()
    for topic_id, grades in qrels.items():
        answers = {doc_id for doc_id, grade in grades.items() if grade == 2}
        assert answers
        assert answers.isdisjoint(topics[topic_id].text.split())


def test_two_expansions_of_every_question_written_for_that_text():
    samples = defaultdict(list)
    for _, row in read_jsonl(demo.expansions_path()):
        samples[row["topic_id"]].append(row["sample"])
        assert row["topic_text"] == demo.topics()[row["topic_id"]].text
        assert 35 <= len(row["text"].split()) <= 100
    assert samples == {topic_id: [0, 1] for topic_id in demo.topics()}


def test_the_small_llm_wrote_about_every_question():
    rows = [row for _, row in read_jsonl(demo.smollm2_path())]
    assert [(row["topic_id"], row["topic_text"]) for row in rows] == [(i, t.text) for i, t in demo.topics().items()]
    assert {json.dumps(row["generator"], sort_keys=True) for row in rows} == {
        '{"engine": "local", "model": "SmolLM2-135M-Instruct.Q4_1", "revision": "b179c9523d0e6a0f"}'
    }
