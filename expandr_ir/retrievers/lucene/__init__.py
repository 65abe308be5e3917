"""Lucene through Pyserini's jar: indexes opened and built, and searched with their hits moved in bulk.

Imports errors, records, jvm, progress, io and collections.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.files import read_json
from expandr_ir.jvm import LOCK, java_class, prebuilt_index

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
