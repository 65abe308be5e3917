"""Hard negatives of a collection's topics: documents that BM25 or an encoder ranks high and nobody judged relevant."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expandr_ir.collections import Collection, load_collection
from expandr_ir.errors import InputError, check_fields
from expandr_ir.io.files import atomic_write, output_file, parse_json, sha256_json
from expandr_ir.io.manifest import Summary, write_manifest
from expandr_ir.progress import progress
from expandr_ir.records import Topic
from expandr_ir.retrievers import BM25
from expandr_ir.retrievers.dense import Dense
from expandr_ir.retrievers.encode import encode_corpus
from expandr_ir.train.data.rows import TrainingRow, document_texts, relevant_ids, row_json

logger = logging.getLogger(__name__)

SPARE = 5
"""Candidates beyond the negatives wanted whose texts are read: some turn out to be copies of a positive."""


@dataclass(frozen=True, kw_only=True)
class MineOptions:
    """Options of `expandr train mine`.

    Args:
        collection: a BEIR folder, irds:ID, pyserini:NAME, or demo.
        split: whose topics and judgements.
        sources: bm25, dense, or both (repeat it); both give their documents in turn. None given is bm25.
        encoder: for dense, and to judge what BM25 found: a name of conf/encoders, a YAML file, a folder or a hub id.
        hits: documents of each source that are looked at.
        negatives: most negatives of a topic.
        skip: best hits of each source that are passed over.
        margin: a negative's score is at most this share of the lowest score of the topic's positives, both by the
            encoder (NV-Retriever, arXiv 2407.15831; Reinforced-IR has .95 too). Without an encoder nothing is judged.
        topics_at_once: topics searched together: what a killed run loses.
        output: the rows, JSONL or .jsonl.gz; `read_rows` reads them. They have positive_ids, negative_ids and, with an
            encoder, negative_scores, too.
    """

    collection: str
    split: str = "train"
    sources: list[Literal["bm25", "dense"]] = field(default_factory=list)
    encoder: str | None = None
    hits: int = 100
    negatives: int = 15
    skip: int = 0
    margin: float = 0.95
    topics_at_once: int = 500
    output: str

    def __post_init__(self) -> None:
        check_fields(self, "hits", "negatives", "topics_at_once", least=1)
        check_fields(self, "skip", least=0, below=self.hits)
        check_fields(self, "margin", above=0, most=1)
        if "dense" in self.sources and not self.encoder:
            raise InputError("the source dense without an encoder", remedy="--encoder all-MiniLM-L6-v2")


@dataclass(frozen=True)
class Candidates:
    """A topic's possible negatives, best first; with an encoder their scores, and how many lie above the margin."""

    ids: list[str]
    scores: list[float] | None = None
    above_margin: int = 0


def mine(options: MineOptions) -> Summary:
    """Writes a training row for each topic that has a relevant document; a run that was killed goes on.

    Raises:
        InputError: no such collection, split or encoder, no topic with a relevant document, or a begun run of other
            options.
    """
    output = output_file(options.output)
    if not options.encoder:
        logger.warning("without an encoder no margin is kept to a positive's score; --encoder judges what BM25 found")
    miner = _Miner(options)
    partial = output.with_name(f".{output.name}.partial")
    plan = sha256_json([asdict(options) | {"output": None}, miner.collection.fingerprint(), sorted(miner.topics)])
    candidates = _read_partial(partial, plan)
    due = [topic_id for topic_id in miner.topics if topic_id not in candidates]
    with partial.open("a", encoding="utf-8") as stream, progress("topics mined", len(due)) as advance:
        for start in range(0, len(due), options.topics_at_once):
            chunk = miner.find_candidates(due[start : start + options.topics_at_once])
            stream.writelines(json.dumps({topic_id: asdict(row)}) + "\n" for topic_id, row in chunk.items())
            stream.flush()
            candidates |= chunk
            advance(len(chunk))
    counts = miner.write_rows(output, candidates)
    write_manifest(output, options=options, counts=counts)
    partial.unlink(missing_ok=True)
    return Summary(counts, output)


class EncoderSource:
    """An encoder, and the collection's vectors, which are encoded where they are not there yet."""

    def __init__(self, collection: Collection, encoder: str) -> None:
        dense = Dense(collection, encoder)
        self._encoder, self._index = dense.open_encoder, dense.dense_index
        vectors = encode_corpus(collection, self._encoder)  # the index's own, which are there now
        self._places = {doc_id.decode(): place for place, doc_id in enumerate(vectors.ids.tolist())}
        self._shards = list(vectors.shards())
        self._ends = np.cumsum([len(shard) for shard in self._shards])

    def encode(self, topics: Sequence[Topic]) -> dict[str, NDArray[np.float32]]:
        """The vector of each topic, float32 array of shape (dim,), by topic_id."""
        vectors = self._encoder.encode_queries([topic.text for topic in topics])
        return {topic.topic_id: vector for topic, vector in zip(topics, vectors, strict=True)}

    def rank(self, vectors: Mapping[str, NDArray[np.float32]], hits: int) -> dict[str, list[str]]:
        """The ids of each topic's nearest documents, best first."""
        return {topic_id: nearest.doc_ids for topic_id, nearest in self._index.search(vectors, hits).items()}

    def score(self, vector: NDArray[np.float32], doc_ids: Sequence[str]) -> dict[str, float]:
        """The dot product with each of these documents that the collection has."""
        places = {doc_id: self._places[doc_id] for doc_id in doc_ids if doc_id in self._places}
        shards = np.searchsorted(self._ends, list(places.values()), side="right")
        return {
            doc_id: float(vector @ self._shards[shard][place - self._ends[shard]])
            for shard, (doc_id, place) in zip(shards, places.items(), strict=True)
        }


class _Miner:
    """The judged topics with their relevant documents, and the sources, opened when they are first needed."""

    def __init__(self, options: MineOptions) -> None:
        self.options, self.collection = options, load_collection(options.collection)
        judged = self.collection.topics(options.split)
        qrels = {topic_id: dict(grades) for topic_id, grades in self.collection.qrels(options.split).items()}
        for other in self.collection.splits():  # a document that another split judges relevant is no negative either
            for topic_id, grades in self.collection.qrels(other).items():
                if topic_id in qrels:
                    qrels[topic_id] = grades | qrels[topic_id]
        self.relevant = {topic_id: relevant_ids(grades) for topic_id, grades in qrels.items()}
        self.topics = {topic_id: topic for topic_id, topic in judged.items() if self.relevant.get(topic_id)}
        self.without_relevant = len(judged) - len(self.topics)
        if not self.topics:
            raise InputError(f"{options.collection}, split {options.split}: no topic has a relevant document")

    @cached_property
    def bm25(self) -> BM25:
        return BM25(self.collection, hits=self.options.hits, own_document="keep")

    @cached_property
    def encoder(self) -> EncoderSource | None:
        return EncoderSource(self.collection, self.options.encoder) if self.options.encoder else None

    def find_candidates(self, topic_ids: Sequence[str]) -> dict[str, Candidates]:
        """The candidates of each topic, the sources' hits in turn."""
        topics = [self.topics[topic_id] for topic_id in topic_ids]
        rankings: list[Mapping[str, Sequence[str]]] = []
        if "bm25" in (self.options.sources or ["bm25"]):
            run = self.bm25.search({topic.topic_id: topic for topic in topics})
            rankings.append({topic_id: hits.doc_ids for topic_id, hits in run.items()})
        vectors = self.encoder.encode(topics) if self.encoder else {}
        if self.encoder and "dense" in self.options.sources:
            rankings.append(self.encoder.rank(vectors, self.options.hits))
        candidates = {}
        for topic_id in topic_ids:
            excluded = {*self.relevant[topic_id], *([topic_id] if self.collection.remove_own_document else [])}
            turns = itertools.zip_longest(*(ranking.get(topic_id, [])[self.options.skip :] for ranking in rankings))
            ids = [doc_id for doc_id in dict.fromkeys(itertools.chain(*turns)) if doc_id and doc_id not in excluded]
            candidates[topic_id] = self._below_margin(topic_id, vectors[topic_id], ids) if vectors else Candidates(ids)
        return candidates

    def _below_margin(self, topic_id: str, vector: NDArray[np.float32], ids: list[str]) -> Candidates:
        assert self.encoder
        positives = self.relevant[topic_id]
        scores = self.encoder.score(vector, [*positives, *ids])
        lowest = min((scores[doc_id] for doc_id in positives if doc_id in scores), default=None)
        if lowest is None:
            raise InputError(f"topic {topic_id!r}: none of its relevant documents is in the collection")
        limit = lowest - (1 - self.options.margin) * abs(lowest)  # scores may be negative
        below = [doc_id for doc_id in ids if scores[doc_id] <= limit]
        return Candidates(below, [round(scores[doc_id], 6) for doc_id in below], len(ids) - len(below))

    def write_rows(self, output: Path, candidates: Mapping[str, Candidates]) -> dict[str, int]:
        """Writes the rows and returns the counts of topics, negatives, and candidates that were left out."""
        most = self.options.negatives
        first = {topic_id: candidates[topic_id].ids[: most + SPARE] for topic_id in self.topics}
        doc_ids = {doc_id for topic_id in first for doc_id in (*self.relevant[topic_id], *first[topic_id])}
        texts = document_texts(self.collection, doc_ids)
        counts = {"topics": len(self.topics), "without_relevant": self.without_relevant}
        counts |= dict.fromkeys(("negatives", "fewer", "none", "above_margin", "copies"), 0)
        with atomic_write(output) as stream:
            for topic_id, topic in self.topics.items():
                positive_ids = [doc_id for doc_id in self.relevant[topic_id] if texts.get(doc_id)]
                if not positive_ids:
                    raise InputError(f"topic {topic_id!r}: its relevant documents are missing or empty")
                positives = dict.fromkeys(texts[doc_id] for doc_id in positive_ids)
                ids = [doc_id for doc_id in first[topic_id] if texts[doc_id] and texts[doc_id] not in positives][:most]
                negatives = tuple(texts[doc_id] for doc_id in ids)
                row = row_json(TrainingRow(topic_id, topic.text, tuple(positives), negatives))
                row |= {"positive_ids": positive_ids, "negative_ids": ids}
                if all_scores := candidates[topic_id].scores:
                    scores = dict(zip(candidates[topic_id].ids, all_scores, strict=True))
                    row["negative_scores"] = [scores[doc_id] for doc_id in ids]
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                counts["negatives"] += len(ids)
                counts["fewer"] += len(ids) < most
                counts["none"] += not ids
                counts["above_margin"] += candidates[topic_id].above_margin
                counts["copies"] += sum(texts[doc_id] in positives for doc_id in first[topic_id])
        return counts


def _read_partial(partial: Path, plan: str) -> dict[str, Candidates]:
    """The candidates that a killed run left; a last line that is not whole is cut off."""
    lines = partial.read_bytes().splitlines(keepends=True) if partial.is_file() else []
    whole = [line for line in lines if line.endswith(b"\n")] or [json.dumps({"plan": plan}).encode() + b"\n"]
    first, *chunks = map(parse_json, whole)
    if first["plan"] != plan:
        raise InputError(
            f"{partial} was begun with other options or another collection",
            expected="the same options, so that it goes on",
            remedy=f"delete {partial}",
        )
    if whole != lines:
        with atomic_write(partial, "wb") as stream:
            stream.writelines(whole)
    return {topic_id: Candidates(**row) for chunk in chunks for topic_id, row in chunk.items()}
