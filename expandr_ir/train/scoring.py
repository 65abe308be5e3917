"""What mining searches with: BM25, and an encoder that ranks and scores documents by their stored vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expandr_ir.collection import Collection
from expandr_ir.dense import DenseIndex, open_dense
from expandr_ir.dense.vectors import CorpusVectors
from expandr_ir.encode import encode_corpus
from expandr_ir.encoders import load_encoder
from expandr_ir.records import Topic
from expandr_ir.retrieve import SearchOptions, plain
from expandr_ir.retrieve.base import Counting
from expandr_ir.retrieve.sparse import SparseRetriever


class BM25Source:
    """BM25 over the collection's own index.

    Args:
        collection: what is searched.
        hits: documents of each topic.
        counting: shows how far indexing is.
    """

    def __init__(self, collection: Collection, hits: int, counting: Counting) -> None:
        self._retriever = SparseRetriever(collection, SearchOptions(hits=hits), counting)

    def ranked(self, topics: Mapping[str, Topic]) -> dict[str, list[str]]:
        """The ids of each topic's hits, best first."""
        run = self._retriever.search(plain(topics.values()), "none")
        return {topic_id: run[topic_id].doc_ids if topic_id in run else [] for topic_id in topics}


class EncoderSource:
    """An encoder and the collection's vectors, encoded where they are not there yet.

    Args:
        collection: what is searched.
        encoder: a name of conf/encoders, a YAML file, a folder or a hub id.
        counting: shows how far encoding is.
    """

    def __init__(self, collection: Collection, encoder: str, counting: Counting) -> None:
        self._encoder = load_encoder(encoder, collection=collection.name)
        with counting("documents encoded", collection.facts.documents) as on_progress:
            self._vectors = encode_corpus(collection, self._encoder, on_progress=on_progress)
        self._index = open_dense(self._vectors)
        self._places = {doc_id: at for at, doc_id in enumerate(self._vectors.ids.tolist())}

    def of(self, topics: Mapping[str, Topic]) -> Candidates:
        """Rankings and scores for some topics."""
        vectors = self._encoder.encode_queries([topic.text for topic in topics.values()])
        return Candidates(dict(zip(topics, vectors, strict=True)), self._index, self._vectors, self._places)


class Candidates:
    """Rankings and scores by dot product for some topics.

    Args:
        topics: vectors by topic_id.
        index: what ranks.
        vectors: of all documents.
        places: the number of each document, by its id in UTF-8.
    """

    def __init__(
        self, topics: Mapping[str, NDArray[np.float32]], index: DenseIndex, vectors: CorpusVectors,
        places: Mapping[bytes, int],
    ) -> None:  # fmt: skip
        self._topics, self._index, self._places = topics, index, places
        self._shards = list(vectors.shards())
        self._ends = np.cumsum([len(shard) for shard in self._shards])

    def ranked(self, hits: int) -> dict[str, list[str]]:
        """The ids of each topic's nearest documents, best first."""
        return {topic_id: found.doc_ids for topic_id, found in self._index.search(self._topics, hits).items()}

    def scores(self, topic_id: str, doc_ids: Sequence[str]) -> dict[str, float]:
        """The score of each of these documents that the collection has."""
        known = {doc_id: self._places[doc_id.encode()] for doc_id in doc_ids if doc_id.encode() in self._places}
        query = self._topics[topic_id]
        return {doc_id: float(query @ self._vector(at)) for doc_id, at in known.items()}

    def _vector(self, at: int) -> NDArray[np.float32]:
        shard = int(np.searchsorted(self._ends, at, side="right"))
        vector: NDArray[np.float32] = self._shards[shard][at - self._ends[shard]]
        return vector
