"""Retrieval with LLM query expansion, aligned to what the retriever and the LLM prefer: a Pyserini extension."""

__version__ = "0.1.0"
