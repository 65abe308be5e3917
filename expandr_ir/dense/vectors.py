"""The vectors of a corpus: on disk, read shard by shard, whoever wrote them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.files import sha256_json
from expandr_ir.records import Document

if TYPE_CHECKING:
    from expandr_ir.dense.formats import HnswOptions

PLAN, IDS, MANIFEST = "plan.json", "ids.npy", "manifest.json"

IndexKind: TypeAlias = Literal["flat", "hnsw"]


class DocumentEncoder(Protocol):
    """What corpus vectors need of an encoder.

    Attributes:
        dim: the vectors' dimension.
        truncated, empty: how many texts were cut and how many were empty so far, by kind; "documents" is read.
    """

    dim: int
    truncated: Counter[str]
    empty: Counter[str]

    def identity(self) -> dict[str, Any]:
        """What the vectors depend on besides the corpus, as plain data."""
        ...

    def encode_documents(self, documents: Sequence[Document]) -> NDArray[np.float32]:
        """The documents' vectors, float32 array of shape (n, dim), in order."""
        ...


class CorpusVectors(ABC):
    """The vectors of a corpus, in the order of its documents.

    Args:
        folder: where they stand.
        ids: the documents' ids as UTF-8, array of shape (n,).
        dim: the vectors' dimension.
        manifest: how they came about; {} where that is not known.

    Attributes:
        folder, ids, dim, manifest: as above.
    """

    def __init__(self, folder: Path, ids: NDArray[np.bytes_], dim: int, manifest: Mapping[str, Any]) -> None:
        self.folder, self.ids, self.dim, self.manifest = folder, ids, dim, manifest

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> dict[str, int]:
        """Of "documents", and where they were encoded here, of "truncated", "empty" and "zero" (zero vectors)."""
        return {"documents": len(self)} | dict(self.manifest.get("counts", {}))

    @abstractmethod
    def shards(self) -> Iterator[NDArray[np.float32]]:
        """The vectors, float32 arrays of shape (some, dim), one after the other in the order of the ids."""

    def check(self) -> int:
        """How many vectors are zero, after reading them all.

        Raises:
            InputError: a vector that is not finite, or more or fewer vectors than ids.
        """
        done = zero = 0
        for shard in self.shards():
            finite = np.isfinite(shard).all(axis=1)
            if not finite.all():
                document = self.ids[done + int(np.argmin(finite))].decode()
                raise InputError(
                    f"{self.folder}: the vector of document {document!r} is not finite",
                    expected="finite numbers",
                    remedy="encode the collection again",
                )
            zero += int((~shard.any(axis=1)).sum())
            done += len(shard)
        if done != len(self):
            raise InputError(f"{self.folder}: {done} vectors, but {len(self)} ids", expected="one id for each vector")
        return zero

    def to_pyserini_faiss(self, folder: Path, kind: IndexKind = "flat", hnsw: HnswOptions | None = None) -> None:
        """Writes what `python -m pyserini.search.faiss --index` reads: the files `index` and `docid`, and a manifest.

        A flat index is written shard by shard; an HNSW graph needs its vectors in memory.

        Args:
            folder: a new folder, which appears there complete or not at all.
            kind: "flat" (every vector is compared) or "hnsw" (a graph; built by all cores, two are never quite alike).
            hnsw: the graph's numbers.

        Raises:
            InputError: the folder is there already, or an id that Pyserini would read as another one.
            NotInstalledError: FAISS is needed for the graph, and not installed.
        """
        from expandr_ir.dense.formats import HnswOptions, write_faiss

        write_faiss(self, folder, kind, hnsw or HnswOptions())

    def to_pyserini_jsonl(self, folder: Path, documents: Iterable[Document] | None = None) -> None:
        """Writes what `python -m pyserini.encode` writes: `embeddings.jsonl` of "id", "contents" and "vector".

        Each line has the id a second time as "docid": Anserini's JsonDenseVectorCollection looks for it there.

        Args:
            folder: a new folder, which appears there complete or not at all.
            documents: the corpus, for "contents" (title, line end, text); None leaves it "".

        Raises:
            InputError: the folder is there already, or the documents are others.
        """
        from expandr_ir.dense.formats import write_jsonl

        write_jsonl(self, folder, documents)


class ShardedVectors(CorpusVectors):
    """Vectors that were encoded here: shards are memory-mapped .npy files.

    Args:
        folder: as `encode.encode_corpus` writes it.

    Raises:
        InputError: they are not complete, or a shard is damaged.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / MANIFEST).is_file():
            raise InputError(
                f"{folder}: these vectors are not complete",
                expected=f"a file {MANIFEST}, which is written last",
                remedy="run the same expandr encode again: it goes on where it stopped",
            )
        manifest = read_json(folder / MANIFEST)
        super().__init__(folder, load_array(folder / IDS), manifest["dim"], manifest)
        self._paths = [vectors_path(folder, number) for number in range(manifest["shards"])]
        for path in self._paths:
            shape = load_array(path).shape
            if len(shape) != 2 or shape[1] != self.dim:
                raise InputError(f"{path}: an array of shape {shape}", expected=f"vectors of {self.dim} dimensions")

    def shards(self) -> Iterator[NDArray[np.float32]]:
        """The shards, memory-mapped."""
        return map(load_array, self._paths)


def open_vectors(folder: str | Path) -> CorpusVectors:
    """The vectors in a folder: encoded here, Pyserini's FAISS folder (`index`, `docid`), or its JSONL.

    Raises:
        MissingResourceError: there is no such folder.
        InputError: it holds none of these, it is not complete, or its parts do not fit each other.
        NotInstalledError: it is a FAISS index, and FAISS is not installed.
    """
    from expandr_ir.dense.formats import FaissVectors, JsonlVectors, is_faiss_folder, read_faiss

    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise MissingResourceError(f"{folder} is not there", expected="a folder of vectors", remedy="expandr encode")
    if (folder / PLAN).exists():
        return ShardedVectors(folder)
    if is_faiss_folder(folder):
        return FaissVectors(folder, *read_faiss(folder))
    if any(folder.glob("*.jsonl")):
        return JsonlVectors(folder)
    raise InputError(
        f"{folder} holds no vectors",
        expected="a folder of expandr encode, Pyserini's FAISS folder (index, docid), or its embeddings.jsonl",
    )


def check_encoder(folder: Path, dim: int, made_with: Mapping[str, Any] | None, encoder: DocumentEncoder) -> None:
    """Makes sure that an encoder's vectors may be compared with those of a corpus.

    Args:
        folder: where the corpus' vectors stand, for the error.
        dim: their dimension.
        made_with: the identity of the encoder that made them; None where it is not known.
        encoder: the one for the topics.

    Raises:
        InputError: another dimension, or another encoder; the message says what differs.
    """
    remedy = "name the encoder that they were made with, or encode the collection again"
    if encoder.dim != dim:
        raise InputError(
            f"{folder}: vectors of {dim} dimensions, and the encoder makes {encoder.dim}",
            expected="the same dimension",
            remedy=remedy,
        )
    own = encoder.identity()
    if made_with is not None and sha256_json(own) != sha256_json(made_with):
        keys = sorted(key for key in made_with.keys() | own if made_with.get(key) != own.get(key))
        raise InputError(
            f"{folder}: vectors of another encoder: "
            + "; ".join(f"{key} is {made_with.get(key)!r} there, {own.get(key)!r} here" for key in keys),
            expected="vectors and topics of one encoder",
            remedy=remedy,
        )


def vectors_path(folder: Path, number: int) -> Path:
    """The file of one shard's vectors."""
    return folder / f"{number:06d}.vectors.npy"


def load_array(path: Path) -> NDArray[Any]:
    """A memory-mapped array.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error})",
            expected="an array as it was written",
            remedy=f"delete {path.parent} and encode again",
        ) from error
    return array


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: it is none.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error})", remedy=f"delete {path.parent} and make it again") from error
