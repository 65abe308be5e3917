"""Anserini's indexer, run in this process: quiet, with progress, and with one error where it prints a trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expandr_ir.errors import ExpandrError
from expandr_ir.jvm import REMEDIES, in_java, java_class
from expandr_ir.lucene import Fields

_COLLECTION_CLASS = {"flat": "BeirFlatCollection", "multifield": "BeirMultifieldCollection"}
_MOST_BUFFER_MB = 512
_POLL_S = 0.05


def index_corpus(
    corpus: Path, index: Path, fields: Fields, threads: int, documents: int, on_indexed: Callable[[int], None]
) -> int:
    """How many documents were empty and left out of a new index of the others.

    The options are those of the BEIR regressions. Ctrl-C takes effect when the documents are committed.

    Args:
        corpus: a folder of JSONL files in BEIR's format, which Anserini reads one after the other.
        index: where the index is to stand.
        fields: "flat" or "multifield".
        threads: Anserini's threads; each takes a file at a time.
        documents: how many the corpus has.
        on_indexed: called now and then with how many of them are indexed.

    Raises:
        ExpandrError: Java threw an exception, or documents were lost.
    """
    with in_java(f"indexing into {index}"), _captured_stderr() as trace:
        indexer = java_class("io.anserini.index.IndexCollection")(_arguments(corpus, index, fields, threads))
        task = java_class("java.util.concurrent.FutureTask")(indexer, None)
        thread = java_class("java.lang.Thread")(task, signature="(Ljava/lang/Runnable;)V")
        thread.setDaemon(True)
        thread.start()
        counters = indexer.getCounters()
        try:
            while not task.isDone():
                on_indexed(counters.indexed.get())
                time.sleep(_POLL_S)
        finally:
            while not task.isDone():
                time.sleep(_POLL_S)
        task.get()
        indexed, empty = counters.indexed.get(), counters.empty.get()
        if indexed + empty != documents:
            reason = next(iter(trace().splitlines()), "Anserini says nothing about it")
            sign = next((sign for sign in REMEDIES if sign in reason), None)
            raise ExpandrError(
                f"Anserini indexed {indexed} of {documents} documents, and left out {empty} empty ones: {reason}",
                expected="each document in the index or empty",
                remedy=REMEDIES[sign] if sign else "memory and disk are the usual reasons",
            )
        return int(empty)


def add_index(part: Path, index: Path) -> None:
    """Copies the documents of one index to the end of another, in one commit.

    Anserini's own -append (1.7.1) does not append: it starts the index anew.

    Raises:
        ExpandrError: Java threw an exception.
    """
    with in_java(f"adding to {index}"):
        paths, directories = java_class("java.nio.file.Paths"), java_class("org.apache.lucene.store.FSDirectory")
        target, source = (directories.open(paths.get(str(folder))) for folder in (index, part))
        writer = java_class("org.apache.lucene.index.IndexWriter")(
            target, java_class("org.apache.lucene.index.IndexWriterConfig")()
        )
        try:
            writer.addIndexes(source)
            writer.commit()
        finally:
            writer.close()


def _arguments(corpus: Path, index: Path, fields: Fields, threads: int) -> Any:
    """The arguments of Anserini's IndexCollection."""
    memory_mb = java_class("java.lang.Runtime").getRuntime().maxMemory() // 2**20
    options = {
        "-collection": _COLLECTION_CLASS[fields],
        "-generator": "DefaultLuceneDocumentGenerator",
        "-input": str(corpus),
        "-index": str(index),
        "-threads": str(threads),
        # Anserini's own is 4 GiB; neither the scores nor the speed depend on it.
        "-memoryBuffer": str(max(1, min(_MOST_BUFFER_MB, memory_mb // 4))),
    }
    words = [word for option in options.items() for word in option]
    words += ["-storePositions", "-storeDocvectors", "-storeRaw", "-quiet"]
    words += ["-fields", "title"] if fields == "multifield" else []
    arguments = java_class("io.anserini.index.IndexCollection$Args")()
    parser = java_class("org.kohsuke.args4j.CmdLineParser")(arguments)
    parser.parseArgument(java_class("java.util.Arrays").asList(*words))
    return arguments


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keeps what Java prints to stderr and what Anserini logs; yields what gives it."""
    system, level = java_class("java.lang.System"), java_class("org.apache.logging.log4j.Level")
    configurator = java_class("org.apache.logging.log4j.core.config.Configurator")
    own, kept = system.err, java_class("java.io.ByteArrayOutputStream")()
    system.setErr(java_class("java.io.PrintStream")(kept, True))
    configurator.setLevel("io.anserini.index", level.OFF)
    try:
        yield lambda: str(kept.toString())
    finally:
        configurator.setLevel("io.anserini.index", level.WARN)
        system.setErr(own)
