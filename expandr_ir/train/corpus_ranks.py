"""Where the positives stand in the whole collection when it is searched with each candidate: evidence of `corpus`.

Queries are searched some at a time, through the same retrievers as any search, and each batch is kept on the disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from expandr_ir.encoders import encoder_config
from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write, sha256_json
from expandr_ir.records import ExpandedTopic, Expansion, Hits, Topic
from expandr_ir.retrieve import SearchOptions, sparse_aggregation
from expandr_ir.retrieve.base import Counting, Retriever, uncounted
from expandr_ir.train.rewards import Floats

if TYPE_CHECKING:
    from expandr_ir.collection import Collection


@dataclass(frozen=True)
class CorpusOptions:
    """What the `corpus` reward searches in, and how.

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
        for name in ("hits", "batch_queries"):
            if getattr(self, name) < 1:
                raise InputError(f"corpus.{name} is {getattr(self, name)}", expected="1 or more")


@dataclass(frozen=True)
class CorpusRanks:
    """The positives of one query in the rankings of its candidates.

    Args:
        ranks: from 1, shape (n_candidates, n_positives); 0 where a positive was not found.
        grades: of the positives, shape (n_positives,).
    """

    ranks: NDArray[np.int64]
    grades: Floats


def corpus_ranks(
    queries: Sequence[Topic],
    candidates: Sequence[Sequence[str]],
    options: CorpusOptions,
    folder: Path,
    *,
    search: SearchOptions | None = None,
    counting: Counting = uncounted,
) -> list[CorpusRanks]:
    """The ranks of each query's positives, in order.

    Args:
        queries: their ids are topics of the collection.
        candidates: texts of each query.
        options: what is searched, and how.
        folder: where finished batches are kept until all are there, and then the result.
        search: the encoder of a dense search with its roles and how it runs; its other options are not read.
        counting: shows how far indexing, encoding and searching are.

    Raises:
        InputError: no collection, or a query without a judged positive.
        MissingResourceError: as the retriever raises.
    """
    from expandr_ir.collection import load_collection

    if options.collection is None:
        raise InputError(
            "the reward 'corpus' without a collection", expected="a collection", remedy="--corpus.collection beir/X"
        )
    collection = load_collection(options.collection)
    qrels = collection.qrels(options.split)
    judged = {one.topic_id: _positives(qrels.get(one.topic_id, {}), one, options) for one in queries}
    base = search or SearchOptions()
    search = SearchOptions(
        retriever=options.retriever,
        hits=options.hits,
        encoder=base.encoder,
        expansion_role=base.expansion_role,
        expansion_prefix=base.expansion_prefix,
        encode=base.encode,
    )
    retriever, aggregation = _open(collection, search, options.aggregation, counting)
    key = sha256_json(
        {
            "fingerprint": collection.fingerprint(),
            "retriever": {name: value for name, value in retriever.details.items() if name not in {"index", "vectors"}},
            "options": [options.retriever, aggregation, options.hits, options.batch_queries],
            "encoder": [asdict(encoder_config(search.encoder)), search.expansion_role, search.expansion_prefix]
            if search.encoder and options.retriever == "dense"
            else None,
            "queries": [
                sha256_json([one.topic_id, one.text, list(texts)])
                for one, texts in zip(queries, candidates, strict=True)
            ],
            "judged": judged,
        }
    )[:16]
    result, parts = folder / f"{key}.npy", folder / f"{key}.parts"
    if not result.is_file():
        starts = range(0, len(queries), options.batch_queries)
        flat = []
        with counting("queries searched", len(queries)) as on_progress:
            for start in starts:
                part = slice(start, start + options.batch_queries)
                path = parts / f"{start:08d}.npy"
                if not path.is_file():
                    found = _batch(queries[part], candidates[part], judged, retriever, aggregation, collection)
                    _save(path, found)
                flat.append(np.load(path))
                on_progress(min(start + options.batch_queries, len(queries)))
        _save(result, np.concatenate([np.empty(0, dtype=np.int64), *flat]))
        shutil.rmtree(parts, ignore_errors=True)
    return _shaped(np.load(result), queries, candidates, judged)


def _positives(grades: dict[str, int], query: Topic, options: CorpusOptions) -> dict[str, int]:
    positives = {doc_id: grade for doc_id, grade in sorted(grades.items()) if grade > 0}
    if not positives:
        raise InputError(
            f"query {query.topic_id!r} has no relevant document in {options.collection}, split {options.split}",
            expected="rows whose ids are topics of the collection, with judgements",
        )
    return positives


def _open(
    collection: Collection, search: SearchOptions, aggregation: str | None, counting: Counting
) -> tuple[Retriever, str]:
    """The retriever and the aggregation in force."""
    sample = {"": ExpandedTopic(Topic("", ""), (Expansion(0, ""),))}
    if search.retriever == "sparse":
        from expandr_ir.retrieve.sparse import SparseRetriever

        name = sparse_aggregation(aggregation, sample)
        return SparseRetriever(collection, search, counting), name
    from expandr_ir.retrieve.dense import DenseRetriever, dense_aggregation

    name = dense_aggregation(aggregation, sample)
    return DenseRetriever(collection, search, counting), name


def _batch(
    queries: Sequence[Topic],
    candidates: Sequence[Sequence[str]],
    judged: dict[str, dict[str, int]],
    retriever: Retriever,
    aggregation: str,
    collection: Collection,
) -> NDArray[np.int64]:
    """The ranks of the batch's queries, one after the other, each row by row."""
    topics = {
        f"{query.topic_id}\n{place}": ExpandedTopic(query, (Expansion(0, text),))
        for query, texts in zip(queries, candidates, strict=True)
        for place, text in enumerate(texts)
    }
    run = retriever.search(topics, aggregation)
    flat: list[int] = []
    for name in topics:
        topic_id = name.rpartition("\n")[0]
        own = topic_id if collection.remove_own_document else None
        place = _places(run.get(name), own)
        flat += [place.get(doc_id, 0) for doc_id in judged[topic_id]]
    return np.array(flat, dtype=np.int64)


def _places(hits: Hits | None, own: str | None) -> dict[str, int]:
    found = [] if hits is None else [doc_id for doc_id in hits.doc_ids if doc_id != own]
    return {doc_id: rank for rank, doc_id in enumerate(found, start=1)}


def _save(path: Path, ranks: NDArray[np.int64]) -> None:
    with atomic_write(path, "wb") as stream:
        np.save(stream, ranks)


def _shaped(
    flat: NDArray[np.int64],
    queries: Sequence[Topic],
    candidates: Sequence[Sequence[str]],
    judged: dict[str, dict[str, int]],
) -> list[CorpusRanks]:
    ranks, start = [], 0
    for query, texts in zip(queries, candidates, strict=True):
        grades = list(judged[query.topic_id].values())
        end = start + len(texts) * len(grades)
        ranks.append(CorpusRanks(flat[start:end].reshape(len(texts), len(grades)), np.array(grades, dtype=np.float64)))
        start = end
    return ranks
