"""Searches of the whole collection with each candidate, and the positions at which they find the positives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from expandr_ir.collections import load_collection
from expandr_ir.errors import InputError, check_fields
from expandr_ir.io.files import sha256_json
from expandr_ir.io.runs import remove_own_document
from expandr_ir.records import ExpandedTopic, Expansion, Hits, Topic
from expandr_ir.retrievers import Hybrid, Retriever, SearchOptions, load_retriever
from expandr_ir.retrievers.base import SingleRetriever
from expandr_ir.retrievers.dense import Dense
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.parts import compute_once, in_parts
from expandr_ir.train.align.rewards import Floats
from expandr_ir.train.align.scoring import encoder_provenance


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(SearchOptions):
    """Options of the search behind the rewards `corpus` and `search`.

    Args:
        collection: a BEIR folder, irds:ID, pyserini:NAME, or demo; its topics' ids are the rows' ids.
        split: whose judgements say what is positive.
        smoothing: 0 takes a positive's rank as it is. Above, its position is 1 + the sum over the other hits of
            sigmoid((their score - its own) / (smoothing x (first score - last score))): it moves with every difference
            of scores, where ranks tie (the positions of ApproxNDCG, Qin, Liu and Li 2010).
        batch_queries: queries searched together and kept together: what a killed process loses.
    """

    collection: str | None = None
    split: str = "train"
    smoothing: float = 0.0
    batch_queries: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "batch_queries", least=1)
        check_fields(self, "smoothing", least=0)
        for part in parts_of(load_retriever(None, self)):  # opens nothing
            if part.aggregation is not None:
                part.find_aggregation(part.aggregation)


def parts_of(retriever: Retriever) -> Sequence[SingleRetriever]:
    """The retrievers of one index each that a retriever is made of."""
    if isinstance(retriever, Hybrid):
        return retriever.retrievers
    assert isinstance(retriever, SingleRetriever)
    return [retriever]


class CorpusSearch:
    """The collection's judgements, and its retriever, which stays open between searches.

    Args:
        options: what is searched, and how; with a collection.
    """

    def __init__(self, options: CorpusOptions) -> None:
        assert options.collection is not None
        self.options, self.collection = options, load_collection(options.collection)
        self.retriever = load_retriever(self.collection, options)
        self._qrels = self.collection.qrels(options.split)
        removes = {"auto": self.collection.remove_own_document, "remove": True, "keep": False}
        self._removes_own_document = removes[options.own_document]

    def identity(self) -> dict[str, Any]:
        """Everything that positions depend on besides rows and texts, as plain data."""
        parts, places, options = parts_of(self.retriever), {"index", "vectors"}, asdict(self.options)
        for name in ("threads", "heap", "batch_queries"):  # which change nothing that is found
            del options[name]
        return {
            "fingerprint": self.collection.fingerprint(),
            "options": options,
            "retrievers": [{k: v for k, v in part.details().items() if k not in places} for part in parts],
            "encoders": [encoder_provenance(part.open_encoder) for part in parts if isinstance(part, Dense)],
        }

    def positives(self, row_id: str) -> dict[str, int]:
        """The relevant documents of a row with their grades, by id; a row without one is an error."""
        grades = {doc_id: grade for doc_id, grade in sorted(self._qrels.get(row_id, {}).items()) if grade > 0}
        if not grades:
            spec, split = self.options.collection, self.options.split
            raise InputError(
                f"query {row_id!r} has no relevant document in {spec}, split {split}",
                expected="rows whose ids are topics of the collection, with judgements",
                remedy=f"--rows {spec}, or --corpus.collection and --corpus.split of the rows",
            )
        return grades

    def positions(self, entries: Sequence[tuple[Topic, Sequence[str]]]) -> Floats:
        """The positions of each topic's positives under each of its texts, one after the other; 0: not found.

        All are searched in one go; an empty text searches the topic alone.
        """
        topics = {
            f"{topic.topic_id}\n{place}": ExpandedTopic(topic, (Expansion(0, text),))
            for topic, texts in entries
            for place, text in enumerate(texts)
        }
        run = self.retriever.search(topics)
        flat: list[float] = []
        for name, expanded in topics.items():
            row_id, hits = expanded.topic.topic_id, run[name]
            if self._removes_own_document:  # the retriever removed none: the run's names are no topics' ids
                hits = remove_own_document({row_id: hits})[row_id]
            flat += positions_of(hits, self.positives(row_id), self.options.smoothing)
        return np.array(flat, dtype=np.float64)


def positions_of(hits: Hits, doc_ids: Iterable[str], smoothing: float = 0.0) -> list[float]:
    """The position of each document in a ranking, 0 where it is not there; see `CorpusOptions.smoothing`."""
    places = {doc_id: place for place, doc_id in enumerate(hits.doc_ids)}
    found = [places.get(doc_id) for doc_id in doc_ids]
    if not smoothing:
        return [0.0 if place is None else place + 1.0 for place in found]
    scores = np.array(hits.scores)
    with np.errstate(divide="ignore", invalid="ignore"):
        # equal scores are 0/0 apart: each is as likely before as after the others
        apart = [None if place is None else (scores - scores[place]) / (smoothing * np.ptp(scores)) for place in found]
    # the document itself adds sigmoid(0)
    return [0.0 if one is None else 0.5 + float(expit(np.nan_to_num(one)).sum()) for one in apart]


def add_corpus_ranks(
    table: Sequence[Candidates], search: CorpusSearch, folder: Path | None = None, *, with_alone: bool = False
) -> None:
    """Fills in `evidence.corpus`, `.grades` and, with_alone, `.alone`; what `folder` has is not searched again."""
    size = search.options.batch_queries if folder else max(1, len(table))
    entries = [(Topic(e.row.row_id, e.row.query), [*e.texts, *([""] if with_alone else [])]) for e in table]
    positives = {entry.row.row_id: search.positives(entry.row.row_id) for entry in table}
    key: dict[str, Any] = {}
    if folder:
        texts = [sha256_json([topic.topic_id, topic.text, texts]) for topic, texts in entries]
        key = search.identity() | {"texts": texts, "positives": positives}

    def positions(parts: Path | None) -> dict[str, NDArray[Any]]:
        batches = in_parts(parts, "queries searched", len(table), size, lambda part: search.positions(entries[part]))
        return {"positions": np.concatenate([np.empty(0), *batches])}

    flat, start = compute_once(folder, key, positions)["positions"], 0
    for entry, (_, searched) in zip(table, entries, strict=True):
        entry.evidence.grades = np.array(list(positives[entry.row.row_id].values()), dtype=np.float64)
        end = start + len(searched) * len(entry.evidence.grades)
        rows = flat[start:end].reshape(len(searched), -1)
        entry.evidence.corpus, entry.evidence.alone = rows[: len(entry.texts)], rows[-1] if with_alone else None
        start = end
