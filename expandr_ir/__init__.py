"""Retrieval with LLM query expansion, aligned to what the retriever and the LLM prefer: a Pyserini extension."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expandr_ir.pyserini.lucene_searcher import ExpandRLuceneSearcher
    from expandr_ir.pyserini.query_encoder import ExpandRQueryEncoder

__version__ = "0.1.0"
__all__ = ["ExpandRLuceneSearcher", "ExpandRQueryEncoder", "__version__"]

_MODULES = {"ExpandRLuceneSearcher": "pyserini.lucene_searcher", "ExpandRQueryEncoder": "pyserini.query_encoder"}


def __getattr__(name: str) -> Any:
    """Pyserini's classes with expansions: they import Pyserini, and start Java, when they are first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
