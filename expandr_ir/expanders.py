"""Named expanders: prompt, generator, aggregation and retriever of one published method, in one block."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from expandr_ir.aggregate import DENSE, SPARSE, DenseOptions, SparseOptions
from expandr_ir.config import conf_path, load_block
from expandr_ir.errors import unknown_name
from expandr_ir.records import Decoding
from expandr_ir.retrieve.options import SearchOptions

_DECODING = ("temperature", "top_p", "max_new_tokens", "stop", "repetition_penalty")


@dataclass(frozen=True, kw_only=True)
class ExpanderConfig:
    """An expander (conf/expanders/): from topics to a run. What is None is taken from the part that it belongs to.

    Args:
        source: where its numbers stand.
        prompt: a name of conf/prompts; None takes the one that the generator was trained with, else "passage".
        prompt_by_collection: other prompts for single collections, by their name in conf/collections/.
        generator: a name of conf/generators, a YAML file or engine:model.
        temperature, top_p, max_new_tokens, stop, repetition_penalty: how it samples.
        samples: expansions of each topic.
        passages: documents of a first BM25 search that the prompt shows.
        retriever: "sparse" is BM25; "hybrid" fuses sparse and dense.
        sparse_aggregation: how BM25's query is made.
        sparse: its numbers.
        dense_aggregation: how the query's vector is made.
        dense: its numbers.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        expansion_role: whether expansions are encoded as queries or as documents.
        expansion_prefix: put before each expansion when it is encoded.
        with_topics_alone: each retriever searches the topics alone as well, and all runs are fused.
        fusion: how runs are fused.
        notes: what a reader should know, above all where this differs from what was published.

    Raises:
        InputError: an unknown aggregation.
    """

    source: str
    prompt: str | None = None
    prompt_by_collection: dict[str, str] = field(default_factory=dict)
    generator: str
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    repetition_penalty: float | None = None
    samples: int
    passages: int | None = None
    retriever: Literal["sparse", "dense", "hybrid"]
    sparse_aggregation: str | None = None
    sparse: SparseOptions = field(default_factory=SparseOptions)
    dense_aggregation: str | None = None
    dense: DenseOptions = field(default_factory=DenseOptions)
    encoder: str | None = None
    expansion_role: Literal["query", "document"] | None = None
    expansion_prefix: str | None = None
    with_topics_alone: bool = False
    fusion: Literal["rrf", "weighted", "exp4fuse"] | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        if self.sparse_aggregation not in {None, *SPARSE}:
            raise unknown_name("sparse aggregation", str(self.sparse_aggregation), SPARSE)
        if self.dense_aggregation not in {None, *DENSE}:
            raise unknown_name("dense aggregation", str(self.dense_aggregation), DENSE)

    def prompt_for(self, collection: str | None) -> str | None:
        """The prompt for a collection, by its name; None leaves the choice to the generator."""
        return self.prompt_by_collection.get(collection or "", self.prompt)

    def decoding(self, generator: Decoding) -> Decoding:
        """How the generator samples, with what this expander says in place of the generator's own."""
        named: dict[str, Any] = {name: getattr(self, name) for name in _DECODING}
        return replace(generator, **{name: value for name, value in named.items() if value is not None})

    def search_options(self, **others: Any) -> SearchOptions:
        """How its topics are searched.

        Args:
            others: fields of SearchOptions in place of this expander's, or beside them; None leaves it as it is.
        """
        own: dict[str, Any] = vars(self.sparse) | {
            "retriever": self.retriever,
            "sparse_aggregation": self.sparse_aggregation,
            "dense_aggregation": self.dense_aggregation,
            "dense": self.dense,
            "encoder": self.encoder,
            "expansion_role": self.expansion_role,
            "expansion_prefix": self.expansion_prefix,
            "with_topics_alone": self.with_topics_alone,
            "fusion": self.fusion,
        }
        named = own | {name: value for name, value in others.items() if value is not None}
        return SearchOptions(**{name: value for name, value in named.items() if value is not None})


def expander_config(name: str) -> ExpanderConfig:
    """The expander of conf/expanders/ with this name, or the one in this YAML file.

    Raises:
        InputError: no such name or file, or one that does not fit; the message names file and key.
    """
    return load_block(ExpanderConfig, conf_path("expanders", name))
