"""The embedded collection: questions about the Python standard library, and its docstrings.

The documents are the docstrings of the Python that runs (`stdlib`); none of that text is stored here. Beside them lie
topics.jsonl, graded judgements by qualified name (qrels.tsv: 2 answers the question, 1 helps) and two recorded LLM
expansions of each topic (expansions.jsonl), written from the question alone. docs/demo.md tells how all were made.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from expandr_ir.collections import Collection
from expandr_ir.collections.facts import CollectionFacts
from expandr_ir.demo.stdlib import documents
from expandr_ir.errors import InputError
from expandr_ir.io.files import sha256_json
from expandr_ir.io.qrels import read_qrels
from expandr_ir.io.topics import read_topics
from expandr_ir.records import Document, Qrels, Topic

__all__ = ["DemoCollection", "documents", "expansions_path", "qrels", "smollm2_path", "topics"]

_FOLDER = Path(__file__).parent


def topics() -> dict[str, Topic]:
    """The questions by topic_id, in the order of their ids."""
    return read_topics(_FOLDER / "topics.jsonl")


def qrels() -> Qrels:
    """The judgements of every topic: topic_id -> doc_id -> 2 (answers the question) or 1 (helps)."""
    return read_qrels(_FOLDER / "qrels.tsv")


def expansions_path() -> Path:
    """The recorded LLM expansions: JSONL with topic_id, sample (0 and 1), topic_text and text."""
    return _FOLDER / "expansions.jsonl"


def smollm2_path() -> Path:
    """One expansion of each topic by the generator smollm2, as `expandr run` wrote them (docs/demo.md)."""
    return _FOLDER / "smollm2.jsonl"


class DemoCollection(Collection):
    """The documentation of the Python standard library, with questions as people ask them; its one split is "test"."""

    def __init__(self, name: str = "") -> None:
        if name:
            raise InputError(f"demo:{name}", expected="demo", remedy="--collection demo")
        super().__init__("demo", "demo", CollectionFacts())

    def splits(self) -> list[str]:
        """The split "test"."""
        return ["test"]

    def fingerprint(self) -> str:
        """A SHA-256 of the documents themselves: other versions of Python have others."""
        return _fingerprint()

    def _read_topics(self) -> dict[str, Topic]:
        return topics()

    def _read_qrels(self, split: str) -> Qrels:  # noqa: ARG002 (there is one split)
        return qrels()

    def _read_documents(self) -> Iterator[tuple[str, Document]]:
        return ((f"demo, document {number}", document) for number, document in enumerate(documents(), start=1))


@cache
def _fingerprint() -> str:
    """Reading every docstring takes over half a second, and an interpreter's do not change while it runs."""
    return sha256_json([[document.doc_id, document.title, document.text] for document in documents()])
