"""Dense search: the documents whose vectors have the largest dot product with a topic's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expandr_ir.dense.formats import FaissVectors, HnswOptions, is_faiss_folder, is_flat, read_faiss, read_manifest
from expandr_ir.dense.nearest import AsItIs, Exact, Nearest, gpu_number
from expandr_ir.dense.vectors import (
    CorpusVectors,
    DocumentEncoder,
    IndexKind,
    ShardedVectors,
    check_encoder,
    open_vectors,
)
from expandr_ir.errors import InputError
from expandr_ir.records import Hits, Run

TOPICS_AT_ONCE = 4096
"""FAISS itself takes no more topics at once."""


@dataclass(frozen=True)
class DenseSearchOptions:
    """How vectors are searched.

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


class DenseIndex:
    """Vectors of a corpus, ready to be searched.

    Args:
        folder: where they stand.
        ids: the documents' ids as UTF-8, array of shape (n,).
        dim: the vectors' dimension.
        encoder: the identity of the encoder that made them; None where it is not known.
        search: what searches them.

    Attributes:
        folder, ids, dim, encoder: as above.
    """

    def __init__(
        self, folder: Path, ids: NDArray[np.bytes_], dim: int, encoder: Mapping[str, Any] | None, search: Nearest
    ) -> None:
        self.folder, self.ids, self.dim, self.encoder = folder, ids, dim, encoder
        self._search = search

    def __len__(self) -> int:
        return len(self.ids)

    def check_encoder(self, encoder: DocumentEncoder) -> None:
        """Makes sure that an encoder's vectors can be searched here.

        Raises:
            InputError: another dimension, or another encoder than the one that made the vectors, where that is known.
        """
        check_encoder(self.folder, self.dim, self.encoder, encoder)

    def search(self, topics: Mapping[str, NDArray[np.float32]], hits: int = 1000) -> Run:
        """The rankings by topic_id, in the topics' order. Equal scores are ordered by document id.

        Args:
            topics: by topic_id, a vector, float32 array of shape (dim,).
            hits: documents of a ranking.

        Raises:
            InputError: a vector of another dimension, of zeros, or with a number that is not finite, with its topic;
                or `hits` is not positive, or more than a GPU finds.
        """
        if hits < 1:
            raise InputError(f"hits = {hits}", expected="1 or more")
        for topic_id, vector in topics.items():
            self._check(topic_id, vector)
        run: Run = {}
        for chunk in _batched(topics, TOPICS_AT_ONCE):
            stacked = np.stack([topics[topic_id] for topic_id in chunk]).astype(np.float32)
            scores, rows = self._search.nearest(stacked, min(hits, len(self)))
            run.update(zip(chunk, map(self._hits, scores, rows), strict=True))
        return run

    def _check(self, topic_id: str, vector: NDArray[np.float32]) -> None:
        if vector.shape != (self.dim,):
            raise InputError(
                f"topic {topic_id}: a vector of shape {vector.shape}",
                expected=f"{self.dim} numbers, as {self.folder} has them",
                remedy="name the encoder that made these vectors",
            )
        if not np.isfinite(vector).all() or not vector.any():
            what = "of zeros" if np.isfinite(vector).all() else "that is not finite"
            raise InputError(f"topic {topic_id}: a vector {what}", expected="a vector with a direction")

    def _hits(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> Hits:
        found = rows >= 0
        scores, ids = scores[found], self.ids[rows[found]]
        order = np.lexsort((ids, -scores))
        return Hits([doc_id.decode() for doc_id in ids[order].tolist()], scores[order].tolist())


def open_dense(source: Path | str | CorpusVectors, options: DenseSearchOptions | None = None) -> DenseIndex:
    """The index of these vectors.

    Args:
        source: vectors; a folder of them; or a FAISS folder of any kind, which is searched as it is.
        options: how.

    Raises:
        MissingResourceError: there is no such folder.
        InputError: it holds no vectors, its parts do not fit each other, its vectors are not finite, or the options do
            not fit it.
        NotInstalledError: FAISS is not installed.
    """
    options = options or DenseSearchOptions()
    if not isinstance(source, CorpusVectors):
        folder = Path(source).expanduser()
        if is_faiss_folder(folder):
            index, ids = read_faiss(folder)
            if not is_flat(index):
                return _as_it_is(folder, index, ids, options)
            source = FaissVectors(folder, index, ids)
        else:
            source = open_vectors(folder)
    if options.kind == "hnsw":
        graph = _graph(source, options.hnsw)
        return _as_it_is(graph, *read_faiss(graph), options)
    search = Exact(source, gpu_number(options.device))
    return DenseIndex(source.folder, source.ids, source.dim, source.manifest.get("encoder"), search)


def open_named_dense(name: str, options: DenseSearchOptions | None = None) -> DenseIndex:
    """The index in a folder, or the FAISS index that Pyserini offers by that name, downloaded where it is missing.

    Args:
        name: a folder, as `open_dense` takes it, or Pyserini's name of a prebuilt index.
        options: how it is searched.

    Raises:
        InputError: neither a folder nor a name that Pyserini has.
        MissingResourceError: it cannot be downloaded.
    """
    if Path(name).expanduser().is_dir():
        return open_dense(name, options)
    from expandr_ir.prebuilt import prebuilt_index

    return open_dense(prebuilt_index(name, "FAISS index"), options)


def _as_it_is(folder: Path, index: Any, ids: NDArray[np.bytes_], options: DenseSearchOptions) -> DenseIndex:
    if options.kind and (options.kind == "hnsw") != hasattr(index, "hnsw"):
        raise InputError(f"{folder}: a FAISS index of the kind {type(index).__name__}", expected=options.kind)
    encoder = read_manifest(folder).get("encoder")
    return DenseIndex(folder, ids, index.d, encoder, AsItIs(index, options.hnsw.ef_search))


def _graph(vectors: CorpusVectors, options: HnswOptions) -> Path:
    """The folder of the vectors' HNSW graph, inside theirs, built where it is not there yet."""
    if not isinstance(vectors, ShardedVectors):
        raise InputError(
            f"{vectors.folder} has no HNSW graph",
            expected="vectors of expandr encode, beside which one is kept",
            remedy=f"open_vectors({str(vectors.folder)!r}).to_pyserini_faiss(FOLDER, 'hnsw'), and search that folder",
        )
    folder = vectors.folder / f"hnsw-{options.m}-{options.ef_construction}"
    if not folder.is_dir():
        try:
            vectors.to_pyserini_faiss(folder, "hnsw", options)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder


def _batched(topics: Mapping[str, Any], size: int) -> Iterator[list[str]]:
    stream = iter(topics)
    while batch := list(itertools.islice(stream, size)):
        yield batch
