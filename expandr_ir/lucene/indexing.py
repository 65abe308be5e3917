"""Build the Lucene index of a collection, exactly as Pyserini's BEIR regressions do, and keep it for the next time."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.files import home, sha256_json
from expandr_ir.jvm import anserini_version, in_java, java_class, java_text
from expandr_ir.lucene import MANIFEST, Fields, LuceneIndex, open_index, read_index_manifest
from expandr_ir.manifest import installed_versions
from expandr_ir.records import Document

log = logging.getLogger(__name__)

_COLLECTION_CLASS = {"flat": "BeirFlatCollection", "multifield": "BeirMultifieldCollection"}
_LACKS = {"flat": "neither title nor text", "multifield": "no text"}
"""What an empty document lacks, which Anserini leaves out."""


class Indexable(Protocol):
    """What `cached_index` needs to know of a collection."""

    name: str

    def fingerprint(self) -> str:
        """A SHA-256 that identifies the documents."""
        ...

    def documents(self) -> Iterator[Document]:
        """Each document once."""
        ...


def cached_index(
    collection: Indexable, fields: Fields = "flat", on_progress: Callable[[int], None] | None = None
) -> LuceneIndex:
    """The index of a collection, built where it is not in the `indexes` folder of `files.home()` yet.

    Its key is made of the collection's fingerprint, the fields and Anserini's version: a changed collection never meets
    an old index.

    Args:
        collection: whose documents.
        fields: "flat" (title and text in one field) or "multifield" (in two).
        on_progress: called now and then while documents are read, with how many there are so far.

    Raises:
        InputError: the collection has no documents, one document id twice, or an index that was damaged since.
        ExpandrError: not every document came to be in the index.
    """
    fingerprint = collection.fingerprint()
    key = sha256_json([fingerprint, fields, anserini_version()])
    name = re.sub(r"[^\w.-]+", "-", collection.name)
    directory = home() / "indexes" / f"{name}-{fields}-{key[:16]}"
    if not directory.exists():
        _build(collection.documents(), fields, directory, fingerprint, 1, on_progress)
    try:
        if read_index_manifest(directory).get("fingerprint") != fingerprint:
            raise InputError(f"{directory} is not the index of {collection.name}", expected="its fingerprint inside")
        return open_index(directory)
    except InputError as error:
        raise InputError(
            error.found, expected=error.expected, remedy=f"rm -r {directory}; then it is built anew"
        ) from error


def build_index(
    documents: Iterable[Document],
    fields: Fields,
    directory: Path,
    fingerprint: str,
    threads: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> LuceneIndex:
    """The index of these documents, in a new folder that appears there complete or not at all.

    Of two processes that build the same index at once, the one that is done first wins, and both get its index.

    Args:
        documents: read once, as a stream.
        fields: "flat" (title and text in one field) or "multifield" (in two).
        directory: where the index is to stand; it must not exist.
        fingerprint: identifies the documents; recorded in the manifest.
        threads: Anserini's indexing threads.
        on_progress: called now and then while documents are read, with how many there are so far.

    Raises:
        InputError: `directory` exists, there are no documents, all are empty, or one document id occurs twice.
        ExpandrError: not every document came to be in the index.
        OSError: the folder cannot be written, or the disk is full.
    """
    if directory.exists():
        raise InputError(
            f"{directory} is there already", expected="a new folder", remedy="open it, name another, or delete it"
        )
    _build(documents, fields, directory, fingerprint, threads, on_progress)
    return open_index(directory)


def _build(
    documents: Iterable[Document],
    fields: Fields,
    directory: Path,
    fingerprint: str,
    threads: int,
    on_progress: Callable[[int], None] | None,
) -> None:
    """Builds in a folder beside `directory`, and renames it when it is complete."""
    with _beside(directory) as temporary:
        (temporary / "corpus").mkdir()
        written = _write_corpus(documents, temporary / "corpus" / "corpus.jsonl", on_progress)
        index = temporary / "index"
        empty = _run_anserini(temporary / "corpus", index, fields, threads)
        if empty == written:
            raise InputError(f"all {written} documents have {_LACKS[fields]}", expected="at least one to index")
        with closing(open_index(index)) as built:
            _check(built, written, empty, fields, fingerprint)
        try:
            index.rename(directory)
        except OSError:
            if read_index_manifest(directory).get("fingerprint") != fingerprint:
                raise


@contextmanager
def _beside(directory: Path) -> Iterator[Path]:
    """A new folder beside another one, deleted at the end; what a killed process left there is named in the log."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    for other in directory.parent.glob(f".{directory.name}.*.tmp"):
        log.warning("%s: another process builds this index, or was killed as it did (delete the folder then)", other)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".tmp", dir=directory.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_corpus(documents: Iterable[Document], path: Path, on_progress: Callable[[int], None] | None) -> int:
    """The number of documents, after writing them as Anserini's BEIR collections read them."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for count, document in enumerate(documents, start=1):
            # Anserini loses the rest of the file where a document has no title.
            row = {"_id": document.doc_id, "title": document.title, "text": document.text}
            stream.write(java_text(json.dumps(row, ensure_ascii=False)) + "\n")
            if on_progress and count % 1000 == 0:
                on_progress(count)
    if count == 0:
        raise InputError("there are no documents to index", expected="at least one document")
    if on_progress:
        on_progress(count)
    return count


def _run_anserini(corpus: Path, index: Path, fields: Fields, threads: int) -> int:
    """Indexes a folder with the options of the BEIR regressions; returns how many empty documents were left out."""
    with in_java(f"indexing into {index.parent}"):
        memory = java_class("java.lang.Runtime").getRuntime().maxMemory() // 2**20
        options = {
            "-collection": _COLLECTION_CLASS[fields],
            "-generator": "DefaultLuceneDocumentGenerator",
            "-input": str(corpus),
            "-index": str(index),
            "-threads": str(threads),
            # Anserini's own 4 GiB of buffer would not fit into a small heap; the scores do not depend on it.
            "-memoryBuffer": str(min(4096, memory // 2)),
        }
        words = [word for option in options.items() for word in option]
        words += ["-storePositions", "-storeDocvectors", "-storeRaw", "-quiet"]
        words += ["-fields", "title"] if fields == "multifield" else []
        arguments = java_class("io.anserini.index.IndexCollection$Args")()
        parser = java_class("org.kohsuke.args4j.CmdLineParser")(arguments)
        parser.parseArgument(java_class("java.util.Arrays").asList(*words))
        indexer = java_class("io.anserini.index.IndexCollection")(arguments)
        indexer.run()
        empty: int = indexer.getCounters().empty.get()
        return empty


def _check(index: LuceneIndex, written: int, empty: int, fields: Fields, fingerprint: str) -> None:
    """Counts the documents, looks for twins, and writes the manifest that makes the index complete."""
    import numpy as np

    stats = index.stats()
    if stats.documents + empty != written:
        raise ExpandrError(
            f"Anserini indexed {stats.documents} of {written} documents, and left out {empty} empty ones",
            expected="each document in the index or empty",
            remedy="look at what it wrote to stdout; memory and disk are the usual reasons",
        )
    if empty:
        log.warning("%d of %d documents have %s: they are not in the index", empty, written, _LACKS[fields])
    ids = np.sort(index.doc_ids)
    twins = ids[1:][ids[1:] == ids[:-1]]
    if len(twins):
        raise InputError(f"document {twins[0].decode()!r} occurs twice", expected="each document id once")
    manifest = {
        "documents": stats.documents,
        "empty_left_out": empty,
        "non_empty": stats.non_empty,
        "terms": stats.terms,
        "fields": fields,
        "fingerprint": fingerprint,
        "versions": installed_versions() | {"anserini": anserini_version()},
    }
    (index.path / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
