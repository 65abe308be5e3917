"""Similarities of candidates to positives and answers: each distinct text of all queries is encoded once.

The texts are encoded shard by shard, and each shard appears complete or not at all: what was killed goes on at the
first missing shard, whose texts are encoded together, so that the vectors are those of an unbroken run.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.files import atomic_write, sha256_json
from expandr_ir.train.rewards import Floats

SHARD_TEXTS = 2048
"""Texts of a shard: what a killed process loses."""

Vectors: TypeAlias = NDArray[np.float32]


class TextEncoder(Protocol):
    """What `encoders.Encoder` is to this module."""

    config: EncoderConfig
    dim: int

    def encode_queries(self, texts: Sequence[str]) -> Vectors: ...  # noqa: D102
    def encode_documents(self, documents: Sequence[str]) -> Vectors: ...  # noqa: D102
    def encode_expansions(self, texts: Sequence[str]) -> Vectors: ...  # noqa: D102
    def identity(self) -> dict[str, Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Compared:
    """The texts of one query.

    Args:
        query: encoded as a query, and only where `with_query` is asked for.
        positives: encoded as documents.
        answer: encoded as a document; None where there is none.
        candidates: encoded as expansions.
    """

    query: str
    positives: tuple[str, ...]
    answer: str | None
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Similarities:
    """The similarities of one query's candidates.

    Args:
        positive: to the positive, shape (n_candidates,).
        answer: to the answer, shape (n_candidates,); None where there is none.
        query: of the query to the positive; None where it was not asked for.
    """

    positive: Floats
    answer: Floats | None
    query: float | None


@dataclass(frozen=True)
class SimilarityOptions:
    """How texts are compared.

    Args:
        similarity: "cosine", or "dot" for the encoder's vectors as they are.
        positives: of several positives, the "first" counts, or for each candidate the "nearest".
        shard_texts: texts of a shard: what a killed process loses. A GPU is busier with more, such as 65536.
    """

    similarity: Literal["cosine", "dot"] = "cosine"
    positives: Literal["first", "nearest"] = "first"
    shard_texts: int = SHARD_TEXTS

    def __post_init__(self) -> None:
        if self.shard_texts < 1:
            raise InputError(f"shard_texts is {self.shard_texts}", expected="1 or more")


def encoder_provenance(encoder: TextEncoder) -> dict[str, Any]:
    """What similarities depend on besides the texts: the encoder with its roles and prefixes, as plain data."""
    config = encoder.config
    return encoder.identity() | {
        "query_prefix": config.query_prefix,
        "query_max_length": config.query_max_length,
        "expansion_role": config.expansion_role,
        "expansion_prefix": config.expansion_prefix,
    }


def similarities(
    compared: Sequence[Compared],
    encoder: TextEncoder,
    folder: Path,
    options: SimilarityOptions,
    *,
    with_query: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> list[Similarities]:
    """The similarities of each query's candidates, in order; computed where the folder does not have them.

    Args:
        compared: the texts by query.
        encoder: texts -> vectors.
        folder: where shards and results are kept, under the hash of encoder, options and texts; other results stay.
        options: how texts are compared.
        with_query: also compare the query itself.
        on_progress: is called after each shard with the texts encoded so far.

    Raises:
        ExpandrError: a vector that is not finite, or one of zeros where cosines are asked for.
        OSError: the folder cannot be written, or the disk is full.
    """
    texts = _Texts(encoder, compared, options, with_query)
    key = sha256_json(
        {
            "encoder": encoder_provenance(encoder),
            "options": [options.similarity, options.positives, options.shard_texts],
            "compared": _digest(compared, with_query),
        }
    )[:16]
    result, shards = folder / f"{key}.npz", folder / f"{key}.shards"
    with _exclusive(folder / ".lock"):
        if not result.is_file():
            vectors = _encode(shards, texts, encoder, options.shard_texts, on_progress)
            _save(result, [_of_query(one, texts, vectors, options, with_query) for one in compared])
            shutil.rmtree(shards)
    return _load(result)


def _digest(compared: Sequence[Compared], with_query: bool) -> str:
    """The SHA-256 of all texts, one query at a time: a million texts are not joined for it."""
    digest = hashlib.sha256()
    for one in compared:
        row = [one.query if with_query else None, one.positives, one.answer, one.candidates]
        digest.update(sha256_json(row).encode())
    return digest.hexdigest()


class _Texts:
    """Each distinct text once, with how it is encoded: documents first, then expansions, then queries."""

    def __init__(
        self, encoder: TextEncoder, compared: Sequence[Compared], options: SimilarityOptions, with_query: bool
    ) -> None:
        config = encoder.config
        as_document = config.expansion_role == "document" and config.expansion_prefix in {None, config.document_prefix}
        self.expansion = "documents" if as_document else "expansions"
        self.first = options.positives == "first"
        number: dict[tuple[str, str], int] = {}
        for kind in ("documents", "expansions", "queries"):
            for one in compared:
                for text in self._of(one, kind, with_query):
                    number.setdefault((kind, text), len(number))
        self.number = number
        self.kinds = [kind for kind, _ in number]
        self.texts = [text for _, text in number]

    def positives(self, one: Compared) -> tuple[str, ...]:
        """The positives that count."""
        return one.positives[:1] if self.first else one.positives

    def _of(self, one: Compared, kind: str, with_query: bool) -> Iterator[str]:
        if kind == "documents":
            yield from self.positives(one)
            if one.answer is not None:
                yield one.answer
        if kind == self.expansion:
            yield from one.candidates
        if kind == "queries" and with_query:
            yield one.query


def _encode(
    folder: Path, texts: _Texts, encoder: TextEncoder, size: int, on_progress: Callable[[int], None] | None
) -> list[Vectors]:
    """The vectors of the texts, a memory-mapped array of shape (at most `size`, dim) for each shard."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.tmp"):  # by a process that was killed
        left.unlink()
    shards = []
    for number, start in enumerate(range(0, len(texts.texts), size)):
        path = folder / f"{number:06d}.npy"
        if not path.is_file():
            vectors = _shard(texts, slice(start, start + size), encoder)
            with atomic_write(path, "wb") as stream:
                np.save(stream, vectors)
        shards.append(np.load(path, mmap_mode="r"))
        if on_progress:
            on_progress(min(start + size, len(texts.texts)))
    return shards


def _shard(texts: _Texts, part: slice, encoder: TextEncoder) -> Vectors:
    kinds, some = texts.kinds[part], texts.texts[part]
    vectors = np.empty((len(some), encoder.dim), dtype=np.float32)
    encode: dict[str, Callable[[Sequence[str]], Vectors]] = {
        "documents": encoder.encode_documents,
        "expansions": encoder.encode_expansions,
        "queries": encoder.encode_queries,
    }
    for kind, encode_kind in encode.items():
        rows = [row for row, other in enumerate(kinds) if other == kind]
        if rows:
            vectors[rows] = encode_kind([some[row] for row in rows])
    if not np.isfinite(vectors).all():
        first = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ExpandrError(f"the vector of a text is not finite: {some[first][:60]!r}", expected="finite numbers")
    return vectors


def _of_query(
    one: Compared, texts: _Texts, shards: Sequence[Vectors], options: SimilarityOptions, with_query: bool
) -> Similarities:
    size = options.shard_texts

    def vectors(kind: str, wanted: Sequence[str]) -> Vectors:
        rows = [texts.number[kind, text] for text in wanted]
        found = np.array([shards[row // size][row % size] for row in rows], dtype=np.float32)
        return _normalised(found, wanted) if options.similarity == "cosine" else found

    positives = vectors("documents", texts.positives(one))
    candidates = vectors(texts.expansion, one.candidates)
    answer = vectors("documents", [one.answer])[0] if one.answer is not None else None
    query = vectors("queries", [one.query])[0] if with_query else None
    return Similarities(
        (candidates @ positives.T).max(axis=1).astype(np.float64),
        None if answer is None else (candidates @ answer).astype(np.float64),
        None if query is None else float((positives @ query).max()),
    )


def _normalised(vectors: Vectors, texts: Sequence[str]) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        first = texts[int(np.argmin(lengths[:, 0]))]
        raise ExpandrError(f"the vector of a text is zero: {first[:60]!r}", expected="a direction, for a cosine")
    normalised: Vectors = vectors / lengths
    return normalised


def _save(path: Path, found: Sequence[Similarities]) -> None:
    """Flat arrays; what is not there is NaN, which no similarity is."""
    positive = [one.positive for one in found]
    answer = [np.full(len(one.positive), np.nan) if one.answer is None else one.answer for one in found]
    with atomic_write(path, "wb") as stream:
        np.savez(
            stream,
            sizes=np.array([len(one) for one in positive], dtype=np.int64),
            positive=np.concatenate([np.empty(0), *positive]),
            answer=np.concatenate([np.empty(0), *answer]),
            query=np.array([np.nan if one.query is None else one.query for one in found]),
        )


def _load(path: Path) -> list[Similarities]:
    found, start = [], 0
    with np.load(path) as saved:
        positive, answer = saved["positive"], saved["answer"]
        for size, query in zip(saved["sizes"].tolist(), saved["query"].tolist(), strict=True):
            own = slice(start, start + size)
            without = np.isnan(answer[own]).any()
            found.append(
                Similarities(positive[own], None if without else answer[own], None if np.isnan(query) else query)
            )
            start += size
    return found


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """One process at a time is in this block; the system ends a dead process's lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
