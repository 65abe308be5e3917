"""Training rows of a collection's judgements: relevant documents are positives, BM25's other hits are negatives."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from expandr_ir.collection import Collection, load_collection
from expandr_ir.errors import InputError
from expandr_ir.records import Qrels, Topic
from expandr_ir.train.rows import TrainingRow

logger = logging.getLogger(__name__)


def collection_rows(spec: str, split: str, negatives: int = 0, pool: int = 100) -> Iterator[TrainingRow]:
    """A row for each judged topic that has a relevant document, by topic_id, in the topics' order.

    A document is its title, a blank, and its text. Topics without a relevant document are left out, with a warning.

    Args:
        spec: the collection.
        split: whose judgements.
        negatives: how many of BM25's best hits that are not judged relevant; 0 mines none and searches nothing.
        pool: how many hits they are taken from.

    Raises:
        InputError: no such collection or split, no judged topic, or a relevant document that the collection lacks.
    """
    collection = load_collection(spec)
    topics, qrels = collection.topics(split), collection.qrels(split)
    relevant = {topic_id: _relevant(qrels, topic_id) for topic_id in topics}
    asked = {topic_id: topic for topic_id, topic in topics.items() if relevant[topic_id]}
    if not asked:
        raise InputError(f"{spec}, split {split}: no topic has a relevant document", expected="grades above 0")
    if len(asked) < len(topics):
        logger.warning("%s, split %s: %d topics without a relevant document", spec, split, len(topics) - len(asked))
    mined = bm25_negatives(collection, asked, qrels, negatives, pool) if negatives else {one: [] for one in asked}
    wanted = {doc_id for topic_id in asked for doc_id in (*relevant[topic_id], *mined[topic_id])}
    texts = _texts(collection, wanted)
    for topic_id, topic in asked.items():
        yield TrainingRow(
            topic_id,
            topic.text,
            tuple(texts[doc_id] for doc_id in relevant[topic_id]),
            tuple(texts[doc_id] for doc_id in mined[topic_id]),
        )


def bm25_negatives(
    collection: Collection, topics: Mapping[str, Topic], qrels: Qrels, count: int, pool: int = 100
) -> dict[str, list[str]]:
    """The ids of the best BM25 hits of each topic that are not judged relevant to it, at most `count`, best first.

    Args:
        collection: what is searched, with its own BM25 parameters.
        topics: by topic_id.
        qrels: judgements; a hit without one counts as not relevant.
        count: most negatives of a topic.
        pool: how many hits are looked at.
    """
    from expandr_ir.retrieve import SearchOptions, plain, search

    run = search(plain(topics.values()), collection, SearchOptions(hits=pool)).run
    return {
        topic_id: [doc_id for doc_id in run[topic_id].doc_ids if qrels.get(topic_id, {}).get(doc_id, 0) <= 0][:count]
        for topic_id in topics
    }


def _relevant(qrels: Qrels, topic_id: str) -> list[str]:
    """The relevant documents, best grade first, by id where grades are equal."""
    grades = {doc_id: grade for doc_id, grade in qrels.get(topic_id, {}).items() if grade > 0}
    return sorted(grades, key=lambda doc_id: (-grades[doc_id], doc_id))


def _texts(collection: Collection, doc_ids: set[str]) -> dict[str, str]:
    found = {
        document.doc_id: f"{document.title} {document.text}".strip()
        for document in collection.documents()
        if document.doc_id in doc_ids
    }
    if missing := sorted(doc_ids - found.keys()):
        raise InputError(f"{collection.spec} lacks the documents {', '.join(missing[:3])} ({len(missing)} in all)")
    if empty := [doc_id for doc_id in sorted(doc_ids) if not found[doc_id]]:
        raise InputError(f"{collection.spec}: document {empty[0]!r} is relevant and empty", expected="a text")
    return found
