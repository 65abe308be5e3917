"""The held-back queries: their documents, and the scores of a model on them while it is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator

from expandr_ir.aggregate.dense import dense_vectors
from expandr_ir.collections import load_collection
from expandr_ir.config import EncoderConfig
from expandr_ir.encoders import Encoder
from expandr_ir.encoders.batching import Forward
from expandr_ir.errors import InputError
from expandr_ir.evaluate import score_run
from expandr_ir.io.expansions import read_expansions
from expandr_ir.records import Document, ExpandedTopic, Expansion, Hits, Qrels, Topic
from expandr_ir.train.data.rows import read_rows
from expandr_ir.train.retriever.batch import key_of
from expandr_ir.train.retriever.data import RetrieverRow, hold_back, place, retriever_rows
from expandr_ir.train.retriever.options import DevOptions, RetrieverOptions

MEASURES = ("nDCG@10", "R@100")
HITS = 100


@dataclass(frozen=True)
class DevSet:
    """Queries with their expansions, their judgements, and the documents they are searched in, all by id."""

    topics: dict[str, ExpandedTopic]
    qrels: Qrels
    documents: dict[str, Document | str]

    def searches(self, aggregation: str) -> dict[str, str]:
        """The aggregation of each search: "alone", then "expanded" where every topic has an expansion."""
        expanded = aggregation != "none" and all(topic.expansions for topic in self.topics.values())
        return {"alone": "none"} | ({"expanded": aggregation} if expanded else {})

    def primary_metric(self, aggregation: str) -> str:
        """The score that the best checkpoint is best by."""
        return f"{[*self.searches(aggregation)][-1]}_{MEASURES[0]}"


def split_rows(options: RetrieverOptions, rows: list[RetrieverRow]) -> tuple[list[RetrieverRow], DevSet | None]:
    """The rows to train on, and the dev set that the options name, if any."""
    dev = options.dev
    if dev.collection:
        return rows, dev_of_collection(dev)
    if dev.share:
        rows, queries = hold_back(rows, dev.share)
        if not rows:
            raise InputError("every row is held back", expected="a smaller dev.share")
    elif dev.rows:
        named = replace(options.data, rows=dev.rows, split=dev.split, expansions=dev.expansions)
        queries, _ = retriever_rows(read_rows(dev.rows, dev.split), named)
    else:
        return rows, None
    return rows, dev_of_rows(queries, rows, dev.documents)


def dev_of_rows(queries: Sequence[RetrieverRow], others: Sequence[RetrieverRow], most: int | None) -> DevSet:
    """The dev set of queries: their positives are relevant, the texts of all rows (at most `most`) the documents."""
    if not queries:
        raise InputError("no query is held back", expected="a larger dev.share")
    qrels = {row.row_id: {str(key_of(text)): 1 for text in row.row.positives} for row in queries}
    rows = [row.row for row in (*queries, *others)]
    texts = {str(key_of(text)): text for row in rows for text in (*row.positives, *row.negatives)}
    topics = {
        row.row_id: ExpandedTopic(
            Topic(row.row_id, row.row.query), tuple(Expansion(at, text) for at, text in enumerate(row.expansions))
        )
        for row in queries
    }
    return DevSet(topics, qrels, _some(texts, qrels, most))


def dev_of_collection(options: DevOptions) -> DevSet:
    """The dev set of a collection's split."""
    assert options.collection is not None
    collection = load_collection(options.collection)
    topics, qrels = collection.topics(options.split), collection.qrels(options.split)
    judged = {topic_id: qrels[topic_id] for topic_id in topics}
    expanded = {topic_id: ExpandedTopic(topic) for topic_id, topic in topics.items()}
    if options.expansions:
        expanded = read_expansions(options.expansions, topics)
    documents = {document.doc_id: document for document in collection.documents()}
    return DevSet(expanded, judged, _some(documents, judged, options.documents))


def _some(documents: Mapping[str, Any], qrels: Qrels, most: int | None) -> dict[str, Any]:
    """All documents, or the relevant ones and as many others as there is room for."""
    if most is None or len(documents) <= most:
        return dict(documents)
    relevant = {doc_id for grades in qrels.values() for doc_id, grade in grades.items() if grade > 0}
    order = sorted(documents, key=lambda doc_id: (doc_id not in relevant, place(doc_id, "dev documents")))
    chosen = set(order[: max(most, len(relevant & documents.keys()))])
    return {doc_id: text for doc_id, text in documents.items() if doc_id in chosen}


class LiveEncoder(Encoder):
    """A model under training, in evaluation mode, as an encoder on the device where it is."""

    def __init__(
        self, model: SentenceTransformer, config: EncoderConfig, precision: torch.dtype, batch_tokens: int | None
    ) -> None:
        self.model, self.config, self.precision = model, config, precision
        self.dim = model.get_embedding_dimension()
        self.encoded, self.truncated, self.empty = Counter(), Counter(), Counter()
        self.forward = Forward(model, model.device, precision, batch_tokens)


class DevEvaluator(BaseEvaluator):  # type: ignore[misc]
    """nDCG@10 and R@100 of the dev set, topics alone and with expansions, which InformationRetrievalEvaluator lacks."""

    def __init__(self, dev: DevSet, config: EncoderConfig, options: RetrieverOptions, precision: torch.dtype) -> None:
        super().__init__()
        self.dev, self.config, self.options, self.precision = dev, config, options, precision
        self.primary_metric = dev.primary_metric(options.searched_by)

    def __call__(self, model: SentenceTransformer, *_: Any, **__: Any) -> dict[str, float]:
        """The means, such as {"alone_nDCG@10": .64, "expanded_nDCG@10": .69}."""
        was_training = model.training
        model.eval()
        try:
            encoder = LiveEncoder(model, self.config, self.precision, self.options.batch_tokens)
            documents = encoder.encode_documents(list(self.dev.documents.values()))  # type: ignore[arg-type]
            means: dict[str, float] = {}
            for name, aggregation in self.dev.searches(self.options.searched_by).items():
                topic_ids, queries = dense_vectors(aggregation, self.dev.topics, encoder, self.options.objective.dense)
                run = nearest(topic_ids, queries, list(self.dev.documents), documents)
                scores = score_run(run, self.dev.qrels, MEASURES)
                means |= {f"{name}_{measure}": value for measure, value in scores.means.items()}
        finally:
            model.train(was_training)
        return means


def nearest(topic_ids: Sequence[str], queries: Any, doc_ids: Sequence[str], documents: Any) -> dict[str, Hits]:
    """The documents with the largest dot products, at most HITS for each topic; equal scores are ordered by id."""
    run = {}
    for topic_id, scores in zip(topic_ids, queries @ documents.T, strict=True):
        best = np.argpartition(-scores, min(HITS, len(scores)) - 1)[:HITS]
        ranked = sorted(best.tolist(), key=lambda at: (-scores[at], doc_ids[at]))
        run[topic_id] = Hits([doc_ids[at] for at in ranked], [float(scores[at]) for at in ranked])
    return run
