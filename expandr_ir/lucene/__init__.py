"""Open a Lucene index: the user's own, one that was built here, or one that Pyserini offers by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.jvm import LOCK, java_class, start
from expandr_ir.lucene.docids import doc_ids
from expandr_ir.prebuilt import prebuilt_index

if TYPE_CHECKING:
    import numpy as np

Fields: TypeAlias = Literal["flat", "multifield"]
"""Which index of a collection: title and text in one field, or in two."""

MANIFEST = "manifest.json"
_REBUILD = "index the collection again: expandr index --collection C"


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What an index holds, counted as Anserini's regressions count it.

    Args:
        documents: documents.
        non_empty: documents whose field `contents` has at least one term.
        terms: occurrences of terms in the field `contents`.
    """

    documents: int
    non_empty: int
    terms: int


class LuceneIndex:
    """An open Lucene index, as of the commit that was the newest when it was opened.

    Args:
        path: its folder.
        fields: "multifield" where it was built so, and is searched so unless told otherwise.

    Raises:
        MissingResourceError: there is no such folder.
        InputError: it is no Lucene index, it is damaged, of another Lucene, or it has no field `contents`.
    """

    def __init__(self, path: Path, fields: Fields) -> None:
        self.path, self.fields = path, fields
        self.reader: Any = _open_reader(path)
        with LOCK:
            found = java_class("org.apache.lucene.index.FieldInfos").getIndexedFields(self.reader)
            self.field_names: frozenset[str] = frozenset(found.toArray())
        if "contents" not in self.field_names:
            raise InputError(
                f"{path}: this Lucene index has the fields {', '.join(sorted(self.field_names)) or 'none'}",
                expected="a field `contents`, as indexes by Anserini and Pyserini have it",
                remedy=_REBUILD,
            )

    @cached_property
    def doc_ids(self) -> np.ndarray:
        """The document ids by Lucene's number: a memory-mapped array of UTF-8 bytes, shape (max_doc,)."""
        return doc_ids(self.path, self.reader)

    def searcher(self, k1: float, b: float) -> Any:
        """Lucene's IndexSearcher with BM25 of these parameters."""
        with LOCK:
            searcher = java_class("org.apache.lucene.search.IndexSearcher")(
                self.reader, signature="(Lorg/apache/lucene/index/IndexReader;)V"
            )
            searcher.setSimilarity(java_class("org.apache.lucene.search.similarities.BM25Similarity")(k1, b))
            return searcher

    def close(self) -> None:
        """Lets go of the index's files."""
        with LOCK:
            self.reader.close()

    def stats(self) -> IndexStats:
        """How many documents and terms the index holds."""
        with LOCK:
            found = java_class("io.anserini.index.IndexReaderUtils").getIndexStats(self.reader, "contents")
            return IndexStats(found.get("documents"), found.get("non_empty_documents"), found.get("total_terms"))


def open_index(path: str | Path) -> LuceneIndex:
    """The Lucene index in a folder, whoever built it.

    Raises:
        MissingResourceError: there is no such folder.
        InputError: the folder is no index that can be searched; the message says why.
    """
    path = Path(path).expanduser()
    manifest = read_index_manifest(path)
    return LuceneIndex(path, manifest.get("fields", "flat"))


def open_named(name: str) -> LuceneIndex:
    """The index that Pyserini offers by that name, downloaded by Pyserini where it is not in its cache yet.

    Raises:
        InputError: Pyserini has no such index for BM25.
        MissingResourceError: it cannot be downloaded.
    """
    path = prebuilt_index(name, "index")
    return LuceneIndex(path, "multifield" if name.endswith(".multifield") else "flat")


def read_index_manifest(path: Path) -> dict[str, Any]:
    """The manifest of an index that was built here; {} for any other folder."""
    try:
        return dict(json.loads((path / MANIFEST).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise InputError(f"{path / MANIFEST} is no manifest ({error})", remedy=_REBUILD) from error


def _open_reader(path: Path) -> Any:
    """Lucene's DirectoryReader of a folder."""
    if not path.exists():
        raise MissingResourceError(f"{path} is not there", expected="the folder of a Lucene index", remedy=_REBUILD)
    if not path.is_dir() or not any(path.glob("segments_*")):
        raise InputError(f"{path} is no Lucene index", expected="a folder with a file segments_N", remedy=_REBUILD)
    with LOCK:
        start()
        from jnius import JavaException

        folder = java_class("java.nio.file.Paths").get(str(path.resolve()))
        try:
            directory = java_class("org.apache.lucene.store.FSDirectory").open(folder)
            return java_class("org.apache.lucene.index.DirectoryReader").open(directory)
        except JavaException as error:
            kind = error.classname.rsplit(".", 1)[-1]
            raise InputError(
                f"{path}: Lucene cannot open this index ({kind}: {error.innermessage})",
                expected="a complete index of this Lucene's version, or the one before",
                remedy=_REBUILD,
            ) from error
