"""One query at a time, as other frameworks hand them over: its expansions, and the documents it finds.

Imports expanders, retrievers and io.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from expandr_ir.errors import InputError
from expandr_ir.expanders import Expander
from expandr_ir.io.topics import as_topics
from expandr_ir.records import Document
from expandr_ir.retrievers import Retriever

Documents: TypeAlias = Callable[[Iterable[str]], Mapping[str, Document]]
"""Reads documents by their doc_ids, such as `BM25(collection).lucene_index.documents`."""

TOPIC_ID = "user-query"
"""Not the id of a document: where a collection leaves out the document with the topic's own id, "1" could be lost."""


def expand_query(expander: Expander, query: str) -> list[str]:
    """The texts that an LLM wrote for a query, without empty ones.

    Raises:
        InputError: the query is blank.
        ExpandrError: the generator or the store fails, or there is no text.
    """
    (topic,) = expander.expand({TOPIC_ID: query}).values()
    return [expansion.text for expansion in topic.expansions if expansion.text.strip()]


def search_query(
    retriever: Retriever, documents: Documents, query: str, expander: Expander | None = None
) -> list[tuple[Document, float]]:
    """The documents that a retriever finds for a query, with their scores, best first.

    Args:
        retriever: its `hits` are the most documents.
        documents: reads the documents of the hits.
        query: searched with the expander's texts by the retriever's aggregation; alone where all of them are empty.
        expander: None searches the query alone.

    Raises:
        InputError: the query is blank, or a hit is none of the documents.
        ExpandrError: the expander has no text for the query.
    """
    topics = as_topics({TOPIC_ID: query})
    (hits,) = retriever.search(expander.expand(topics) if expander else topics).values()
    by_id = documents(hits.doc_ids)
    if unknown := [doc_id for doc_id in hits.doc_ids if doc_id not in by_id]:
        raise InputError(
            f"`documents` does not have the hit {unknown[0]!r}", expected="the documents of the retriever's collection"
        )
    return [(by_id[hit.doc_id], hit.score) for hit in hits]
