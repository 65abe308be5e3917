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

_NAMES = {
    "collections": "Collection load_collection",
    "encoders": "Encoder load_encoder",
    "errors": "ExpandrError",
    "evaluate": "Scores score_run",
    "evaluate.compare": "Comparison compare",
    "expanders": "ExpandOptions Expander load_expander",
    "generators": "Generator load_generator",
    "io.expansions": "Expansions read_expansions",
    "io.qrels": "read_qrels",
    "io.runs": "Run read_run",
    "io.topics": "read_topics",
    "pyserini.lucene_searcher": "ExpandRLuceneSearcher",
    "pyserini.query_encoder": "ExpandRQueryEncoder",
    "records": "Topic",
    "retrievers": "BM25 Hybrid Retriever",
    "retrievers.dense": "Dense",
    "store": "Store",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

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
