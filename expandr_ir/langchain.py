"""A LangChain retriever around any retriever and expander. Imports expanders, retrievers and single_query."""

from __future__ import annotations

from typing import Any

from expandr_ir.expanders import Expander
from expandr_ir.retrievers import Retriever
from expandr_ir.runtime import require
from expandr_ir.single_query import Documents, search_query

lc_documents: Any = require("langchain_core.documents", "langchain")
lc_retrievers: Any = require("langchain_core.retrievers", "langchain")


class ExpandRRetriever(lc_retrievers.BaseRetriever):  # type: ignore[misc]
    """Finds documents for a query and an LLM's expansions of it, as a Runnable of LangChain.

    A query without a text is an error; `with_fallbacks` is LangChain's way to search without expansions then.

    Args:
        retriever: its `hits` are the most documents of a query.
        documents: reads documents by their ids, such as `BM25(collection).lucene_index.documents`.
        expander: None searches the query alone.
    """

    retriever: Retriever
    documents: Documents
    expander: Expander | None = None

    def _get_relevant_documents(self, query: str) -> list[Any]:
        """LangChain's documents, with id, title and score in their metadata."""
        return [
            lc_documents.Document(
                id=document.doc_id,
                page_content=document.text,
                metadata={"id": document.doc_id, "title": document.title, "score": score},
            )
            for document, score in search_query(self.retriever, self.documents, query, self.expander)
        ]
