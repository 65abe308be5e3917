"""The document ids of a Lucene index, read once and kept as a memory-mapped array beside it."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write, home, sha256_file
from expandr_ir.jvm import LOCK, java_class
from expandr_ir.lucene.handles import bind, bind_function, call, chain, method, static_method

if TYPE_CHECKING:
    import numpy as np

CHUNK = 100_000
"""Ids that are moved from Java as one string."""


def doc_ids(index: Path, reader: Any) -> np.ndarray:
    """The ids of an index by Lucene's document number: read-only memory-mapped UTF-8 bytes, shape (max_doc,).

    The array is kept in the index's folder, or in the `docids` folder of `files.home()` where that one cannot be
    written. Its name holds the hash of the commit's segments file, in which Lucene writes a random id with each commit,
    so that a changed index never meets the ids of its past.

    Args:
        index: folder of the index.
        reader: Lucene's DirectoryReader of it.

    Raises:
        InputError: the index has documents without an id, or ids that contain a line end.
    """
    import numpy as np

    with LOCK:
        commit = sha256_file(index / reader.getIndexCommit().getSegmentsFileName())
        name = f"docids-{commit[:32]}.npy"
        places = [index / name, home() / "docids" / name]
        path = next((place for place in places if place.is_file()), places[not os.access(index, os.W_OK)])
        if not path.is_file():
            with atomic_write(path, "wb") as stream:
                _write(index, reader, stream)
    ids: np.ndarray = np.load(path, mmap_mode="r")
    return ids


def repeated_id(ids: np.ndarray) -> str | None:
    """An id that occurs twice among these, or None; 8 bytes of memory an id are taken."""
    import numpy as np

    hashes = np.empty(len(ids), dtype=np.int64)
    for start in range(0, len(ids), CHUNK):
        hashes[start : start + CHUNK] = [hash(one) for one in ids[start : start + CHUNK].tolist()]
    values, counts = np.unique(hashes, return_counts=True)
    suspects = np.flatnonzero(np.isin(hashes, values[counts > 1]))  # equal hashes may be of two ids
    seen: set[bytes] = set()
    for one in ids[suspects].tolist():
        if one in seen:
            return str(one.decode())
        seen.add(one)
    return None


def _write(index: Path, reader: Any, stream: IO[bytes]) -> None:
    """Writes all ids as an array of the longest one's width: first as lines, so that they never stand in memory."""
    import numpy as np

    total, count, width = reader.maxDoc(), 0, 1
    with tempfile.TemporaryFile(dir=Path(stream.name).parent) as lines:
        for text in _chunks(index, reader):
            ids = text.encode().split(b"\n")
            count, width = count + len(ids), max(width, *map(len, ids))
            lines.write(b"\n".join(ids) + b"\n")
        if count != total:
            raise InputError(f"{index}: {total} documents, but {count} ids", expected="one id without a line end each")
        header = {"descr": f"|S{width}", "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(stream, header)
        lines.seek(0)
        while some := [line[:-1] for line in itertools.islice(lines, CHUNK)]:
            stream.write(np.array(some, dtype=f"S{width}").tobytes())


def _chunks(index: Path, reader: Any) -> Iterator[str]:
    """All ids, as one string for each CHUNK of documents."""
    values = java_class("org.apache.lucene.index.MultiDocValues").getBinaryValues(reader, "id")
    if values is None:
        raise InputError(
            f"{index}: its documents have no ids that can be sorted by",
            expected="an index built by Anserini or Pyserini with Lucene 9 or newer",
            remedy="index the collection again: expandr index --collection C",
        )
    chunk, total = _joined_ids(values), reader.maxDoc()
    for start in range(0, total, CHUNK):
        yield call(chunk, start, min(start + CHUNK, total))


def _joined_ids(values: Any) -> Any:
    """A handle from the first and the last document's number (exclusive) to their ids, joined by line ends."""
    owner = "org.apache.lucene.index.BinaryDocValues"
    has_id = bind(method(owner, "advanceExact", "(I)Z"), 0, values)
    read = bind(method(owner, "binaryValue", "()Lorg/apache/lucene/util/BytesRef;"), 0, values)
    text = chain(read, method("org.apache.lucene.util.BytesRef", "utf8ToString", "()Ljava/lang/String;"))
    integer = java_class("java.lang.Integer").TYPE
    text = java_class("java.lang.invoke.MethodHandles").dropArguments(text, 0, integer)
    filtered = method(
        "java.util.stream.IntStream", "filter", "(Ljava/util/function/IntPredicate;)Ljava/util/stream/IntStream;"
    )
    mapped = method(
        "java.util.stream.IntStream", "mapToObj", "(Ljava/util/function/IntFunction;)Ljava/util/stream/Stream;"
    )
    joined = "(Ljava/lang/CharSequence;Ljava/lang/Iterable;)Ljava/lang/String;"
    return chain(
        static_method("java.util.stream.IntStream", "range", "(II)Ljava/util/stream/IntStream;"),
        bind_function(filtered, 1, "java.util.function.IntPredicate", has_id),
        bind_function(mapped, 1, "java.util.function.IntFunction", text),
        method("java.util.stream.Stream", "toList", "()Ljava/util/List;"),
        bind(static_method("java.lang.String", "join", joined), 0, "\n"),
    )
