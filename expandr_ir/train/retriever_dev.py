"""The held-back queries: what they are searched in, and what the model scores on them while it is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator

from expandr_ir.aggregate.dense import DenseOptions, dense_vectors
from expandr_ir.collection import load_collection
from expandr_ir.config import EncoderConfig
from expandr_ir.encoders import Encoder
from expandr_ir.encoders.batching import Forward
from expandr_ir.errors import InputError
from expandr_ir.evaluate import evaluate
from expandr_ir.expansions_file import read_expansions
from expandr_ir.records import Document, ExpandedTopic, Expansion, Hits, Qrels, Run, Topic
from expandr_ir.train.retriever_batch import key_of
from expandr_ir.train.retriever_data import RetrieverRow, place
from expandr_ir.train.retriever_options import DevOptions

MEASURES = ("nDCG@10", "R@100")
HITS = 100


@dataclass(frozen=True)
class DevSet:
    """Queries, their judgements, and the documents they are searched in.

    Args:
        topics: with their expansions, by id.
        qrels: judgements.
        documents: by id; a string is encoded as it is.
    """

    topics: dict[str, ExpandedTopic]
    qrels: Qrels
    documents: dict[str, Document | str]

    @property
    def expanded(self) -> bool:
        """Whether every query has an expansion."""
        return all(topic.expansions for topic in self.topics.values())


def dev_of_rows(queries: Sequence[RetrieverRow], others: Sequence[RetrieverRow], most: int | None) -> DevSet:
    """The dev set of rows: the documents are the texts of all rows, the queries' positives the relevant ones.

    Args:
        queries: whose queries are searched.
        others: rows whose texts are documents too.
        most: documents at most.

    Raises:
        InputError: no query.
    """
    if not queries:
        raise InputError("no query is held back", expected="a larger dev.share")
    qrels = {row.row_id: {str(key_of(text)): 1 for text in row.row.positives} for row in queries}
    texts = {
        str(key_of(text)): text for row in [*queries, *others] for text in (*row.row.positives, *row.row.negatives)
    }
    topics = {
        row.row_id: ExpandedTopic(
            Topic(row.row_id, row.row.query), tuple(Expansion(at, text) for at, text in enumerate(row.expansions))
        )
        for row in queries
    }
    return DevSet(topics, qrels, dict(_some(texts, qrels, most)))


def dev_of_collection(options: DevOptions) -> DevSet:
    """The dev set of a collection's split.

    Raises:
        InputError: no such collection or split, or a topic without an expansion.
        MissingResourceError: a part of it is not there.
    """
    assert options.collection is not None
    collection = load_collection(options.collection)
    topics, qrels = collection.topics(options.split), collection.qrels(options.split)
    judged = {topic_id: qrels[topic_id] for topic_id in topics}
    expanded = {topic_id: ExpandedTopic(topic) for topic_id, topic in topics.items()}
    if options.expansions:
        expanded = read_expansions(options.expansions, topics).topics
    documents: dict[str, Document | str] = {one.doc_id: one for one in collection.documents()}
    return DevSet(expanded, judged, dict(_some(documents, judged, options.documents)))


def _some(documents: Mapping[str, Any], qrels: Qrels, most: int | None) -> Mapping[str, Any]:
    """All documents, or the relevant ones and as many others as there is room for."""
    if most is None or len(documents) <= most:
        return documents
    relevant = {doc_id for grades in qrels.values() for doc_id, grade in grades.items() if grade > 0}
    order = sorted(documents, key=lambda doc_id: (doc_id not in relevant, place(doc_id, "dev documents")))
    kept = set(order[: max(most, len(relevant & documents.keys()))])
    return {doc_id: text for doc_id, text in documents.items() if doc_id in kept}


class LiveEncoder(Encoder):
    """A model under training as an encoder, on the device where it is.

    Args:
        model: in evaluation mode.
        config: without blanks.
        precision: of its matrix products.
        batch_tokens: most tokens encoded at once; None is what suits the device.
    """

    def __init__(
        self, model: SentenceTransformer, config: EncoderConfig, precision: torch.dtype, batch_tokens: int | None
    ) -> None:
        self.model, self.config, self.precision = model, config, precision
        self.dim = model.get_embedding_dimension()
        self.encoded, self.truncated, self.empty = Counter(), Counter(), Counter()
        self._pool = None
        self.forward = Forward(model, model.device, precision, batch_tokens)


class DevEvaluator(BaseEvaluator):  # type: ignore[misc]
    """What sentence-transformers' trainer calls: nDCG@10 and R@100 of the dev set, topics alone and with expansions.

    Args:
        dev: the queries.
        config: the encoder's configuration, without blanks.
        aggregation: how queries and expansions are searched.
        dense: its numbers.
        precision: of the matrix products.
        batch_tokens: most tokens encoded at once.
    """

    def __init__(
        self, dev: DevSet, config: EncoderConfig, aggregation: str, dense: DenseOptions, precision: torch.dtype,
        batch_tokens: int | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dev, self.config, self.aggregation, self.dense = dev, config, aggregation, dense
        self.precision, self.batch_tokens = precision, batch_tokens
        self.primary_metric = f"{'expanded' if self.expanded else 'alone'}_{MEASURES[0]}"

    @property
    def expanded(self) -> bool:
        """Whether expansions are searched too."""
        return self.dev.expanded and self.aggregation != "none"

    def __call__(self, model: SentenceTransformer, *_: Any, **__: Any) -> dict[str, float]:
        """The means, such as {"alone_nDCG@10": .64, "expanded_nDCG@10": .69}."""
        was_training = model.training
        model.eval()
        try:
            encoder = LiveEncoder(model, self.config, self.precision, self.batch_tokens)
            documents = encoder.encode_documents(list(self.dev.documents.values()))  # type: ignore[arg-type]
            found: dict[str, float] = {}
            for name in ("alone", "expanded") if self.expanded else ("alone",):
                aggregation = "none" if name == "alone" else self.aggregation
                topic_ids, queries = dense_vectors(aggregation, self.dev.topics, encoder, self.dense)
                run = nearest(topic_ids, queries, list(self.dev.documents), documents)
                scores = evaluate(run, self.dev.qrels, MEASURES)
                found |= {f"{name}_{measure}": value for measure, value in scores.means.items()}
        finally:
            model.train(was_training)
        return found


def nearest(topic_ids: Sequence[str], queries: Any, doc_ids: Sequence[str], documents: Any) -> Run:
    """The documents with the largest dot products, at most HITS for each topic; equal scores are ordered by id."""
    scores = queries @ documents.T
    run: Run = {}
    for topic_id, row in zip(topic_ids, scores, strict=True):
        best = np.argpartition(-row, min(HITS, len(row)) - 1)[:HITS]
        ranked = sorted(best.tolist(), key=lambda at: (-row[at], doc_ids[at]))
        run[topic_id] = Hits([doc_ids[at] for at in ranked], [float(row[at]) for at in ranked])
    return run
