"""Dense search over topics, plain or expanded: which encoder, which vectors, which query vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from expandr_ir.aggregate import DENSE, dense_vectors
from expandr_ir.config import EncodeOptions
from expandr_ir.dense import DenseIndex, open_dense, open_named_dense
from expandr_ir.encode import encode_corpus
from expandr_ir.encoders import Encoder, encoder_config, load_encoder
from expandr_ir.errors import InputError
from expandr_ir.records import ExpandedTopic, Run
from expandr_ir.retrieve.base import Clock, Counting, aggregation_name, uncounted
from expandr_ir.retrieve.options import SearchOptions

if TYPE_CHECKING:
    from expandr_ir.collection import Collection

LoadEncoder: TypeAlias = Callable[..., Encoder]
"""`encoders.load_encoder`, or what stands in for it: one that keeps encoders from one search to the next."""


def dense_aggregation(named: str | None, topics: Mapping[str, ExpandedTopic]) -> str:
    """The dense aggregation in force: the one that is named, else "mean" with expansions, else "none".

    Raises:
        InputError: the one that is named does not exist, or needs expansions and there are none.
    """
    return aggregation_name(named, topics, "mean", DENSE)


class DenseRetriever:
    """An encoder's vectors of the collection, or of the FAISS index that is named.

    Args:
        collection: what to search in, encoded where it is not there yet; None needs an index.
        options: how.
        counting: shows how far encoding is.
        load: loads the encoder.

    Raises:
        InputError: neither collection nor index, an encoder that cannot be used, or an index that it does not fit.
        MissingResourceError: there is no such index or model.
    """

    def __init__(
        self,
        collection: Collection | None,
        options: SearchOptions,
        counting: Counting = uncounted,
        load: LoadEncoder = load_encoder,
    ) -> None:
        self._options = options
        self._encoder = open_encoder(collection, options, load)
        self._index = self._open(collection, counting)
        self.details: dict[str, Any] = {"vectors": str(self._index.folder), "encoder": self._encoder.identity()}
        self.seconds: dict[str, float] = {}

    def search(self, topics: Mapping[str, ExpandedTopic], aggregation: str) -> Run:
        """The rankings by topic_id.

        Args:
            topics: with their expansions.
            aggregation: one of DENSE.

        Raises:
            InputError: an aggregation that does not fit the topics.
        """
        clock = Clock(self.seconds)
        topic_ids, vectors = dense_vectors(aggregation, topics, self._encoder, self._options.dense)
        clock.lap("aggregate")
        run = self._index.search(dict(zip(topic_ids, vectors, strict=True)), self._options.hits)
        clock.lap("search")
        return run

    def _open(self, collection: Collection | None, counting: Counting) -> DenseIndex:
        named = self._options.dense_index or (self._options.index if self._options.retriever == "dense" else None)
        if named:
            index = open_named_dense(named, self._options.vectors)
            index.check_encoder(self._encoder)
            return index
        if collection is None:
            raise InputError(
                "there is nothing to search in", expected="a collection or an index", remedy="--collection C"
            )
        with counting("documents encoded", collection.facts.documents) as on_progress:
            vectors = encode_corpus(collection, self._encoder, on_progress=on_progress)
        return open_dense(vectors, self._options.vectors)


def open_encoder(collection: Collection | None, options: SearchOptions, load: LoadEncoder = load_encoder) -> Encoder:
    """The encoder that the options name, with what they say of expansions in place of its own.

    Args:
        collection: what is searched.
        options: how.
        load: loads it.

    Raises:
        InputError: none is named, or it cannot be used.
        MissingResourceError: there is no such model.
    """
    if not options.encoder:
        raise InputError("no encoder is named", remedy="--encoder all-MiniLM-L6-v2")
    config = encoder_config(options.encoder)
    if options.expansion_role is not None:
        config = replace(config, expansion_role=options.expansion_role)
    if options.expansion_prefix is not None:
        config = replace(config, expansion_prefix=options.expansion_prefix)
    own_options = None if options.encode == EncodeOptions() else options.encode
    return load(config, collection=collection.name if collection else None, options=own_options)
