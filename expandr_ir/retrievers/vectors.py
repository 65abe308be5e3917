"""The vectors of a corpus: kept on disk, read shard by shard, whoever wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from expandr_ir.errors import InputError
from expandr_ir.records import Document

if TYPE_CHECKING:
    from expandr_ir.retrievers.formats import HnswOptions

PLAN, IDS, MANIFEST = "plan.json", "ids.npy", "manifest.json"

IndexKind: TypeAlias = Literal["flat", "hnsw"]


@dataclass(frozen=True, eq=False)
class CorpusVectors:
    """The vectors of a corpus, in the order of its documents.

    Args:
        folder: where they stand.
        ids: the documents' ids as UTF-8, array of shape (n,).
        dim: the vectors' dimension.
        manifest: how they were made; {} where that is not known.
        shards: reads the vectors anew: float32 arrays of shape (some, dim), in the order of the ids.
    """

    folder: Path
    ids: NDArray[np.bytes_] = field(repr=False)
    dim: int
    manifest: Mapping[str, Any] = field(repr=False)
    shards: Callable[[], Iterator[NDArray[np.float32]]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> dict[str, int]:
        """Of "documents", and where they were encoded here, of "truncated", "empty" and "zero" (zero vectors)."""
        return {"documents": len(self)} | dict(self.manifest.get("counts", {}))

    def check(self) -> int:
        """Reads all vectors, which must be finite and as many as the ids; returns how many are zero."""
        rows = zeros = 0
        for shard in self.shards():
            finite = np.isfinite(shard).all(axis=1)
            if not finite.all():
                document = self.ids[rows + int(np.argmin(finite))].decode()
                problem = f"{self.folder}: the vector of document {document!r} is not finite"
                raise InputError(problem, expected="finite numbers", remedy="encode the collection again")
            zeros += int((~shard.any(axis=1)).sum())
            rows += len(shard)
        if rows != len(self):
            raise InputError(f"{self.folder}: {rows} vectors, but {len(self)} ids", expected="one id for each vector")
        return zeros

    def to_pyserini_faiss(self, folder: Path, kind: IndexKind = "flat", hnsw: HnswOptions | None = None) -> None:
        """Writes what `python -m pyserini.search.faiss --index` reads: the files `index` and `docid`, and a manifest.

        The folder must be new, and appears complete or not at all. A flat index is written shard by shard; an HNSW
        graph needs its vectors in memory, and all cores build it: two are never quite alike.

        Raises:
            InputError: the folder is there already, or an id that Pyserini would read as another one.
            NotInstalledError: FAISS is needed for the graph, and not installed.
        """
        from expandr_ir.retrievers.formats import HnswOptions, write_faiss

        write_faiss(self, folder, kind, hnsw or HnswOptions())

    def to_pyserini_jsonl(self, folder: Path, documents: Iterable[Document] | None = None) -> None:
        """Writes what `python -m pyserini.encode` writes: `embeddings.jsonl` of "id", "contents" and "vector".

        The folder must be new, and appears complete or not at all. "contents" are title, line end and text of the
        corpus' documents, or "" without them.
        """
        from expandr_ir.retrievers.formats import write_jsonl

        write_jsonl(self, folder, documents)


def open_shards(folder: Path) -> CorpusVectors:
    """Memory-mapped vectors of a folder that `encode_corpus` has completed."""
    if not (folder / MANIFEST).is_file():
        remedy = "run the same expandr encode again: it goes on where it stopped"
        expected = f"a file {MANIFEST}, which is written last"
        raise InputError(f"{folder}: these vectors are not complete", expected=expected, remedy=remedy)
    manifest = read_json(folder / MANIFEST)
    paths = [shard_path(folder, number, "vectors.npy") for number in range(manifest["shards"])]
    for path in paths:
        shape = load_array(path).shape
        if len(shape) != 2 or shape[1] != manifest["dim"]:
            raise InputError(f"{path}: an array of shape {shape}", expected=f"vectors of {manifest['dim']} dimensions")
    return CorpusVectors(folder, load_array(folder / IDS), manifest["dim"], manifest, lambda: map(load_array, paths))


def load_array(path: Path) -> NDArray[Any]:
    """A memory-mapped array."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        remedy = f"delete {path.parent} and encode again"
        raise InputError(f"{path} cannot be read ({error})", expected="a whole array", remedy=remedy) from error
    return array


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error})", remedy=f"delete {path.parent} and make it again") from error


def shard_path(folder: Path, number: int, part: Literal["vectors.npy", "ids.npy", "json"]) -> Path:
    """A file of a shard; the json is its record, which is written last."""
    return folder / f"{number:06d}.{part}"
