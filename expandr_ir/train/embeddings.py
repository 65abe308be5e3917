"""Token embeddings from what stands together in a collection: a start for a model that has little time to learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors: TypeAlias = NDArray[np.float32]

OVERSAMPLED = 16
POWER_ITERATIONS = 2


def cooccurrence_embeddings(
    texts: Sequence[Sequence[int]], vocabulary: int, dim: int, *, window: int = 64, most: float = 5.0, seed: int = 0
) -> Vectors:
    """Unit vectors of tokens, float32 array of shape (vocabulary, dim): near where they stand in the same passages.

    The leading eigenvectors of the positive pointwise mutual information of tokens within windows (Levy and Goldberg,
    "Neural Word Embedding as Implicit Matrix Factorization", NIPS 2014), each scaled by the root of its eigenvalue,
    found by random projection (Halko, Martinsson and Tropp, SIAM Review 53(2), 2011). A token that never occurs has a
    vector of length 0.

    Args:
        texts: token ids.
        vocabulary: how many tokens there are.
        dim: of the vectors, below `vocabulary`.
        window: tokens of a passage; a token counts once in each.
        most: where mutual information is cut, so that rare tokens do not rule.
        seed: of the projection.
    """
    import numpy as np

    association = _positive_information(texts, vocabulary, window, most)
    random = np.random.default_rng(seed)
    width = min(dim + OVERSAMPLED, vocabulary)
    sketch = association @ random.standard_normal((vocabulary, width)).astype(np.float32)
    basis = np.linalg.qr(sketch)[0]
    for _ in range(POWER_ITERATIONS):
        basis = np.linalg.qr(association @ basis)[0]
    small = basis.T @ (association @ basis)
    values, vectors = np.linalg.eigh((small + small.T) / 2)
    leading = np.argsort(-np.abs(values))[:dim]
    found = (basis @ vectors[:, leading]) * np.sqrt(np.abs(values[leading]))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Vectors = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 1e-6).astype(np.float32)
    return unit


def _positive_information(texts: Sequence[Sequence[int]], vocabulary: int, window: int, most: float) -> Any:
    """max(0, log p(a, b) / p(a) p(b)) of tokens in windows, cut at `most`: sparse matrix (vocabulary, vocabulary)."""
    import numpy as np
    from scipy import sparse

    passages = [sorted(set(ids[start : start + window])) for ids in texts for start in range(0, len(ids), window)]
    columns = np.fromiter((token for passage in passages for token in passage), dtype=np.int32)
    rows = np.repeat(np.arange(len(passages), dtype=np.int32), [len(passage) for passage in passages])
    shape = (len(passages), vocabulary)
    present = sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), (rows, columns)), shape=shape)
    together = (present.T @ present).tocoo()
    counts = np.asarray(present.sum(axis=0)).ravel()
    information = np.log(together.data * len(passages) / (counts[together.row] * counts[together.col]))
    kept = information > 0
    values = np.minimum(information[kept], most).astype(np.float32)
    return sparse.csr_matrix((values, (together.row[kept], together.col[kept])), shape=(vocabulary, vocabulary))
