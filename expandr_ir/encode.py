"""Encode a corpus: shard by shard, so that a killed run goes on where it stopped and processes share the work."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from expandr_ir.dense.vectors import (
    IDS,
    MANIFEST,
    PLAN,
    CorpusVectors,
    DocumentEncoder,
    load_array,
    open_vectors,
    read_json,
    vectors_path,
)
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.files import atomic_write, home, sha256_json
from expandr_ir.lucene.indexing import Indexable
from expandr_ir.manifest import installed_versions
from expandr_ir.records import Document

SHARD_DOCUMENTS = 2048
"""Documents of a shard: what a killed process loses, and how often progress is told."""


def encode_corpus(
    collection: Indexable,
    encoder: DocumentEncoder,
    directory: Path | None = None,
    shard_documents: int = SHARD_DOCUMENTS,
    on_progress: Callable[[int], None] | None = None,
) -> CorpusVectors:
    """The vectors of a collection's documents, encoded where they are not there yet.

    Each shard appears complete or not at all, and the manifest last. What was killed goes on at the first missing
    shard: the documents of a shard are encoded together, so that the vectors are those of an uninterrupted run.
    Processes that encode into the same folder share the shards; each returns when all are there.

    Args:
        collection: whose documents.
        encoder: documents -> vectors.
        directory: where; None is the `vectors` folder of `files.home()`, keyed by the encoder and the documents, so
            that neither a changed model nor a changed corpus meets stale vectors.
        shard_documents: documents of a shard; a GPU is busier with larger ones, such as 65,536. A folder that was
            begun keeps its own number.
        on_progress: called after each shard with the documents that are done so far.

    Raises:
        InputError: `directory` holds the vectors of another encoder or corpus, or the collection's documents are
            faulty.
        OSError: the folder cannot be written, or the disk is full.
    """
    if shard_documents < 1:
        raise InputError(f"{shard_documents} documents a shard", expected="1 or more")
    key = {"encoder": encoder.identity(), "fingerprint": collection.fingerprint()}
    if directory is None:
        name = re.sub(r"[^\w.-]+", "-", collection.name)
        directory = home() / "vectors" / f"{name}-{sha256_json(key)[:16]}"
    plan = _plan(directory, key | {"dim": encoder.dim, "shard_documents": shard_documents})
    if not (directory / MANIFEST).is_file():
        shards = _encode_all(directory, collection, encoder, plan["shard_documents"], on_progress)
        _finish(directory, plan, shards)
    return open_vectors(directory)


def _plan(directory: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The plan of a folder, written where there is none yet."""
    path = directory / PLAN
    with _lock(directory / ".plan.lock", wait=True):
        if not path.is_file():
            _write_json(path, plan)
    found = read_json(path)
    for part in ("encoder", "fingerprint"):
        if sha256_json(found[part]) != sha256_json(plan[part]):
            raise InputError(
                f"{directory} holds vectors of another {'encoder' if part == 'encoder' else 'collection'}",
                expected=f"{part} {plan[part]}, and found {found[part]}",
                remedy="name another folder, or delete this one",
            )
    return found


def _encode_all(
    directory: Path,
    collection: Indexable,
    encoder: DocumentEncoder,
    size: int,
    on_progress: Callable[[int], None] | None,
) -> int:
    """The number of shards, when all are there."""
    while True:
        number, done = -1, 0
        elsewhere = []
        for number, documents in enumerate(_batched(collection.documents(), size)):
            done += len(documents)
            if not _encode_shard(directory, number, documents, encoder):
                elsewhere.append(number)
            if on_progress:
                on_progress(done)
        for other in elsewhere:
            with _lock(_lock_path(directory, other), wait=True):
                pass
        if all(_record_path(directory, other).is_file() for other in elsewhere):
            return number + 1


def _encode_shard(directory: Path, number: int, documents: Sequence[Document], encoder: DocumentEncoder) -> bool:
    """Whether the shard is there, encoded now or before; False where another process is about it."""
    record = _record_path(directory, number)
    ids = np.array([document.doc_id.encode() for document in documents])
    if not record.is_file():
        with _lock(_lock_path(directory, number)) as mine:
            if not mine:
                return False
            if not record.is_file():
                _write_shard(directory, number, ids, documents, encoder)
    if not np.array_equal(load_array(_ids_path(directory, number)), ids):
        raise InputError(
            f"{directory}: shard {number} has other documents than the collection now",
            expected="a collection that stays as it is while it is encoded",
            remedy="delete the folder and encode again",
        )
    return True


def _write_shard(
    directory: Path, number: int, ids: Any, documents: Sequence[Document], encoder: DocumentEncoder
) -> None:
    for left in directory.glob(f".{number:06d}.*.tmp"):  # by a process that was killed
        left.unlink()
    truncated, empty = encoder.truncated["documents"], encoder.empty["documents"]
    vectors = encoder.encode_documents(documents)
    if vectors.shape != (len(documents), encoder.dim):
        raise ExpandrError(f"the encoder made {vectors.shape} of {len(documents)} documents of {encoder.dim} numbers")
    if not np.isfinite(vectors).all():
        first = documents[int(np.argmin(np.isfinite(vectors).all(axis=1)))]
        raise ExpandrError(f"the vector of document {first.doc_id!r} is not finite", expected="finite numbers")
    for path, array in ((vectors_path(directory, number), vectors), (_ids_path(directory, number), ids)):
        with atomic_write(path, "wb") as stream:
            np.save(stream, array)
    counts = {
        "documents": len(documents),
        "truncated": encoder.truncated["documents"] - truncated,
        "empty": encoder.empty["documents"] - empty,
        "zero": int((~vectors.any(axis=1)).sum()),
    }
    _write_json(_record_path(directory, number), counts)


def _finish(directory: Path, plan: dict[str, Any], shards: int) -> None:
    """Joins the ids and the counts of all shards, and writes the manifest."""
    with atomic_write(directory / IDS, "wb") as stream:
        np.save(stream, np.concatenate([load_array(_ids_path(directory, number)) for number in range(shards)]))
    records = [read_json(_record_path(directory, number)) for number in range(shards)]
    counts = {name: sum(record[name] for record in records) for name in records[0]}
    _write_json(directory / MANIFEST, plan | {"shards": shards, "counts": counts, "versions": installed_versions()})
    for lock in directory.glob(".*.lock"):
        lock.unlink(missing_ok=True)


@contextmanager
def _lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """True where no other process is in this block; the system ends a dead process's lock.

    Args:
        path: the lock's file.
        wait: for the other process to leave it; False yields False instead.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _batched(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    stream = iter(documents)
    while batch := list(itertools.islice(stream, size)):
        yield batch


def _ids_path(directory: Path, number: int) -> Path:
    return directory / f"{number:06d}.ids.npy"


def _record_path(directory: Path, number: int) -> Path:
    """The file that is written last of a shard."""
    return directory / f"{number:06d}.json"


def _lock_path(directory: Path, number: int) -> Path:
    return directory / f".{number:06d}.lock"


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_write(path) as stream:
        json.dump(value, stream, indent=2)
        stream.write("\n")
