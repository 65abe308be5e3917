"""The vectors of a corpus: kept on disk, read shard by shard, and Pyserini's two formats of them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from expandr_ir.blocks import fit
from expandr_ir.errors import InputError, MissingResourceError, check_number
from expandr_ir.io.files import read_json, read_jsonl, sha256_file, text_field, write_json
from expandr_ir.io.manifest import installed_versions
from expandr_ir.io.topics import check_id
from expandr_ir.records import Document
from expandr_ir.runtime import require

PLAN, IDS, MANIFEST = "plan.json", "ids.npy", "manifest.json"
ARRAYS = ("vectors.npy", "ids.npy")
REPAIR = "expandr encode --verify, which encodes damaged shards again; or delete the folder and encode again"
ROWS_AT_ONCE = 8192
SMALLEST_MAPPED_BYTES = 1 << 20
LARGEST = float(np.finfo(np.float32).max)

IndexKind: TypeAlias = Literal["flat", "hnsw"]
T = TypeVar("T")


@dataclass(frozen=True)
class HnswOptions:
    """An HNSW graph (Malkov and Yashunin 2018); m and ef_construction are those of Anserini's regressions.

    Args:
        m: neighbours of a document.
        ef_construction: candidates while the graph is built.
        ef_search: candidates of a search; at least as many as hits are taken.
    """

    m: int = 16
    ef_construction: int = 100
    ef_search: int = 100


@dataclass(frozen=True, kw_only=True)
class VectorsRecord:
    """plan.json, and with all that it has not yet, manifest.json."""

    encoder: dict[str, Any]  # its identity
    fingerprint: str  # of the collection
    dim: int
    shard_documents: int = 0
    shards: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    kind: IndexKind | None = None  # of a FAISS folder
    hnsw: HnswOptions | None = None


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """The counts of a shard's documents, and the sums of its two files; older ones have no sums."""

    documents: int
    truncated: int
    empty: int
    zero: int
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CorpusVectors:
    """The vectors of a corpus, in the order of its documents."""

    folder: Path
    ids: NDArray[np.bytes_] = field(repr=False)  # the documents' ids as UTF-8
    dim: int
    manifest: Mapping[str, Any] = field(repr=False)  # {} where it is not known how they were made
    shards: Callable[[], Iterator[NDArray[np.float32]]] = field(repr=False)  # reads arrays of shape (some, dim) anew

    def __len__(self) -> int:
        return len(self.ids)

    def __str__(self) -> str:
        counts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in self.counts.items())
        return f"{self.folder}\n{len(self):,} vectors of {self.dim} dimensions; {counts}"

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
        """Writes a new folder that `python -m pyserini.search.faiss --index` reads: `index`, `docid`, a manifest."""
        hnsw = hnsw or HnswOptions()
        for doc_id in map(bytes.decode, self.ids.tolist()):
            if doc_id != doc_id.rstrip() or len(doc_id.splitlines()) != 1:
                raise InputError(
                    f"document id {doc_id!r}: Pyserini reads one id a line, and loses white space at its end",
                    expected="ids that end in no white space and have no line end",
                    remedy="rename the document",
                )
        with _new_folder(folder) as temporary:
            (temporary / "docid").write_bytes(b"".join(doc_id + b"\n" for doc_id in self.ids.tolist()))
            if kind == "flat":
                self._write_flat(temporary / "index")
            else:  # in memory, and built by all cores: two graphs are never quite alike
                faiss = require("faiss", "cpu")
                index = faiss.IndexHNSWFlat(self.dim, hnsw.m, faiss.METRIC_INNER_PRODUCT)
                index.hnsw.efConstruction = hnsw.ef_construction
                for shard in self.shards():
                    index.add(np.ascontiguousarray(shard))
                faiss.write_index(index, str(temporary / "index"))
            manifest = {key: value for key, value in self.manifest.items() if key not in {"shards", "shard_documents"}}
            manifest |= {"kind": kind, "versions": installed_versions()}
            manifest |= {"hnsw": asdict(hnsw)} if kind == "hnsw" else {}
            write_json(temporary / MANIFEST, manifest)

    def _write_flat(self, path: Path) -> None:
        """Writes FAISS's file of an IndexFlatIP without holding it in memory."""
        rows, dim = len(self), self.dim
        with path.open("wb") as stream:
            # Kind, dimension, rows, two unread numbers, trained, metric (0: inner product), count of numbers to come.
            stream.write(struct.pack("<4siqqqBiQ", b"IxFI", dim, rows, 1 << 20, 1 << 20, 1, 0, rows * dim))
            for shard in self.shards():
                stream.write(np.ascontiguousarray(shard, dtype="<f4").tobytes())

    def to_pyserini_jsonl(self, folder: Path, documents: Iterable[Document]) -> None:
        """Writes a new folder with what `python -m pyserini.encode` writes: "id", "contents" and "vector" by line."""
        texts = iter(documents)
        rows = (row for shard in self.shards() for row in shard)
        with _new_folder(folder) as temporary, (temporary / "embeddings.jsonl").open("w", encoding="utf-8") as stream:
            for doc_id, row in zip(map(bytes.decode, self.ids), rows, strict=True):
                document = next(texts, None)
                if document is None or document.doc_id != doc_id:
                    other = "the end" if document is None else repr(document.doc_id)
                    raise InputError(f"documents and vectors differ: {other} where {doc_id!r} was expected")
                contents = f"{document.title}\n{document.text}"
                # Pyserini reads "id", Anserini's dense indexers read "docid".
                line = {"id": doc_id, "docid": doc_id, "contents": contents, "vector": row.tolist()}
                stream.write(json.dumps(line) + "\n")


def open_vectors(folder: str | Path) -> CorpusVectors:
    """The vectors in a folder: encoded here, Pyserini's FAISS folder (`index`, `docid`), or its JSONL."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise MissingResourceError(f"{folder} is not there", expected="a folder of vectors", remedy="expandr encode")
    if (folder / PLAN).exists():
        return open_shards(folder)
    if is_faiss_folder(folder):
        return faiss_vectors(folder, *read_faiss(folder))
    if paths := sorted(folder.glob("*.jsonl")):
        return _jsonl_vectors(folder, paths)
    expected = "a folder of expandr encode, Pyserini's FAISS folder (index, docid), or its embeddings.jsonl"
    raise InputError(f"{folder} holds no vectors", expected=expected)


def open_shards(folder: Path) -> CorpusVectors:
    """Memory-mapped vectors of a folder that `encode_corpus` has completed."""
    if not (folder / MANIFEST).is_file():
        remedy = "run the same expandr encode again: it goes on where it stopped"
        expected = f"a file {MANIFEST}, which is written last"
        raise InputError(f"{folder}: these vectors are not complete", expected=expected, remedy=remedy)
    manifest = read_record(folder / MANIFEST, VectorsRecord)
    check_number(f"{folder / MANIFEST}: the number of shards", manifest.get("shards", 0), least=1)
    dim, ids = manifest["dim"], load_ids(folder / IDS)
    check_ids(ids, folder / IDS)
    paths, rows = [], 0
    for number in range(manifest["shards"]):  # which ends at the first that is not there
        paths.append(shard_path(folder, number, "vectors.npy"))
        rows += len(load_vectors(paths[-1], dim))
    if rows != len(ids):
        raise InputError(
            f"{folder}: {rows} vectors, but {len(ids)} ids", expected="one id for each vector", remedy=REPAIR
        )
    return CorpusVectors(folder, ids, dim, manifest, lambda: (load_vectors(path, dim) for path in paths))


def shard_path(folder: Path, number: int, part: str) -> Path:
    """A file of a shard: one of ARRAYS, or the json, its record, which is written last."""
    return folder / f"{number:06d}.{part}"


def shard_sums(folder: Path, number: int) -> dict[str, str]:
    """The SHA-256 of a shard's arrays."""
    paths = {part: shard_path(folder, number, part) for part in ARRAYS}
    return {part: sha256_file(path) for part, path in paths.items() if path.is_file()}


def load_vectors(path: Path, dim: int) -> NDArray[np.float32]:
    """Memory-mapped vectors."""
    return _load_array(
        path, f"float32 of shape (n, {dim})", lambda array: array.shape[1:] == (dim,) and array.dtype == "f4"
    )


def load_ids(path: Path) -> NDArray[np.bytes_]:
    """Memory-mapped ids."""
    return _load_array(path, "bytes of shape (n,)", lambda array: array.ndim == 1 and array.dtype.kind == "S")


def _load_array(path: Path, expected: str, fits: Callable[[NDArray[Any]], bool]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    # The last four are of damaged headers.
    except (OSError, ValueError, OverflowError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise InputError(f"{path} cannot be read ({error})", expected=expected, remedy=REPAIR) from error
    if not isinstance(array, np.ndarray) or not fits(array):
        kind = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise InputError(f"{path} holds {kind}", expected=expected, remedy=REPAIR)
    return array


def check_ids(ids: NDArray[np.bytes_], path: Path) -> None:
    """Refuses ids that are no UTF-8, empty, or there twice; 3 s for 8.8 million."""
    listed: list[bytes] = ids.tolist()
    try:
        b"\n".join(listed).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: an id that is no UTF-8 ({error})", expected="ids as UTF-8") from error
    ordered = np.sort(ids)
    if len(ordered) and not ordered[0]:
        raise InputError(f"{path}, line {listed.index(b'') + 1}: no id", expected="an id for each vector")
    if len(twice := ordered[1:][ordered[1:] == ordered[:-1]]):
        raise InputError(f"{path}: document {twice[0].decode()!r} a second time", expected="each document once")


def read_record(path: Path, kind: type[T]) -> dict[str, Any]:
    """The object in one of the JSON files beside vectors, which has the fields of this kind."""
    data = read_json(path, REPAIR)
    fit(kind, data, str(path))
    return dict(data)


def is_faiss_folder(folder: Path) -> bool:
    """Reports Pyserini's FAISS folder, complete or not."""
    return (folder / "index").exists() or (folder / "docid").exists()


def read_faiss(folder: Path) -> tuple[Any, NDArray[np.bytes_]]:
    """The FAISS index of a Pyserini folder, memory-mapped where it is large, and the ids of its rows as UTF-8."""
    faiss = require("faiss", "cpu")
    for name in ("index", "docid"):
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no file {name!r}", expected="Pyserini's FAISS folder: index and docid")
    try:
        # Mapped, a file that ends within a number of its head ends the process (faiss 1.15); read, it is an error.
        is_large = (folder / "index").stat().st_size >= SMALLEST_MAPPED_BYTES
        index = faiss.read_index(str(folder / "index"), faiss.IO_FLAG_MMAP_IFC if is_large else 0)
        if index is None:
            raise RuntimeError("it says that it is none")
    except (RuntimeError, MemoryError) as error:
        problem = f"{folder / 'index'}: FAISS cannot read this index ({str(error).splitlines()[0]})"
        raise InputError(problem, expected="a complete index, of vectors of numbers (not of bits)") from error
    with (folder / "docid").open("rb") as stream:
        try:
            ids = [line.decode().rstrip().encode() for line in stream]  # as Pyserini reads them
        except UnicodeDecodeError as error:
            raise InputError(
                f"{folder / 'docid'}: invalid UTF-8 ({error})", expected="an id a line, as UTF-8"
            ) from error
    if len(ids) != index.ntotal:
        problem = f"{folder}: the index has {index.ntotal} vectors, and docid has {len(ids)} ids"
        raise InputError(problem, expected="one id for each vector", remedy="make index and docid together again")
    array = np.array(ids, dtype=bytes)
    check_ids(array, folder / "docid")
    return index, array


def faiss_vectors(folder: Path, index: Any, ids: NDArray[np.bytes_]) -> CorpusVectors:
    """The vectors that a FAISS index keeps as they were; checked to be finite where they were not written here."""
    if type(index).__name__ not in {"IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexHNSWFlat"}:
        raise InputError(
            f"{folder}: a FAISS index of the kind {type(index).__name__}",
            expected="a flat index or an HNSW graph over one: others do not keep the vectors as they were",
            remedy="search it as it is, or encode the collection",
        )

    def shards() -> Iterator[NDArray[np.float32]]:
        starts = range(0, len(ids), ROWS_AT_ONCE)
        return (index.reconstruct_n(start, min(ROWS_AT_ONCE, len(ids) - start)) for start in starts)

    vectors = CorpusVectors(folder, ids, index.d, read_faiss_manifest(folder), shards)
    if not vectors.manifest:
        vectors.check()
    return vectors


def read_faiss_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that was written here; {} of any other."""
    return read_record(folder / MANIFEST, VectorsRecord) if (folder / MANIFEST).is_file() else {}


def _jsonl_vectors(folder: Path, paths: list[Path]) -> CorpusVectors:
    """Vectors in JSON lines of "id" and "vector"; parsed anew at each reading."""
    dim, ids = 0, dict[str, None]()
    for where, row in _jsonl_rows(paths):
        vector, doc_id = row.get("vector"), text_field(row, ("id",), where)
        if (
            not isinstance(vector, list)
            or len(vector) != (dim or len(vector) or 1)
            or not all(type(value) in {int, float} and abs(value) <= LARGEST for value in vector)
        ):
            raise InputError(f"{where}: no vector of {dim or 'some'} finite numbers", expected='"vector": [...]')
        dim = len(vector)
        check_id(doc_id, "document", where)
        if doc_id in ids:
            raise InputError(f"{where}: document {doc_id!r} a second time", expected="each document once")
        ids[doc_id] = None
    if not ids:
        raise InputError(f"{folder} holds no vector", expected="at least one line")
    array = np.array([doc_id.encode() for doc_id in ids])
    return CorpusVectors(folder, array, dim, {}, partial(_jsonl_shards, paths))


def _jsonl_shards(paths: list[Path]) -> Iterator[NDArray[np.float32]]:
    vectors = (row["vector"] for _, row in _jsonl_rows(paths))
    while rows := list(itertools.islice(vectors, ROWS_AT_ONCE)):
        yield np.array(rows, dtype=np.float32)


def _jsonl_rows(paths: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"{path}, line {number}", row) for path in paths for number, row in read_jsonl(path))


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the name of a new one when the block ends without an error."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already", expected="a new folder", remedy="name another, or delete it")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
