"""Haystack components around any expander and retriever. Imports expanders, retrievers and single_query."""

from __future__ import annotations

from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.expanders import Expander
from expandr_ir.retrievers import Retriever
from expandr_ir.runtime import require
from expandr_ir.single_query import Documents, expand_query, search_query

haystack: Any = require("haystack", "haystack")
component: Any = haystack.component


@component
class ExpandRQueryExpander:
    """Makes several queries of one, as Haystack's `QueryExpander`: the query itself, then an LLM's expansions.

    Args:
        expander: the expander.
    """

    def __init__(self, expander: Expander) -> None:
        self.expander = expander

    @component.output_types(queries=list[str])  # type: ignore[untyped-decorator]
    def run(self, query: str) -> dict[str, list[str]]:
        """`queries`, for a retriever of several queries."""
        return {"queries": [query, *expand_query(self.expander, query)]}


@component
class ExpandRRetriever:
    """Finds documents for a query and an LLM's expansions of it, by the retriever's own aggregation.

    Args:
        retriever: its `hits` are the most documents of a query.
        documents: reads documents by their ids, such as `BM25(collection).lucene_index.documents`.
        expander: None searches the query alone.
    """

    def __init__(self, retriever: Retriever, documents: Documents, expander: Expander | None = None) -> None:
        self.retriever, self.documents, self.expander = retriever, documents, expander

    @component.output_types(documents=list[haystack.Document])  # type: ignore[untyped-decorator]
    def run(self, query: str, top_k: int | None = None) -> dict[str, list[Any]]:
        """`documents`, Haystack's, with their score and the title in their meta; top_k: only the first ones."""
        if top_k is not None and top_k < 0:
            raise InputError(f"top_k is {top_k}", expected="0 or more, or None for all of the retriever's hits")
        found = search_query(self.retriever, self.documents, query, self.expander)[:top_k]
        return {
            "documents": [
                haystack.Document(
                    id=document.doc_id, content=document.text, meta={"title": document.title}, score=score
                )
                for document, score in found
            ]
        }
