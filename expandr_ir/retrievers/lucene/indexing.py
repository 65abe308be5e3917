"""Builds the Lucene index of a collection, exactly as Pyserini's BEIR regressions do, and keeps it."""

from __future__ import annotations

import itertools
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expandr_ir import jvm
from expandr_ir.collections import Collection, load_collection
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.io.files import exclusive, home, sha256_json, write_json
from expandr_ir.io.manifest import installed_versions
from expandr_ir.jvm import LOCK, REMEDIES, anserini_version, in_java, java_class, java_text
from expandr_ir.progress import progress
from expandr_ir.records import Document
from expandr_ir.retrievers.lucene import MANIFEST, Fields, LuceneIndex, open_index, read_index_manifest

logger = logging.getLogger(__name__)

FILE_DOCUMENTS = 5_000
"""Documents of a file; Anserini's threads share whole files."""

MOST_BUFFER_MB = 512
POLL_S = 0.05

COLLECTION_CLASS = {"flat": "BeirFlatCollection", "multifield": "BeirMultifieldCollection"}
EMPTY = {"flat": "neither title nor text", "multifield": "no text"}
"""Parts that an empty document lacks; Anserini leaves such documents out."""


@dataclass(frozen=True)
class IndexOptions:
    """Options of `expandr index`.

    Args:
        collection: a BEIR folder, irds:ID, or demo.
        fields: "flat" (title and text in one field) or "multifield" (in two).
        heap: most memory Java may take, such as "8g"; None takes a quarter of the machine's.
    """

    collection: str
    fields: Fields = "flat"
    heap: str | None = None


def index(options: IndexOptions) -> LuceneIndex:
    """The index of a collection, built where it is not there yet."""
    collection = load_collection(options.collection)
    jvm.start(options.heap)
    return cached_index(collection, options.fields)


def cached_index(collection: Collection, fields: Fields = "flat") -> LuceneIndex:
    """The index of a collection, built where it is not in the `indexes` folder of `files.home()` yet.

    Its key is made of the collection's fingerprint, the fields and Anserini's version: a changed collection never meets
    an old index.
    """
    fingerprint = collection.fingerprint()
    key = sha256_json([fingerprint, fields, anserini_version()])
    name = re.sub(r"[^\w.-]+", "-", collection.name)
    directory = home() / "indexes" / f"{name}-{fields}-{key[:16]}"
    if not directory.exists():
        return build_index(collection.documents(), fields, directory, fingerprint, total=collection.facts.documents)
    try:
        if read_index_manifest(directory).get("fingerprint") != fingerprint:
            raise InputError(f"{directory} is not the index of {collection.name}", expected="its fingerprint inside")
        return open_index(directory)
    except InputError as error:
        remedy = f"rm -r {directory}; then it is built anew"
        raise InputError(error.found, expected=error.expected, remedy=remedy) from error


def build_index(
    documents: Iterable[Document],
    fields: Fields,
    directory: Path,
    fingerprint: str,
    threads: int = 1,
    total: int | None = None,
) -> LuceneIndex:
    """The index of these documents, in a new folder that appears there complete or not at all.

    Of two processes that build the same index at once, one waits for the other; both get its index. What a killed
    process left is deleted by the next one, which says so. `total` is the number of documents, for the progress.
    """
    waiting = "another process builds %s: waiting for it"
    with exclusive(directory.with_name(f".{directory.name}.lock"), lambda: logger.warning(waiting, directory)):
        if directory.exists():
            if read_index_manifest(directory).get("fingerprint") == fingerprint:
                return open_index(directory)  # another process was faster
            problem, remedy = f"{directory} is there already", "open it, name another, or delete it"
            raise InputError(problem, expected="a new folder", remedy=remedy)
        building = directory.with_name(f".{directory.name}.building")
        if building.exists():
            logger.warning("starts anew: an earlier run was stopped (%s)", building)
            shutil.rmtree(building)
        try:
            count = _write_corpus(documents, building / "corpus", total)
            if not count:
                raise InputError("there are no documents to index", expected="at least one document")
            empty = _run_anserini(building / "corpus", building / "index", fields, threads, count)
            if empty == count:
                raise InputError(f"all {count} documents have {EMPTY[fields]}", expected="at least one to index")
            if empty:
                logger.warning("%d of %d documents have %s: they are not in the index", empty, count, EMPTY[fields])
            _complete(building / "index", count, empty, fields, fingerprint)
            (building / "index").rename(directory)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return open_index(directory)


def _write_corpus(documents: Iterable[Document], corpus: Path, total: int | None) -> int:
    """Writes the documents as Anserini's BEIR collections read them; returns how many there are."""
    corpus.mkdir(parents=True)
    stream, count = iter(documents), 0
    with progress("documents read", total) as advance:
        while chunk := list(itertools.islice(stream, FILE_DOCUMENTS)):
            with (corpus / f"{count:09d}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                for document in chunk:
                    # Anserini loses the rest of the file where a document has no title.
                    row = {"_id": document.doc_id, "title": document.title, "text": document.text}
                    file.write(java_text(json.dumps(row, ensure_ascii=False)) + "\n")
            count += len(chunk)
            advance(len(chunk))
    return count


def _run_anserini(corpus: Path, folder: Path, fields: Fields, threads: int, count: int) -> int:
    """Indexes with the options of the BEIR regressions; returns how many documents were empty and left out.

    Ctrl-C takes effect when the documents are committed.
    """
    with _captured_stderr() as trace:
        with in_java(doing := f"indexing into {folder}"):
            indexer = java_class("io.anserini.index.IndexCollection")(_arguments(corpus, folder, fields, threads))
            task = java_class("java.util.concurrent.FutureTask")(indexer, None)
            thread = java_class("java.lang.Thread")(task, signature="(Ljava/lang/Runnable;)V")
            thread.setDaemon(True)
            thread.start()
            counters, indexed, is_done = indexer.getCounters(), 0, False
        try:
            with progress("documents indexed", count) as advance:
                while not is_done:
                    time.sleep(POLL_S)  # without the lock: other threads may search meanwhile
                    with LOCK:
                        is_done, before, indexed = task.isDone(), indexed, int(counters.indexed.get())
                    advance(indexed - before)
        finally:
            while not task.isDone():
                time.sleep(POLL_S)
        with in_java(doing):
            task.get()
            empty = int(counters.empty.get())
            _check_count(indexed, empty, count, next(iter(trace().splitlines()), "Anserini says nothing about it"))
        return empty


def _complete(folder: Path, count: int, empty: int, fields: Fields, fingerprint: str) -> None:
    """Counts the documents, and writes the manifest that makes the index complete."""
    with closing(open_index(folder)) as opened:
        stats = opened.stats()
        _check_count(stats.documents, empty, count, "the index holds no more")
    manifest = {
        "documents": stats.documents,
        "empty_left_out": empty,
        "non_empty": stats.non_empty,
        "terms": stats.terms,
        "fields": fields,
        "fingerprint": fingerprint,
        "versions": installed_versions() | {"anserini": anserini_version()},
    }
    write_json(folder / MANIFEST, manifest)


def _check_count(indexed: int, empty: int, count: int, reason: str) -> None:
    if indexed + empty != count:
        remedy = next((REMEDIES[sign] for sign in REMEDIES if sign in reason), "memory and disk are the usual reasons")
        problem = f"Anserini indexed {indexed} of {count} documents, and left out {empty} empty ones: {reason}"
        raise ExpandrError(problem, expected="each document in the index or empty", remedy=remedy)


def _arguments(corpus: Path, folder: Path, fields: Fields, threads: int) -> Any:
    """The arguments of Anserini's IndexCollection."""
    memory_mb = java_class("java.lang.Runtime").getRuntime().maxMemory() // 2**20
    buffer_mb = max(1, min(MOST_BUFFER_MB, memory_mb // 4))  # Anserini's 4 GiB change neither scores nor speed
    words = ["-collection", COLLECTION_CLASS[fields], "-generator", "DefaultLuceneDocumentGenerator"]
    words += ["-input", str(corpus), "-index", str(folder), "-threads", str(threads), "-memoryBuffer", str(buffer_mb)]
    words += ["-storePositions", "-storeDocvectors", "-storeRaw", "-quiet"]
    words += ["-fields", "title"] if fields == "multifield" else []
    arguments = java_class("io.anserini.index.IndexCollection$Args")()
    parser = java_class("org.kohsuke.args4j.CmdLineParser")(arguments)
    parser.parseArgument(java_class("java.util.Arrays").asList(*words))
    return arguments


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keeps the text that Java prints to stderr, and silences Anserini's log; yields a function that returns it."""
    system, level = java_class("java.lang.System"), java_class("org.apache.logging.log4j.Level")
    configurator = java_class("org.apache.logging.log4j.core.config.Configurator")
    stderr, buffer = system.err, java_class("java.io.ByteArrayOutputStream")()
    system.setErr(java_class("java.io.PrintStream")(buffer, True))
    configurator.setLevel("io.anserini.index", level.OFF)
    try:
        yield lambda: str(buffer.toString())
    finally:
        configurator.setLevel("io.anserini.index", level.WARN)
        system.setErr(stderr)
