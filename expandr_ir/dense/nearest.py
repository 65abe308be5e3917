"""What finds the nearest vectors: all of them compared, block by block from the disk, or a FAISS index as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from expandr_ir.dense.vectors import CorpusVectors
from expandr_ir.errors import InputError
from expandr_ir.generators.base import require

BLOCK_ROWS = 65_536
"""Rows that are compared at once; shards are joined up to that."""

GPU_HITS = 2048
"""FAISS finds no more on a GPU."""


class Nearest(Protocol):
    """What finds rows by a topic's vector."""

    def nearest(self, topics: NDArray[np.float32], hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores, best first, and rows, each an array of shape (n_topics, hits); the row -1 is none.

        Args:
            topics: array of shape (n_topics, dim).
            hits: no more than there are rows.
        """
        ...


class Exact:
    """Every vector's dot product, by FAISS; a corpus need not fit into memory, nor into a GPU's.

    Args:
        vectors: read from the disk at each search.
        gpu: a GPU's number; None is the CPU.

    Raises:
        NotInstalledError: FAISS is not installed.
    """

    def __init__(self, vectors: CorpusVectors, gpu: int | None) -> None:
        self._vectors, self._gpu = vectors, gpu
        self._faiss = require("faiss", "cpu")
        self._resources = None if gpu is None else self._faiss.StandardGpuResources()

    def nearest(self, topics: NDArray[np.float32], hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As `Nearest.nearest`.

        Raises:
            InputError: more hits than a GPU finds.
        """
        if self._gpu is not None and hits > GPU_HITS:
            raise InputError(f"{hits} hits on a GPU", expected=f"at most {GPU_HITS}", remedy="search on the CPU")
        best = self._faiss.ResultHeap(len(topics), hits, keep_max=True)
        start = 0
        for block in _blocks(self._vectors.shards()):
            scores, rows = self._compare(topics, block, min(hits, len(block)))
            best.add_result(scores, rows + start)
            start += len(block)
        best.finalize()
        return best.D, best.I

    def _compare(self, topics: NDArray[np.float32], block: NDArray[np.float32], hits: int) -> Any:
        metric = self._faiss.METRIC_INNER_PRODUCT
        if self._gpu is None:
            return self._faiss.knn(topics, block, hits, metric=metric)
        return self._faiss.knn_gpu(self._resources, topics, block, hits, metric=metric, device=self._gpu)


class AsItIs:
    """A FAISS index of any kind, on the CPU.

    Args:
        index: FAISS's index; of distances, the nearest get the highest scores (the negative distance).
        ef_search: candidates of the walk through an HNSW graph.
    """

    def __init__(self, index: Any, ef_search: int) -> None:
        self._index = index
        self._sign = 1 if index.metric_type == require("faiss", "cpu").METRIC_INNER_PRODUCT else -1
        if hasattr(index, "hnsw"):
            index.hnsw.efSearch = ef_search

    def nearest(self, topics: NDArray[np.float32], hits: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As `Nearest.nearest`."""
        scores, rows = self._index.search(topics, hits)
        return self._sign * scores, rows


def gpu_number(device: str) -> int | None:
    """The GPU that a name means to FAISS; None for the CPU.

    Args:
        device: "auto" (the first GPU, else the CPU), "cpu" or "cuda:N".

    Raises:
        InputError: FAISS finds no such GPU.
        NotInstalledError: FAISS is not installed.
    """
    gpus = require("faiss", "cpu").get_num_gpus()
    if device == "cpu" or (device == "auto" and not gpus):
        return None
    names = {f"cuda:{number}": number for number in range(gpus)} | ({"auto": 0, "cuda": 0} if gpus else {})
    if device not in names:
        raise InputError(
            f"device {device!r}, and FAISS finds {gpus} GPUs",
            expected="auto, cpu or cuda:N",
            remedy="cpu, or cuda:0" if gpus else "pip uninstall faiss-cpu; pip install 'expandr-ir[gpu]'",
        )
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
