"""Retrievers: topics, plain or expanded, to runs, by BM25, dense vectors or both.

Imports records, io, collections, encoders and aggregate.
"""

from expandr_ir.retrievers.base import Retriever, plain
from expandr_ir.retrievers.bm25 import BM25, BM25Options
from expandr_ir.retrievers.hybrid import Hybrid, SearchOptions, load_retriever

__all__ = ["BM25", "BM25Options", "Hybrid", "Retriever", "SearchOptions", "load_retriever", "plain"]
