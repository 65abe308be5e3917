"""How topics are searched: one dataclass, and the searches ("routes") that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from expandr_ir.aggregate import DenseOptions, SparseOptions
from expandr_ir.config import EncodeOptions
from expandr_ir.dense import DenseSearchOptions
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.fusion import METHODS, FusionOptions

RetrieverName = Literal["sparse", "dense", "hybrid"]


class Route(NamedTuple):
    """One search: by which retriever, with which aggregation; None is the retriever's default."""

    retriever: Literal["sparse", "dense"]
    aggregation: str | None


@dataclass(frozen=True)
class SearchOptions(SparseOptions):
    """How topics are searched.

    Args:
        retriever: "sparse" is BM25, "dense" an encoder, "hybrid" both, fused.
        aggregation: how topic and expansions become one query, of the one retriever there is; None is "repeat" (sparse)
            or "mean" (dense) with expansions, and "none" without.
        sparse_aggregation: the same for BM25's part of a hybrid search.
        dense_aggregation: the same for the encoder's part.
        hits: documents a topic.
        index: an existing index to search instead of the collection's own, a folder or a Pyserini prebuilt name:
            Lucene's, or FAISS's where the retriever is dense.
        dense_index: a FAISS index, for the encoder's part of a hybrid search.
        fields: "flat" (title and text in one field) or "multifield" (in two, with equal boosts).
        k1: BM25's k1; None takes the collection's published one, else 0.9.
        b: BM25's b; None takes the collection's published one, else 0.4.
        rm3: RM3 feedback with Pyserini's settings.
        rocchio: Rocchio feedback with Pyserini's settings.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        expansion_role: whether expansions are encoded as queries or as documents; None is the encoder's own.
        expansion_prefix: put before each expansion when it is encoded; None is the encoder's own.
        dense: numbers of the dense aggregations.
        encode: how the encoder runs.
        vectors: how vectors are searched.
        with_topics_alone: each retriever searches the topics alone as well, and all runs are fused.
        fusion: rrf, weighted or exp4fuse, where several runs become one.
        fuse: numbers of the fusion.
        own_document: what happens to a document whose id is the topic's: "auto" removes it where the collection's
            published figures do (BEIR's), "remove" and "keep" do so anyway.
        threads: BM25 searches at once, inside Java; None takes all cores.
        heap: most memory Java may take, such as "8g"; None takes a quarter of the machine's.
    """

    retriever: RetrieverName = "sparse"
    aggregation: str | None = None
    sparse_aggregation: str | None = None
    dense_aggregation: str | None = None
    hits: int = 1000
    index: str | None = None
    dense_index: str | None = None
    fields: Literal["flat", "multifield"] = "flat"
    k1: float | None = None
    b: float | None = None
    rm3: bool = False
    rocchio: bool = False
    encoder: str | None = None
    expansion_role: Literal["query", "document"] | None = None
    expansion_prefix: str | None = None
    dense: DenseOptions = field(default_factory=DenseOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    vectors: DenseSearchOptions = field(default_factory=DenseSearchOptions)
    with_topics_alone: bool = False
    fusion: str = "rrf"
    fuse: FusionOptions = field(default_factory=FusionOptions)
    own_document: Literal["auto", "remove", "keep"] = "auto"
    threads: int | None = None
    heap: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("hits", self.hits), ("threads", self.threads)):
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}", expected="1 or more")
        if self.fusion not in METHODS:
            raise unknown_name("fusion", self.fusion, METHODS)
        if self.retriever == "hybrid" and self.aggregation:
            raise InputError(
                f"the aggregation {self.aggregation!r} of a hybrid search",
                expected="one for each part",
                remedy=f"--sparse-aggregation {self.aggregation} or --dense-aggregation {self.aggregation}",
            )
        if self.retriever != "sparse" and not self.encoder:
            raise InputError(f"a {self.retriever} search without an encoder", remedy="--encoder all-MiniLM-L6-v2")

    def routes(self) -> list[Route]:
        """The searches whose runs are the result, or are fused where there are several."""
        sparse = Route("sparse", self.sparse_aggregation or self.aggregation)
        dense = Route("dense", self.dense_aggregation or self.aggregation)
        expanded = {"sparse": [sparse], "dense": [dense], "hybrid": [sparse, dense]}[self.retriever]
        alone = [Route(route.retriever, "none") for route in expanded] if self.with_topics_alone else []
        return alone + expanded
