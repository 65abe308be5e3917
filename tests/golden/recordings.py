"""Recordings of the command line's behaviour. EXPANDR_GOLDEN=record writes them anew, which is for new entries only."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shlex
from pathlib import Path

import yaml

HERE = Path(__file__).parent
RECORDING = os.environ.get("EXPANDR_GOLDEN") == "record"


def cases(section: str) -> dict[str, list[str]]:
    """The options of a section of cases.yaml, by name."""
    sections = yaml.safe_load((HERE / "cases.yaml").read_text())
    return {name: shlex.split(options) for name, options in sections[section].items()}


class Golden:
    """The recordings of one JSON file beside this module."""

    def recorded(self, file: str, name: str, got):
        """The recorded value of this name; `got` in its place while recording."""
        path = HERE / f"{file}.json"
        entries = json.loads(path.read_text()) if path.is_file() else {}
        if RECORDING:
            entries[name] = got
            lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(entries.items())]
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
            return json.loads(json.dumps(got))
        return entries[name]

    def check(self, file: str, name: str, got) -> None:
        assert json.loads(json.dumps(got)) == self.recorded(file, name, got)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows(path: Path) -> list[dict]:
    """The objects of a JSONL file, plain or .gz."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def write_rows(path: Path, objects) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in objects), encoding="utf-8")
    return path


def hits(path: Path) -> list[tuple[str, str, float]]:
    """(topic, document, score) of a TREC run, in the file's order."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(topic, document, float(score)) for topic, _, document, _, score, _ in lines]


def run_hashes(path: Path) -> dict:
    """The number of hits of a run, a hash of their ids in order, and one with their scores to 4 decimals."""
    found = hits(path)
    ids = "".join(f"{topic} {document}\n" for topic, document, _ in found)
    scores = "".join(f"{topic} {document} {score:.4f}\n" for topic, document, score in found)
    return {"hits": len(found), "ids": sha(ids), "scores": sha(scores)}
