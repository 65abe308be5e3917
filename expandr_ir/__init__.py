"""Retrieval with LLM query expansion, aligned to what the retriever and the LLM prefer: a Pyserini extension.

    import expandr_ir as ex

    collection = ex.load_collection("beir/scifact")
    hyde = ex.load_expander("hyde", generator="openai", collection=collection)
    expansions = hyde.expand(collection.topics())
    runs = {"repeat": ex.BM25(collection, aggregation="repeat").search(expansions)}
    print(ex.compare(ex.BM25(collection).search(collection.topics()), runs, collection.qrels()))

Each name is imported when it is first used: `import expandr_ir` loads neither torch nor Java.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expandr_ir.collections import Collection, load_collection
    from expandr_ir.encoders import Encoder, load_encoder
    from expandr_ir.errors import ExpandrError
    from expandr_ir.evaluate import Scores, score_run
    from expandr_ir.evaluate.compare import Comparison, compare
    from expandr_ir.expanders import Expander, ExpandOptions, load_expander
    from expandr_ir.generators import Generator, load_generator
    from expandr_ir.io.expansions import Expansions, read_expansions
    from expandr_ir.io.qrels import read_qrels
    from expandr_ir.io.runs import Run, read_run
    from expandr_ir.io.topics import read_topics
    from expandr_ir.pyserini.lucene_searcher import ExpandRLuceneSearcher
    from expandr_ir.pyserini.query_encoder import ExpandRQueryEncoder
    from expandr_ir.records import Topic
    from expandr_ir.retrievers import BM25, Hybrid, Retriever
    from expandr_ir.retrievers.dense import Dense
    from expandr_ir.store import Store

__version__ = "0.1.0"

_MODULES = {
    "BM25": "retrievers",
    "Collection": "collections",
    "Comparison": "evaluate.compare",
    "Dense": "retrievers.dense",
    "Encoder": "encoders",
    "ExpandOptions": "expanders",
    "ExpandRLuceneSearcher": "pyserini.lucene_searcher",
    "ExpandRQueryEncoder": "pyserini.query_encoder",
    "Expander": "expanders",
    "ExpandrError": "errors",
    "Expansions": "io.expansions",
    "Generator": "generators",
    "Hybrid": "retrievers",
    "Retriever": "retrievers",
    "Run": "io.runs",
    "Scores": "evaluate",
    "Store": "store",
    "Topic": "records",
    "compare": "evaluate.compare",
    "load_collection": "collections",
    "load_encoder": "encoders",
    "load_expander": "expanders",
    "load_generator": "generators",
    "read_expansions": "io.expansions",
    "read_qrels": "io.qrels",
    "read_run": "io.runs",
    "read_topics": "io.topics",
    "score_run": "evaluate",
}

__all__ = [
    "BM25",
    "Collection",
    "Comparison",
    "Dense",
    "Encoder",
    "ExpandOptions",
    "ExpandRLuceneSearcher",
    "ExpandRQueryEncoder",
    "Expander",
    "ExpandrError",
    "Expansions",
    "Generator",
    "Hybrid",
    "Retriever",
    "Run",
    "Scores",
    "Store",
    "Topic",
    "__version__",
    "compare",
    "load_collection",
    "load_encoder",
    "load_expander",
    "load_generator",
    "read_expansions",
    "read_qrels",
    "read_run",
    "read_topics",
    "score_run",
]


def __getattr__(name: str) -> Any:
    """The public object of this name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return __all__
