"""Dense search over topics, plain or expanded: the encoder, the vectors, the query's vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from expandr_ir.aggregate import DenseOptions, dense_aggregation, dense_vectors
from expandr_ir.blocks import check_values
from expandr_ir.collections import check_collection
from expandr_ir.config import EncodeOptions, drop_none
from expandr_ir.encoders import Encoder, encoder_config, load_encoder
from expandr_ir.errors import InputError
from expandr_ir.records import ExpandedTopic, Rankings
from expandr_ir.retrievers.base import Clock, RetrieverOptions, SingleRetriever, nothing_to_search
from expandr_ir.retrievers.encode import encode_corpus
from expandr_ir.retrievers.nearest import DenseIndex, DenseSearchOptions, open_dense, open_named_dense

if TYPE_CHECKING:
    from expandr_ir.collections import Collection


@dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """Options of the vectors of topics with expansions.

    Args:
        expansion_role: whether expansions are encoded as queries or as documents; None is the encoder's own.
        expansion_prefix: put before each expansion when it is encoded; None is the encoder's own.
        dense: numbers of the dense aggregations.
        encode: device, precision and batches of the encoder.
    """

    expansion_role: Literal["query", "document"] | None = None
    expansion_prefix: str | None = None
    dense: DenseOptions = field(default_factory=DenseOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)


@dataclass(frozen=True, kw_only=True)
class DenseRetrieverOptions(EncodingOptions, RetrieverOptions):
    """Options of dense search.

    Args:
        vectors: of the search among them.
    """

    vectors: DenseSearchOptions = field(default_factory=DenseSearchOptions)

    def __post_init__(self) -> None:
        check_values(self, DenseRetrieverOptions)
        super().__post_init__()


@dataclass(frozen=True, eq=False)
class Dense(DenseRetrieverOptions, SingleRetriever):
    """An encoder's vectors of the collection, encoded where they are not there yet, or the FAISS index that is named.

    Args:
        collection: the documents; None needs `index`.
        encoder: a name of conf/encoders, a YAML file, a model's folder, a hub id, or an encoder that is loaded already.
    """

    collection: Collection | None = None
    encoder: str | Encoder | None = None

    label = "dense"
    default_aggregation = "mean"
    opened = ("open_encoder", "dense_index")
    find_aggregation = staticmethod(dense_aggregation)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_collection(self.collection)

    def rank(self, topics: Mapping[str, ExpandedTopic], aggregation: str, clock: Clock) -> Rankings:
        """The rankings of topics with their expansions."""
        index, encoder = self.dense_index, self.open_encoder
        clock.start()
        topic_ids, vectors = dense_vectors(aggregation, topics, encoder, self.dense)
        clock.lap("aggregate")
        rankings = index.search(dict(zip(topic_ids, vectors, strict=True)), self.hits)
        clock.lap("search")
        return rankings

    def details(self) -> dict[str, Any]:
        """The vectors' folder and the encoder's identity."""
        return {"vectors": str(self.dense_index.folder), "encoder": self.open_encoder.identity()}

    @cached_property
    def open_encoder(self) -> Encoder:
        """The loaded encoder, with this retriever's role and prefix of expansions in place of its own."""
        if isinstance(self.encoder, Encoder):
            return self.encoder
        if not self.encoder:
            raise InputError("no encoder is named", remedy="--encoder all-MiniLM-L6-v2")
        given = {"expansion_role": self.expansion_role, "expansion_prefix": self.expansion_prefix}
        config = encoder_config(self.encoder)
        config = replace(config, **drop_none(given))
        options = None if self.encode == EncodeOptions() else self.encode
        return load_encoder(config, collection=self.collection.name if self.collection else None, options=options)

    @cached_property
    def dense_index(self) -> DenseIndex:
        """The open vectors: of the index that is named, else the collection's own."""
        encoder = self.open_encoder
        if self.index:
            index = open_named_dense(self.index, self.vectors)
            index.check_encoder(encoder)
            return index
        if self.collection is None:
            raise nothing_to_search()
        return open_dense(encode_corpus(self.collection, encoder), self.vectors)
