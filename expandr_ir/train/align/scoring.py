"""Similarities of candidates to positives and answers, as evidence for the rewards."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from expandr_ir.errors import check_fields
from expandr_ir.io.files import sha256_json
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.parts import compute_once, in_parts

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder

KINDS = ("documents", "expansions", "queries")


@dataclass(frozen=True)
class SimilarityOptions:
    """Options of the comparison of texts.

    Args:
        similarity: "cosine", or "dot" for the encoder's vectors as they are.
        positives: of several positives, the "first" counts, or for each candidate the "nearest".
        shard_texts: texts of a shard: what a killed process loses. A GPU is busier with more, such as 65536.
    """

    similarity: Literal["cosine", "dot"] = "cosine"
    positives: Literal["first", "nearest"] = "first"
    shard_texts: int = 2048

    def __post_init__(self) -> None:
        check_fields(self, "shard_texts", least=1)


def encoder_provenance(encoder: Encoder) -> dict[str, Any]:
    """The encoder with its roles and prefixes, on which similarities depend besides the texts, as plain data."""
    names = ("query_prefix", "query_max_length", "expansion_role", "expansion_prefix")
    return encoder.identity() | {name: getattr(encoder.config, name) for name in names}


def add_similarities(
    table: Sequence[Candidates],
    encoder: Encoder,
    folder: Path | None,
    options: SimilarityOptions,
    *,
    with_query: bool = False,
) -> None:
    """Fills in `evidence.positive`, `.answer` and, with_query, `.query`; what `folder` has is not computed again.

    Positives and answers are encoded as documents, candidates as the encoder encodes expansions.
    """
    rows = ([e.row.query if with_query else None, e.row.positives, e.answer, e.texts] for e in table)
    key = {
        "encoder": encoder_provenance(encoder),
        "options": [options.similarity, options.positives, options.shard_texts],
        "compared": hashlib.sha256("".join(map(sha256_json, rows)).encode()).hexdigest(),
    }
    arrays = compute_once(folder, key, lambda parts: _similarities(table, encoder, parts, options, with_query))
    ends = np.cumsum([len(entry.texts) for entry in table], dtype=np.int64)
    positive, answer = np.split(arrays["positive"], ends), np.split(arrays["answer"], ends)
    for place, entry in enumerate(table):
        entry.evidence.positive = positive[place]
        entry.evidence.answer = None if entry.answer is None else answer[place]
        entry.evidence.query = float(arrays["query"][place]) if with_query else None


def _similarities(
    table: Sequence[Candidates], encoder: Encoder, parts: Path | None, options: SimilarityOptions, with_query: bool
) -> dict[str, NDArray[Any]]:
    """Flat arrays over the candidates of all rows (`query`: over the rows); NaN stands for what is not there."""
    config, size = encoder.config, options.shard_texts
    as_documents = config.expansion_role == "document" and config.expansion_prefix in {None, config.document_prefix}

    def texts_of(entry: Candidates) -> Iterator[tuple[str, Sequence[str]]]:
        yield "documents", entry.row.positives[:1] if options.positives == "first" else entry.row.positives
        yield "documents", [entry.answer] if entry.answer is not None else []
        yield "documents" if as_documents else "expansions", entry.texts
        yield "queries", [entry.row.query] if with_query else []

    every = dict.fromkeys((kind, text) for entry in table for kind, texts in texts_of(entry) for text in texts)
    distinct = sorted(every, key=lambda text: KINDS.index(text[0]))
    number = {text: place for place, text in enumerate(distinct)}

    def encode(part: slice) -> NDArray[np.float32]:
        by_kind = itertools.groupby(distinct[part], key=lambda text: text[0])
        return np.concatenate(
            [getattr(encoder, f"encode_{kind}")([text for _, text in some]) for kind, some in by_kind]
        )

    shards = in_parts(parts, "texts encoded", len(distinct), size, encode)

    def vectors_of(kind: str, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [number[kind, text] for text in texts]
        vectors = np.array([shards[row // size][row % size] for row in rows], dtype=np.float32).reshape(-1, encoder.dim)
        if options.similarity == "cosine":
            with np.errstate(invalid="ignore"):  # NaN of a zero vector is refused by sum_rewards, with the query's name
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    columns: dict[str, list[Any]] = {name: [np.empty(0)] for name in ("positive", "answer", "query")}
    for entry in table:
        positives, answers, texts, queries = (vectors_of(kind, texts) for kind, texts in texts_of(entry))
        columns["positive"].append((texts @ positives.T).max(axis=1))
        columns["answer"].append(texts @ answers[0] if len(answers) else np.full(len(texts), np.nan))
        columns["query"].append([(positives @ queries[0]).max() if with_query else np.nan])
    return {name: np.concatenate(values).astype(np.float64) for name, values in columns.items()}
