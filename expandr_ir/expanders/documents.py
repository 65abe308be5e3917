"""The documents that prompts show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from expandr_ir.errors import InputError
from expandr_ir.records import Document, Qrels

if TYPE_CHECKING:
    from expandr_ir.collections import Collection


def read_documents(
    collection: Collection, doc_ids: Mapping[str, Sequence[str]], max_words: int | None = None
) -> dict[str, list[Document]]:
    """The documents of each topic, from their ids by topic_id.

    Args:
        collection: the documents.
        doc_ids: by topic_id.
        max_words: most words of a text; None is no limit.

    Raises:
        InputError: the collection lacks some of them.
    """
    wanted = {doc_id for own in doc_ids.values() for doc_id in own}
    documents = {doc.doc_id: doc for doc in collection.documents() if doc.doc_id in wanted} if wanted else {}
    if missing := sorted(wanted - documents.keys()):
        names = ", ".join(missing[:3])
        raise InputError(f"{collection.spec} lacks the documents {names} ({len(missing)} in all)")
    if max_words is not None:
        documents = {i: replace(doc, text=" ".join(doc.text.split()[:max_words])) for i, doc in documents.items()}
    return {topic_id: [documents[doc_id] for doc_id in own] for topic_id, own in doc_ids.items()}


def best_judged(topic_ids: Iterable[str], qrels: Qrels) -> dict[str, list[str]]:
    """The id of each topic's judged document with the highest grade, the lowest id where several have it; one each.

    Raises:
        InputError: a topic has no relevant document.
    """
    best: dict[str, list[str]] = {}
    for topic_id in topic_ids:
        grades = sorted((-grade, doc_id) for doc_id, grade in qrels.get(topic_id, {}).items() if grade > 0)
        if not grades:
            raise InputError(f"topic {topic_id!r} has no relevant document", expected="a positive grade in the qrels")
        best[topic_id] = [grades[0][1]]
    return best
