"""Build the Lucene index of a collection, exactly as Pyserini's BEIR regressions do, and keep it for the next time."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.files import exclusive, home, sha256_json
from expandr_ir.jvm import anserini_version
from expandr_ir.lucene import MANIFEST, Fields, LuceneIndex, open_index, read_index_manifest
from expandr_ir.lucene.docids import repeated_id
from expandr_ir.lucene.parts import documents_done, index_in_parts
from expandr_ir.manifest import installed_versions
from expandr_ir.records import Document

log = logging.getLogger(__name__)

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
        on_progress: called now and then with how many documents are done; one that is read, and not indexed yet,
            counts half.

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

    Documents are indexed in parts: a run that was killed, or had no room on the disk, goes on after its last part, and
    says so. Of two processes that build the same index at once, one waits for the other; both get its index.

    Args:
        documents: read once, as a stream.
        fields: "flat" (title and text in one field) or "multifield" (in two).
        directory: where the index is to stand; it must not exist.
        fingerprint: identifies the documents; recorded in the manifest.
        threads: Anserini's indexing threads.
        on_progress: called now and then with how many documents are done; one that is read, and not indexed yet,
            counts half.

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
    with exclusive(directory.with_name(f".{directory.name}.lock"), lambda: _say_waiting(directory)):
        if directory.exists() and read_index_manifest(directory).get("fingerprint") == fingerprint:
            return  # another process was faster
        building = directory.with_name(f".{directory.name}.building")
        identity = sha256_json([fingerprint, fields, anserini_version()])
        try:
            done = index_in_parts(documents, building, identity, fields, threads, on_progress or (lambda _: None))
        except BaseException as error:
            if isinstance(error, InputError) or not documents_done(building):
                shutil.rmtree(building, ignore_errors=True)
            else:
                shutil.rmtree(building / "corpus", ignore_errors=True)
                log.warning("%d documents are indexed; the same command goes on after them", documents_done(building))
            raise
        try:
            if not done.documents:
                raise InputError("there are no documents to index", expected="at least one document")
            if done.empty == done.documents:
                raise InputError(
                    f"all {done.documents} documents have {_LACKS[fields]}", expected="at least one to index"
                )
            with closing(open_index(building / "index")) as built:
                _check(built, done.documents, done.empty, fields, fingerprint)
            (building / "index").rename(directory)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def _say_waiting(directory: Path) -> None:
    log.warning("another process builds %s: waiting for it", directory)


def _check(index: LuceneIndex, written: int, empty: int, fields: Fields, fingerprint: str) -> None:
    """Counts the documents, looks for twins, and writes the manifest that makes the index complete."""
    stats = index.stats()
    if stats.documents + empty != written:
        raise ExpandrError(
            f"Anserini indexed {stats.documents} of {written} documents, and left out {empty} empty ones",
            expected="each document in the index or empty",
            remedy="memory and disk are the usual reasons",
        )
    if empty:
        log.warning("%d of %d documents have %s: they are not in the index", empty, written, _LACKS[fields])
    if (twin := repeated_id(index.doc_ids)) is not None:
        raise InputError(f"document {twin!r} occurs twice", expected="each document id once")
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
