"""The documents that queries are made of: a corpus file alone, a folder without queries, or any collection."""

from __future__ import annotations

from pathlib import Path

from expandr_ir.collection import Collection, load_collection
from expandr_ir.collection.beir import BeirFolder
from expandr_ir.collection.facts import match_folder
from expandr_ir.records import Qrels, Topic

CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")
QUERIES = ("queries.jsonl", "queries.jsonl.gz")


class BareCorpus(BeirFolder):
    """Documents that nobody has asked for yet.

    Args:
        corpus: JSONL of {_id, title, text}, plain or .gz.
    """

    def __init__(self, corpus: Path) -> None:
        name, facts = match_folder(corpus.resolve().parent)
        Collection.__init__(self, str(corpus), name, facts)
        self._corpus = corpus

    def splits(self) -> list[str]:
        """None."""
        return []

    def _read_topics(self) -> dict[str, Topic]:
        return {}

    def _read_qrels(self, split: str) -> Qrels:  # noqa: ARG002
        raise self._without_qrels()


def load_corpus(spec: str) -> Collection:
    """The documents that a `--corpus` value names.

    Args:
        spec: a corpus file, a folder with one, or any collection.

    Raises:
        InputError, MissingResourceError: as `load_collection`.
    """
    path = Path(spec).expanduser()
    if path.is_file() and path.name.endswith((".jsonl", ".jsonl.gz")):
        return BareCorpus(path)
    if path.is_dir() and not any((path / name).is_file() for name in QUERIES):
        for name in CORPUS:
            if (path / name).is_file():
                return BareCorpus(path / name)
    return load_collection(spec)
