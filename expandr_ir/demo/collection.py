"""The demo as a collection: documents from the running interpreter, topics and judgements from this folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from expandr_ir.collections import Collection
from expandr_ir.collections.facts import CollectionFacts
from expandr_ir.demo import documents, qrels, topics
from expandr_ir.errors import InputError
from expandr_ir.io.files import sha256_json
from expandr_ir.records import Document, Qrels, Topic


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
