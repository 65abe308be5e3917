"""Dense search: the documents whose vectors have the largest dot product with a topic's, by FAISS."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from expandr_ir.errors import InputError
from expandr_ir.io.files import sha256_json
from expandr_ir.jvm import prebuilt_index
from expandr_ir.records import Hits
from expandr_ir.retrievers.vectors import (
    PLAN,
    CorpusVectors,
    HnswOptions,
    IndexKind,
    faiss_vectors,
    is_faiss_folder,
    open_vectors,
    read_faiss,
    read_faiss_manifest,
)
from expandr_ir.runtime import install_command, require

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder

TOPICS_AT_ONCE = 4096
"""FAISS itself takes no more topics at once."""

BLOCK_ROWS = 65_536
"""Rows that are compared at once; shards are joined up to that."""

GPU_HITS = 2048
"""FAISS finds no more on a GPU."""

Nearest: TypeAlias = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.int64]]]
"""From topics, (n, dim), and hits to scores, best first, and rows, each (n, hits); the row -1 is none."""


@dataclass(frozen=True)
class DenseSearchOptions:
    """Options of dense search.

    Args:
        kind: "flat" compares every vector, "hnsw" walks a graph, which is built where it is not there yet; None is
            "flat", and a FAISS folder as it is.
        hnsw: the graph's numbers.
        device: "auto" is the first GPU where faiss-gpu is installed and finds one, else the CPU; or cpu, cuda:N. Only
            flat search uses it.
    """

    kind: IndexKind | None = None
    hnsw: HnswOptions = field(default_factory=HnswOptions)
    device: str = "auto"


@dataclass(frozen=True, eq=False)
class DenseIndex:
    """Vectors of a corpus, ready to be searched."""

    folder: Path
    ids: NDArray[np.bytes_] = field(repr=False)
    dim: int
    encoder: Mapping[str, Any] | None = field(repr=False)  # the identity of the one that made them, where it is known
    nearest: Nearest = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def check_encoder(self, encoder: Encoder) -> None:
        """Refuses an encoder of another dimension, or another one than made the vectors, where that is known."""
        remedy = "name the encoder that they were made with, or encode the collection again"
        if encoder.dim != self.dim:
            problem = f"{self.folder}: vectors of {self.dim} dimensions, and the encoder makes {encoder.dim}"
            raise InputError(problem, expected="the same dimension", remedy=remedy)
        here, there = encoder.identity(), self.encoder
        if there is not None and sha256_json(here) != sha256_json(there):
            keys = sorted(key for key in there.keys() | here if there.get(key) != here.get(key))
            differ = "; ".join(f"{key} is {there.get(key)!r} there, {here.get(key)!r} here" for key in keys)
            problem = f"{self.folder}: vectors of another encoder: {differ}"
            raise InputError(problem, expected="vectors and topics of one encoder", remedy=remedy)

    def search(self, topics: Mapping[str, NDArray[np.float32]], hits: int = 1000) -> dict[str, Hits]:
        """The rankings by topic_id, in the topics' order. Equal scores are ordered by document id."""
        for topic_id, vector in topics.items():
            if vector.shape != (self.dim,):
                problem, expected = f"topic {topic_id}: a vector of shape {vector.shape}", f"{self.dim} numbers"
                raise InputError(problem, expected=expected, remedy=f"name the encoder that made {self.folder}")
            if not np.isfinite(vector).all() or not vector.any():
                fault = "of zeros" if np.isfinite(vector).all() else "that is not finite"
                raise InputError(f"topic {topic_id}: a vector {fault}", expected="a vector with a direction")
        run: dict[str, Hits] = {}
        pending = iter(topics)
        while chunk := list(itertools.islice(pending, TOPICS_AT_ONCE)):
            matrix = np.stack([topics[topic_id] for topic_id in chunk]).astype(np.float32)
            scores, rows = self.nearest(matrix, min(hits, len(self)))
            run.update(zip(chunk, map(self._hits, scores, rows), strict=True))
        return run

    def _hits(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> Hits:
        scores, ids = scores[rows >= 0], self.ids[rows[rows >= 0]]
        order = np.lexsort((ids, -scores))
        return Hits([doc_id.decode() for doc_id in ids[order].tolist()], scores[order].tolist())


def open_dense(source: Path | str | CorpusVectors, options: DenseSearchOptions | None = None) -> DenseIndex:
    """The index of these vectors: given, in a folder, or in a FAISS folder of any kind, which is searched as it is."""
    options = options or DenseSearchOptions()
    if not isinstance(source, CorpusVectors):
        folder = Path(source).expanduser()
        if is_faiss_folder(folder):
            index, ids = read_faiss(folder)
            if type(index).__name__ not in {"IndexFlat", "IndexFlatIP"} or index.metric_type:  # 0: the inner product
                return _faiss_index(folder, index, ids, options)
            source = faiss_vectors(folder, index, ids)
        else:
            source = open_vectors(folder)
    if options.kind == "hnsw":
        graph = _graph(source, options.hnsw)
        return _faiss_index(graph, *read_faiss(graph), options)
    return DenseIndex(source.folder, source.ids, source.dim, source.manifest.get("encoder"), _exact(source, options))


def open_named_dense(name: str, options: DenseSearchOptions | None = None) -> DenseIndex:
    """The index in a folder, or the FAISS index that Pyserini offers by that name, downloaded where it is missing."""
    return open_dense(name if Path(name).expanduser().is_dir() else prebuilt_index(name, "FAISS index"), options)


def _exact(vectors: CorpusVectors, options: DenseSearchOptions) -> Nearest:
    """Every vector's dot product, by FAISS; a corpus need not fit into memory, nor into a GPU's."""
    faiss, gpu = require("faiss", "cpu"), _gpu_number(options.device)
    resources = None if gpu is None else faiss.StandardGpuResources()

    def compare(topics: NDArray[np.float32], block: NDArray[np.float32], hits: int) -> Any:
        if gpu is None:
            return faiss.knn(topics, block, hits, metric=faiss.METRIC_INNER_PRODUCT)
        return faiss.knn_gpu(resources, topics, block, hits, metric=faiss.METRIC_INNER_PRODUCT, device=gpu)

    def nearest(topics: NDArray[np.float32], hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if gpu is not None and hits > GPU_HITS:
            raise InputError(f"{hits} hits on a GPU", expected=f"at most {GPU_HITS}", remedy="search on the CPU")
        best = faiss.ResultHeap(len(topics), hits, keep_max=True)
        start = 0
        for block in _blocks(vectors.shards()):
            scores, rows = compare(topics, block, min(hits, len(block)))
            best.add_result(scores, rows + start)
            start += len(block)
        best.finalize()
        return best.D, best.I

    return nearest


def _faiss_index(folder: Path, index: Any, ids: NDArray[np.bytes_], options: DenseSearchOptions) -> DenseIndex:
    """A FAISS index of any kind as it is, on the CPU; of distances, the score is the negative distance."""
    if options.kind and (options.kind == "hnsw") != hasattr(index, "hnsw"):
        raise InputError(f"{folder}: a FAISS index of the kind {type(index).__name__}", expected=options.kind)
    sign = 1 if index.metric_type == require("faiss", "cpu").METRIC_INNER_PRODUCT else -1
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = options.hnsw.ef_search

    def nearest(topics: NDArray[np.float32], hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores, rows = index.search(topics, hits)
        return sign * scores, rows

    return DenseIndex(folder, ids, index.d, read_faiss_manifest(folder).get("encoder"), nearest)


def _graph(vectors: CorpusVectors, options: HnswOptions) -> Path:
    """The folder of the vectors' HNSW graph, inside theirs, built where it is not there yet."""
    if not (vectors.folder / PLAN).exists():
        remedy = f"open_vectors({str(vectors.folder)!r}).to_pyserini_faiss(FOLDER, 'hnsw'), and search that folder"
        expected = "vectors of expandr encode, beside which one is kept"
        raise InputError(f"{vectors.folder} has no HNSW graph", expected=expected, remedy=remedy)
    folder = vectors.folder / f"hnsw-{options.m}-{options.ef_construction}"
    if not folder.is_dir():
        try:
            vectors.to_pyserini_faiss(folder, "hnsw", options)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def _gpu_number(device: str) -> int | None:
    """The GPU that a name means to FAISS; None for the CPU."""
    gpus = require("faiss", "cpu").get_num_gpus()
    if device == "cpu" or (device == "auto" and not gpus):
        return None
    names = {f"cuda:{number}": number for number in range(gpus)} | ({"auto": 0, "cuda": 0} if gpus else {})
    if device not in names:
        remedy = "cpu, or cuda:0" if gpus else f"pip uninstall faiss-cpu; {install_command('gpu')}"
        problem = f"device {device!r}, and FAISS finds {gpus} GPUs"
        raise InputError(problem, expected="auto, cpu or cuda:N", remedy=remedy)
    return names[device]


def _blocks(shards: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The shards, joined up to BLOCK_ROWS rows."""
    waiting: list[NDArray[np.float32]] = []
    for shard in shards:
        if waiting and sum(map(len, waiting)) + len(shard) > BLOCK_ROWS:
            yield np.concatenate(waiting)
            waiting = []
        waiting.append(shard)
    yield np.concatenate(waiting)
