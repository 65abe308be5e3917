"""One query at a time, as other frameworks hand them over: its expansions, and the documents it finds.

Imports expanders, retrievers and io.
"""

from __future__ import annotations

from collections.abc import Mapping

from expandr_ir.errors import InputError
from expandr_ir.expanders import Expander
from expandr_ir.io.topics import as_topics
from expandr_ir.records import Document
from expandr_ir.retrievers import Retriever

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
    retriever: Retriever, documents: Mapping[str, Document], query: str, expander: Expander | None = None
) -> list[tuple[Document, float]]:
    """The documents that a retriever finds for a query, with their scores, best first.

    Args:
        retriever: its `hits` are the most documents.
        documents: the collection's documents by doc_id.
        query: searched with the expander's texts by the retriever's aggregation; alone where all of them are empty.
        expander: None searches the query alone.

    Raises:
        InputError: the query is blank, or a hit is not among the documents.
        ExpandrError: the expander has no text for the query.
    """
    topics = as_topics({TOPIC_ID: query})
    (hits,) = retriever.search(expander.expand(topics) if expander else topics).values()
    if unknown := [doc_id for doc_id in hits.doc_ids if doc_id not in documents]:
        raise InputError(
            f"the document {unknown[0]!r} was found and is not among the {len(documents)} documents",
            expected="the documents of the retriever's collection, by doc_id",
        )
    return [(documents[hit.doc_id], hit.score) for hit in hits]
