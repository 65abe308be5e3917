"""Encodes a corpus: shard by shard, so that a killed run goes on where it stopped and processes share the work."""

from __future__ import annotations

import itertools
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expandr_ir.collections import Collection, load_collection
from expandr_ir.config import EncodeOptions
from expandr_ir.encoders import Encoder, load_encoder
from expandr_ir.errors import ExpandrError, InputError, check_number
from expandr_ir.io.files import atomic_write, exclusive, home, output_folder, sha256_json, write_json
from expandr_ir.io.manifest import installed_versions
from expandr_ir.progress import progress
from expandr_ir.records import Document
from expandr_ir.retrievers.vectors import (
    IDS,
    MANIFEST,
    PLAN,
    CorpusVectors,
    ShardRecord,
    VectorsRecord,
    load_ids,
    load_vectors,
    open_shards,
    read_record,
    shard_path,
    shard_sums,
)

logger = logging.getLogger(__name__)

LOCK = ".plan.lock"

SHARD_DOCUMENTS = 2048
"""Documents of a shard: what a killed process loses."""


def encode_corpus(
    collection: Collection,
    encoder: Encoder,
    directory: Path | None = None,
    shard_documents: int = SHARD_DOCUMENTS,
    *,
    verify: bool = False,
) -> CorpusVectors:
    """The vectors of a collection's documents, encoded where they are not there yet.

    Each shard appears complete or not at all, and the manifest last. A killed run goes on at the first missing shard,
    and processes that encode into the same folder share the shards. `directory` keeps the number of documents a shard
    that it was begun with; None is a folder of the cache, keyed by the encoder and the documents. What a killed run
    left, and with `verify` a complete folder, is read again: shards whose files have other sums are encoded again.
    """
    check_number("shard_documents", shard_documents, least=1)
    key = {"encoder": encoder.identity(), "fingerprint": collection.fingerprint()}
    if directory is None:
        name = re.sub(r"[^\w.-]+", "-", collection.name)
        directory = home() / "vectors" / f"{name}-{sha256_json(key)[:16]}"
    if not (directory / PLAN).is_file():
        with exclusive(directory / LOCK):
            if not (directory / PLAN).is_file():
                write_json(directory / PLAN, key | {"dim": encoder.dim, "shard_documents": shard_documents})
    plan = read_record(directory / PLAN, VectorsRecord)
    check_number(f"{directory / PLAN}: shard_documents", plan.get("shard_documents"), least=1)
    for part, noun in (("encoder", "encoder"), ("fingerprint", "collection")):
        if sha256_json(plan[part]) != sha256_json(key[part]):
            problem, expected = f"{directory} holds vectors of another {noun}", f"{part} {key[part]}, not {plan[part]}"
            raise InputError(problem, expected=expected, remedy="name another folder, or delete this one")
    if verify or not (directory / MANIFEST).is_file():
        shards = range(_encode_shards(directory, collection, encoder, plan))
        with exclusive(directory / LOCK):
            _complete(directory, plan, shards)
    vectors = open_shards(directory)
    if verify:
        vectors.check()
    return vectors


def _complete(directory: Path, plan: Mapping[str, Any], shards: range) -> None:
    """Writes what belongs to the whole, and deletes what killed processes left."""
    for remains in directory.glob(".*.tmp"):
        remains.unlink()
    _write_array(directory / IDS, np.concatenate([load_ids(shard_path(directory, at, "ids.npy")) for at in shards]))
    records = [read_record(shard_path(directory, number, "json"), ShardRecord) for number in shards]
    if unknown := sum(not record.get("sha256") for record in records):
        logger.warning(
            "%s: %d shards of an older version have no sums, so that their types and shapes alone are checked",
            directory,
            unknown,
        )
    counts = {name: sum(record[name] for record in records) for name in records[0] if name != "sha256"}
    versions = installed_versions()
    write_json(directory / MANIFEST, dict(plan) | {"shards": len(shards), "counts": counts, "versions": versions})


class _BusyError(Exception):
    """Another process encodes this shard."""


def _raise_busy() -> None:
    raise _BusyError


def _encode_shards(directory: Path, collection: Collection, encoder: Encoder, plan: Mapping[str, Any]) -> int:
    """The number of shards, when all are there: first those that no other process is at, then the others' remains."""
    total = collection.facts.documents or sum(1 for _ in collection.documents())
    for on_wait in (_raise_busy, None):
        number, busy = -1, False
        stream = collection.documents()
        with progress("documents encoded", total) as advance:
            for number in itertools.count():
                documents = list(itertools.islice(stream, plan["shard_documents"]))
                if not documents:
                    break
                try:
                    with exclusive(directory / f".{number:06d}.lock", on_wait):
                        _encode_shard(directory, number, documents, encoder)
                    advance(len(documents))
                except _BusyError:
                    busy = True
        if not busy:
            break
    return number


def _encode_shard(folder: Path, number: int, documents: Sequence[Document], encoder: Encoder) -> None:
    ids = np.array([document.doc_id.encode() for document in documents])
    if _is_whole(folder, number, encoder.dim):
        if not np.array_equal(load_ids(shard_path(folder, number, "ids.npy")), ids):
            problem = f"{folder}: shard {number} has other documents than the collection now"
            expected = "a collection that stays as it is while it is encoded"
            raise InputError(problem, expected=expected, remedy="delete the folder and encode again")
        return
    for remains in folder.glob(f".{number:06d}.*.tmp"):  # of a process that was killed
        remains.unlink()
    truncated, empty = encoder.truncated["documents"], encoder.empty["documents"]
    vectors = encoder.encode_documents(documents)
    if vectors.shape != (len(documents), encoder.dim):
        raise ExpandrError(f"the encoder made {vectors.shape} of {len(documents)} documents of {encoder.dim} numbers")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        first = documents[int(np.argmin(finite))]
        raise ExpandrError(f"the vector of document {first.doc_id!r} is not finite", expected="finite numbers")
    _write_array(shard_path(folder, number, "vectors.npy"), vectors)
    _write_array(shard_path(folder, number, "ids.npy"), ids)
    record = ShardRecord(
        documents=len(documents),
        truncated=encoder.truncated["documents"] - truncated,
        empty=encoder.empty["documents"] - empty,
        zero=int((~vectors.any(axis=1)).sum()),
        sha256=shard_sums(folder, number),
    )
    write_json(shard_path(folder, number, "json"), asdict(record))


def _is_whole(folder: Path, number: int, dim: int) -> bool:
    """Reports a shard that is there as it was written; a damaged one gives way, with a warning and the graphs."""
    path = shard_path(folder, number, "json")
    if not path.is_file():
        return False
    try:
        vectors = load_vectors(shard_path(folder, number, "vectors.npy"), dim)
        ids = load_ids(shard_path(folder, number, "ids.npy"))
        sums = read_record(path, ShardRecord).get("sha256") or shard_sums(folder, number)
        if len(vectors) == len(ids) and sums == shard_sums(folder, number):
            return True
    except InputError as error:
        logger.warning(error.found)
    logger.warning("shard %d in %s is not as it was written: it is encoded again", number, folder)
    path.unlink()
    for graph in folder.glob("hnsw-*"):
        shutil.rmtree(graph)
    return False


def _write_array(path: Path, array: NDArray[Any]) -> None:
    with atomic_write(path, "wb") as stream:
        np.save(stream, array)


@dataclass(frozen=True, kw_only=True)
class EncodeCorpusOptions:
    """Options of `expandr encode`.

    Args:
        collection: a BEIR folder, irds:ID, or demo.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        output: folder of the vectors; None is the cache, where `expandr search` finds them.
        shard_documents: documents of a shard: what a killed process loses. A GPU is busier with more, such as 65536.
        faiss: also write Pyserini's FAISS folder (`index`, `docid`) here.
        jsonl: also write Pyserini's JSONL vectors here.
        encode: how the encoder runs.
        verify: read the vectors again, and encode shards again whose files are not those that were written.
    """

    collection: str
    encoder: str
    output: str | None = None
    shard_documents: int = SHARD_DOCUMENTS
    faiss: str | None = None
    jsonl: str | None = None
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    verify: bool = False


def encode(options: EncodeCorpusOptions) -> str:
    """Encodes a collection where it is not encoded yet, exports it, and returns what is there."""
    folder = output_folder(options.output) if options.output else None
    collection = load_collection(options.collection)
    run_options = None if options.encode == EncodeOptions() else options.encode
    encoder = load_encoder(options.encoder, collection=collection.name, options=run_options)
    vectors = encode_corpus(collection, encoder, folder, options.shard_documents, verify=options.verify)
    if options.faiss:
        vectors.to_pyserini_faiss(Path(options.faiss))
    if options.jsonl:
        vectors.to_pyserini_jsonl(Path(options.jsonl), collection.documents())
    return "\n".join(filter(None, (str(vectors), options.faiss, options.jsonl)))
