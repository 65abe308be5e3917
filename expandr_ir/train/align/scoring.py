"""Evidence for the rewards, filled into a table of candidates: similarities, and ranks in the whole collection.

Both are computed part by part (a shard of texts, a batch of queries). A part appears on the disk whole or not at all,
and the result takes the place of the parts: a killed run goes on at the first missing part, with the vectors and ranks
of an unbroken one, and a second run computes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from expandr_ir.errors import InputError, check_fields
from expandr_ir.io.files import atomic_write, exclusive, sha256_json
from expandr_ir.progress import progress
from expandr_ir.records import ExpandedTopic, Expansion, Topic
from expandr_ir.retrievers import BM25
from expandr_ir.train.align.candidates import Candidates

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder
    from expandr_ir.retrievers.dense import Dense

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


@dataclass(frozen=True)
class CorpusOptions:
    """Options of the reward `corpus`.

    Args:
        collection: a BEIR folder, irds:ID, pyserini:NAME, or demo; its topics' ids are the rows' ids.
        split: whose judgements say what is positive.
        retriever: BM25, or the preferences' encoder.
        aggregation: how query and candidate become one query; None is "repeat" (sparse) or "mean" (dense).
        hits: documents looked at; a positive further down counts as not found.
        batch_queries: queries searched together and kept together: what a killed process loses.
    """

    collection: str | None = None
    split: str = "train"
    retriever: Literal["sparse", "dense"] = "sparse"
    aggregation: str | None = None
    hits: int = 1000
    batch_queries: int = 64

    def __post_init__(self) -> None:
        check_fields(self, "hits", "batch_queries", least=1)


def encoder_provenance(encoder: Encoder) -> dict[str, Any]:
    """The encoder with its roles and prefixes, on which similarities depend besides the texts, as plain data."""
    names = ("query_prefix", "query_max_length", "expansion_role", "expansion_prefix")
    return encoder.identity() | {name: getattr(encoder.config, name) for name in names}


def add_similarities(
    table: Sequence[Candidates], encoder: Encoder, folder: Path, options: SimilarityOptions, *, with_query: bool = False
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
    arrays = _compute_once(folder, key, lambda parts: _similarities(table, encoder, parts, options, with_query))
    ends = np.cumsum([len(entry.texts) for entry in table], dtype=np.int64)
    positive, answer = np.split(arrays["positive"], ends), np.split(arrays["answer"], ends)
    for place, entry in enumerate(table):
        entry.evidence.positive = positive[place]
        entry.evidence.answer = None if entry.answer is None else answer[place]
        entry.evidence.query = float(arrays["query"][place]) if with_query else None


def _similarities(
    table: Sequence[Candidates], encoder: Encoder, parts: Path, options: SimilarityOptions, with_query: bool
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

    shards = _in_parts(parts, "texts encoded", len(distinct), size, encode)

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


def add_corpus_ranks(table: Sequence[Candidates], options: CorpusOptions, folder: Path, dense: Dense) -> None:
    """Fills in `evidence.corpus` and `.grades` by a search for each candidate; what `folder` has is not searched again.

    `dense` names the encoder and its roles, for a dense search.
    """
    from expandr_ir.collections import load_collection

    assert options.collection is not None
    collection = load_collection(options.collection)
    qrels = collection.qrels(options.split)
    positives: dict[str, dict[str, int]] = {}
    for entry in table:
        grades = sorted(qrels.get(entry.row.row_id, {}).items())
        positives[entry.row.row_id] = {doc_id: grade for doc_id, grade in grades if grade > 0}
        if not positives[entry.row.row_id]:
            raise InputError(
                f"query {entry.row.row_id!r} has no relevant document in {options.collection}, split {options.split}",
                expected="rows whose ids are topics of the collection, with judgements",
            )
    settings: dict[str, Any] = {"collection": collection, "hits": options.hits, "aggregation": options.aggregation}
    retriever = replace(dense, **settings) if options.retriever == "dense" else BM25(**settings)
    key = {
        "fingerprint": collection.fingerprint(),
        "retriever": {name: value for name, value in retriever.details().items() if name not in {"index", "vectors"}},
        "options": asdict(options),
        "encoder": None if isinstance(retriever, BM25) else encoder_provenance(retriever.open_encoder),
        "queries": [sha256_json([entry.row.row_id, entry.row.query, entry.texts]) for entry in table],
        "positives": positives,
    }

    def ranks(part: slice) -> NDArray[np.int64]:
        """The ranks of each row's positives under each of its candidates, one after the other."""
        topics = {
            f"{entry.row.row_id}\n{place}": ExpandedTopic(
                Topic(entry.row.row_id, entry.row.query), (Expansion(0, text),)
            )
            for entry in table[part]
            for place, text in enumerate(entry.texts)
        }
        run, flat = retriever.search(topics), []
        for name, topic in topics.items():
            row_id = topic.topic.topic_id  # the retriever removes no own document: the run's names are no topics' ids
            doc_ids = [i for i in run[name].doc_ids if i != row_id or not collection.remove_own_document]
            rank = {doc_id: number for number, doc_id in enumerate(doc_ids, start=1)}
            flat += [rank.get(doc_id, 0) for doc_id in positives[row_id]]
        return np.array(flat, dtype=np.int64)

    def all_ranks(parts: Path) -> dict[str, NDArray[Any]]:
        batches = _in_parts(parts, "queries searched", len(table), options.batch_queries, ranks)
        return {"ranks": np.concatenate([np.empty(0, dtype=np.int64), *batches])}

    flat, start = _compute_once(folder, key, all_ranks)["ranks"], 0
    for entry in table:
        entry.evidence.grades = np.array(list(positives[entry.row.row_id].values()), dtype=np.float64)
        shape = (len(entry.texts), len(entry.evidence.grades))
        entry.evidence.corpus = flat[start : start + shape[0] * shape[1]].reshape(shape)
        start += shape[0] * shape[1]


def _compute_once(
    folder: Path, key: Mapping[str, Any], compute: Callable[[Path], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The arrays kept under the hash of the key, computed by one process at a time where they are not there."""
    name = sha256_json(key)[:16]
    path, parts = folder / f"{name}.npz", folder / f"{name}.parts"
    with exclusive(folder / ".lock"):
        if not path.is_file():
            arrays = compute(parts)
            with atomic_write(path, "wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]
            shutil.rmtree(parts, ignore_errors=True)
    with np.load(path) as stored:
        return dict(stored)


def _in_parts(
    folder: Path, description: str, total: int, size: int, compute: Callable[[slice], NDArray[Any]]
) -> list[NDArray[Any]]:
    """A memory-mapped array for each `size` of the items; a part that is on the disk is not computed again."""
    parts = []
    with progress(description, total) as advance:
        for start in range(0, total, size):
            path = folder / f"{start:08d}.npy"
            if not path.is_file():
                array = compute(slice(start, start + size))
                with atomic_write(path, "wb") as stream:
                    np.save(stream, array)
            parts.append(np.load(path, mmap_mode="r"))
            advance(min(size, total - start))
    return parts
