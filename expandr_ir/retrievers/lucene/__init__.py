"""Lucene through Pyserini's jar: indexes opened and built, and searched with their hits moved in bulk.

Imports errors, records, jvm, progress, io and collections.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.files import read_json
from expandr_ir.jvm import LOCK, java_class, java_text, prebuilt_index
from expandr_ir.records import Document

Fields: TypeAlias = Literal["flat", "multifield"]
"""Which index of a collection: title and text in one field, or in two."""

MANIFEST = "manifest.json"
REBUILD = "index the collection again: expandr index --collection C"


@dataclass(frozen=True, slots=True)
class IndexStats:
    """Documents, those with a term in the field `contents`, and terms of that field, as Anserini counts them."""

    documents: int
    non_empty: int
    terms: int


class LuceneIndex:
    """An open Lucene index, as of the commit that was the newest when it was opened."""

    def __init__(self, path: Path, fields: Fields) -> None:
        self.path, self.fields = path, fields
        self.reader: Any = _open_reader(path)
        with LOCK:
            names = java_class("org.apache.lucene.index.FieldInfos").getIndexedFields(self.reader)
            self.field_names: frozenset[str] = frozenset(names.toArray())
        if "contents" not in self.field_names:
            raise InputError(
                f"{path}: this Lucene index has the fields {', '.join(sorted(self.field_names)) or 'none'}",
                expected="a field `contents`, as indexes by Anserini and Pyserini have it",
                remedy=REBUILD,
            )

    def __repr__(self) -> str:
        return f"LuceneIndex({str(self.path)!r}, {self.fields!r})"

    def __str__(self) -> str:
        stats = self.stats()
        return f"{self.path}\n{stats.documents:,} documents ({stats.non_empty:,} with text), {stats.terms:,} terms"

    def stats(self) -> IndexStats:
        """The counts of documents and terms."""
        with LOCK:
            counts = java_class("io.anserini.index.IndexReaderUtils").getIndexStats(self.reader, "contents")
            return IndexStats(counts.get("documents"), counts.get("non_empty_documents"), counts.get("total_terms"))

    def documents(self, doc_ids: Iterable[str]) -> dict[str, Document]:
        """Those of the documents that the index has, as it stores them, by doc_id."""
        with LOCK:
            read = java_class("io.anserini.index.IndexReaderUtils").documentRaw
            stored = {doc_id: read(self.reader, java_text(doc_id)) for doc_id in doc_ids}
        return {doc_id: _document(doc_id, raw) for doc_id, raw in stored.items() if raw is not None}

    def close(self) -> None:
        """Lets go of the index's files."""
        with LOCK:
            self.reader.close()


def open_index(path: str | Path) -> LuceneIndex:
    """The Lucene index in a folder, whoever built it."""
    path = Path(path).expanduser()
    return LuceneIndex(path, read_index_manifest(path).get("fields", "flat"))


def open_named(name: str) -> LuceneIndex:
    """The index that Pyserini offers for BM25 by that name, downloaded by Pyserini where it is not in its cache yet."""
    path = prebuilt_index(name, "index")
    return LuceneIndex(path, "multifield" if name.endswith(".multifield") else "flat")


def read_index_manifest(path: Path) -> dict[str, Any]:
    """The manifest of an index that was built here; {} for any other folder."""
    return dict(read_json(path / MANIFEST, REBUILD)) if (path / MANIFEST).is_file() else {}


def _document(doc_id: str, raw: str) -> Document:
    """The document that an index stores as JSON with a title and a text, or with `contents`, or as a bare text."""
    try:
        row = json.loads(raw)
    except json.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        return Document(doc_id, "", raw)
    text = next((row[name] for name in ("text", "contents", "segment") if isinstance(row.get(name), str)), raw)
    return Document(doc_id, title if isinstance(title := row.get("title"), str) else "", text)


def _open_reader(path: Path) -> Any:
    if not path.exists():
        raise MissingResourceError(f"{path} is not there", expected="the folder of a Lucene index", remedy=REBUILD)
    if not path.is_dir() or not any(path.glob("segments_*")):
        raise InputError(f"{path} is no Lucene index", expected="a folder with a file segments_N", remedy=REBUILD)
    with LOCK:
        folder = java_class("java.nio.file.Paths").get(str(path.resolve()))
        from jnius import JavaException

        try:
            directory = java_class("org.apache.lucene.store.FSDirectory").open(folder)
            return java_class("org.apache.lucene.index.DirectoryReader").open(directory)
        except JavaException as error:
            kind = error.classname.rsplit(".", 1)[-1]
            raise InputError(
                f"{path}: Lucene cannot open this index ({kind}: {error.innermessage})",
                expected="a complete index of this Lucene's version, or the one before",
                remedy=REBUILD,
            ) from error
