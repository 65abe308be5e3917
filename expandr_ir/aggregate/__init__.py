"""How a topic and its expansions become one query, by name: a text or term weights (sparse), or a vector (dense).

Imports records, errors, registry and encoders.
"""

from expandr_ir.aggregate.dense import DENSE, DenseOptions, dense_aggregation, dense_vectors
from expandr_ir.aggregate.sparse import SPARSE, TEXTUAL, Analyze, SparseOptions, sparse_aggregation, sparse_query

__all__ = [
    "DENSE",
    "SPARSE",
    "TEXTUAL",
    "Analyze",
    "DenseOptions",
    "SparseOptions",
    "dense_aggregation",
    "dense_vectors",
    "sparse_aggregation",
    "sparse_query",
]
