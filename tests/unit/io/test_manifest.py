"""The manifest beside an output: written, read back, and not believed when the output has changed."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import expandr_ir
from expandr_ir.errors import InputError
from expandr_ir.io.manifest import InputFile, Summary, installed_versions, read_manifest, running, write_manifest


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    run, topics, folder = tmp_path / "a.trec", tmp_path / "topics.tsv", tmp_path / "index"
    run.write_text("1 Q0 d 1 1.0 t\n")
    topics.write_text("1\tx\n")
    folder.mkdir()
    assert read_manifest(run) is None
    with running(["expandr", "search"]):
        written = write_manifest(
            run,
            options={"hits": 10, "output": run},
            inputs={"topics": topics, "index": folder, "absent": tmp_path / "absent", "none": None},
            seeds={"sampling": 7},
            counts={"topics": 1},
            seconds={"search": 0.12345678},
            tokens={"in": 3, "out": 4},
            details={"lucene": {"k1": 0.9}},
        )
    assert read_manifest(run) == written
    assert written.output == InputFile("a.trec", hashlib.sha256(b"1 Q0 d 1 1.0 t\n").hexdigest())
    assert written.inputs["topics"].sha256 == hashlib.sha256(b"1\tx\n").hexdigest()
    assert written.inputs.keys() == {"topics", "index"}
    assert written.inputs["index"] == InputFile(str(folder.resolve()), None)
    assert written.config == {"hits": 10, "output": str(run)}
    assert written.seconds == {"search": 0.123457}
    assert written.command == ["expandr", "search"]
    assert written.started <= written.finished <= datetime.now(UTC).isoformat()
    assert written.versions == installed_versions()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.trec", "a.trec.manifest.json", "index", "topics.tsv"]
    assert written.describes(run)
    run.write_text("two")
    assert not written.describes(run)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"output": 1}', '{"output": {"path": "x"}}', "\xff"])
def test_other_files_are_no_manifests(content: str, tmp_path: Path) -> None:
    run, path = tmp_path / "a.trec", tmp_path / "a.trec.manifest.json"
    path.write_text(content, encoding="latin1")
    with pytest.raises(InputError, match=r"a\.trec\.manifest\.json is (not a manifest|damaged)(.|\n)*delete a\.trec"):
        read_manifest(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"seconds": {"search": "1.0"}}, r"'search' is '1\.0'\)\nExpected: a number"),
        ({"seconds": {"search": math.nan}}, "'search' is nan"),
        ({"seconds": {"search": 10**200}}, "'search' is 10000"),
        ({"seconds": [1.0]}, "'seconds' is a list"),
        ({"counts": {"topics": None}}, "'topics' is None"),
        ({"counts": {"topics": 1.5}}, "'topics' is 1.5"),
        ({"tokens": {"in": True}}, "'in' is True"),
        ({"inputs": {"expansions": "e.jsonl"}}, "'expansions' is 'e.jsonl'"),
        ({"inputs": {"expansions": {"path": 1, "sha256": None}}}, "'path' is 1"),
        ({"versions": {"python": 3}}, "'python' is 3"),
        ({"started": 0}, "'started' is 0"),
    ],
)
def test_a_manifest_of_wrong_types_names_the_key(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    run, path = tmp_path / "a.trec", tmp_path / "a.trec.manifest.json"
    run.write_text("one")
    write_manifest(run, seconds={"search": 1.0})
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message) as caught:
        read_manifest(run)
    assert f"{path} is not a manifest" in str(caught.value)
    assert caught.value.remedy == "make a.trec again, or delete a.trec.manifest.json"


def test_versions_are_found_without_importing_anything() -> None:
    before = set(sys.modules)
    versions = installed_versions()
    assert versions["expandr_ir"] == expandr_ir.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["ir-measures"][0].isdigit()
    assert not {"torch", "pyserini", "jnius"} & (set(sys.modules) - before)


def test_a_summary_is_a_figure_a_line_or_json() -> None:
    figures = {"to_generate": 12345, "share": 0.25, "reasons": {"lead_in": 2, "echo": 1}, "failed": {}, "mean": None}
    lines = str(Summary(figures, path="out")).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["to generate", "share", "reasons", "failed", "mean", "out"]
    assert [line[33:] for line in lines[:5]] == ["12,345", "0.250", "lead in 2, echo 1", "none", "none"]
    assert json.loads(str(Summary(figures, format="json"))) == figures
