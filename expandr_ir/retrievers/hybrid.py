"""Several searches fused into one run; and the retriever that a set of options describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from expandr_ir.blocks import check_values
from expandr_ir.errors import InputError
from expandr_ir.io.runs import Run
from expandr_ir.retrievers.base import (
    Clock,
    Retriever,
    Searchable,
    SingleRetriever,
    as_expanded,
    select_fields,
)
from expandr_ir.retrievers.bm25 import BM25, BM25Options
from expandr_ir.retrievers.dense import Dense, DenseRetrieverOptions
from expandr_ir.retrievers.fusion import FusionOptions, find_fusion, fuse

if TYPE_CHECKING:
    from expandr_ir.collections import Collection
    from expandr_ir.encoders import Encoder


class Hybrid(Retriever):
    """Several searches whose runs are fused.

    Args:
        retrievers: such as BM25 and Dense.
        fusion: rrf, weighted or exp4fuse.
        with_topics_alone: each retriever searches the topics alone as well, and all runs are fused.
        fuse: numbers of the fusion.
        hits: documents a topic of the fused run.

    Raises:
        InputError: an unknown fusion, or fewer than two retrievers.
    """

    label = "hybrid"

    def __init__(
        self,
        *retrievers: SingleRetriever,
        fusion: str = "rrf",
        with_topics_alone: bool = False,
        fuse: FusionOptions | None = None,
        hits: int = 1000,
    ) -> None:
        find_fusion(fusion)
        if len(retrievers) * (1 + with_topics_alone) < 2:
            raise InputError(f"{len(retrievers)} retriever to fuse", expected="two or more, or with_topics_alone")
        self.retrievers: Sequence[SingleRetriever] = retrievers
        self.with_topics_alone = with_topics_alone
        self.fusion, self.fuse, self.hits = fusion, fuse or FusionOptions(), hits

    def __repr__(self) -> str:
        return f"<Hybrid: {self.fusion} of {', '.join(map(repr, self.retrievers))}>"

    def search(self, topics: Searchable) -> Run:
        """See `Retriever.search`."""
        expanded = as_expanded(topics)
        alone = [retriever.search(expanded, "none") for retriever in self.retrievers if self.with_topics_alone]
        runs = alone + [retriever.search(expanded) for retriever in self.retrievers]
        clock = Clock()
        rankings = fuse(self.fusion, runs, self.fuse, self.hits)
        clock.lap("fuse")
        seconds: dict[str, float] = dict(clock.seconds)
        for run in runs:
            for stage, value in run.seconds.items():
                seconds[stage] = value if stage == "generate" else seconds.get(stage, 0.0) + value
        return Run(
            rankings,
            name=f"{self.fusion}({','.join(run.name for run in runs)})",
            details={label: details for run in runs for label, details in run.details.items()},
            seconds=seconds,
            tokens=runs[0].tokens,
            counts=runs[0].counts
            | {
                "topics_without_hits": sum(not hits for hits in rankings.values()),
                "own_documents_removed": sum(run.counts["own_documents_removed"] for run in runs),
            },
        )


@dataclass(frozen=True, kw_only=True)
class SearchOptions(BM25Options, DenseRetrieverOptions):
    """Options of a search by any retriever.

    Args:
        retriever: "sparse" is BM25, "dense" an encoder, "hybrid" both, fused.
        sparse_aggregation: the aggregation of BM25's part of a hybrid search.
        dense_aggregation: the aggregation of the encoder's part.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        dense_index: a FAISS index, for the encoder's part of a hybrid search.
        with_topics_alone: each retriever searches the topics alone as well, and all runs are fused.
        fusion: rrf, weighted or exp4fuse, where several runs become one.
        fuse: numbers of the fusion.
    """

    retriever: Literal["sparse", "dense", "hybrid"] = "sparse"
    sparse_aggregation: str | None = None
    dense_aggregation: str | None = None
    encoder: str | None = None
    dense_index: str | None = None
    with_topics_alone: bool = False
    fusion: str = "rrf"
    fuse: FusionOptions = field(default_factory=FusionOptions)

    def __post_init__(self) -> None:
        check_values(self, SearchOptions)
        super().__post_init__()
        find_fusion(self.fusion)
        if self.retriever == "hybrid" and self.aggregation:
            raise InputError(
                f"the aggregation {self.aggregation!r} of a hybrid search",
                expected="one for each part",
                remedy=f"--sparse-aggregation {self.aggregation} or --dense-aggregation {self.aggregation}",
            )
        if self.retriever != "sparse" and not self.encoder:
            raise InputError(f"a {self.retriever} search without an encoder", remedy="--encoder all-MiniLM-L6-v2")


def load_retriever(
    collection: Collection | None, options: SearchOptions | None = None, *, encoder: Encoder | None = None
) -> Retriever:
    """The retriever that the options describe; nothing is opened before its first search.

    `encoder` is a loaded one in place of the options'; without a collection, the options name an index.
    """
    options = options or SearchOptions()
    parts: list[SingleRetriever] = []
    if options.retriever != "dense":
        values = select_fields(options, BM25Options)
        parts.append(BM25(collection, **values | {"aggregation": options.sparse_aggregation or options.aggregation}))
    if options.retriever != "sparse":
        values = select_fields(options, DenseRetrieverOptions)
        values["aggregation"] = options.dense_aggregation or options.aggregation
        values["index"] = options.dense_index or (options.index if options.retriever == "dense" else None)
        parts.append(Dense(collection, encoder or options.encoder, **values))
    if len(parts) == 1 and not options.with_topics_alone:
        return parts[0]
    alone = options.with_topics_alone
    return Hybrid(*parts, fusion=options.fusion, with_topics_alone=alone, fuse=options.fuse, hits=options.hits)
