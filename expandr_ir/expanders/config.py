"""The configuration of an expander: prompt, generator, decoding, and the search it is meant for (conf/expanders/)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from expandr_ir.aggregate import DenseOptions, SparseOptions, dense_aggregation, sparse_aggregation
from expandr_ir.blocks import load_block
from expandr_ir.config import conf_path, drop_none
from expandr_ir.errors import check_fields, unknown_name
from expandr_ir.records import Decoding
from expandr_ir.retrievers import SearchOptions

_DECODING = ("temperature", "top_p", "max_new_tokens", "stop", "repetition_penalty")


@dataclass(frozen=True, kw_only=True)
class ExpanderConfig:
    """An expander: from topics to a run. An option that is None is taken from the part that it belongs to.

    Args:
        source: the publication or code its numbers come from.
        method: the class that makes the calls, by name; "prompt" is one call of one prompt.
        prompt: a name of conf/prompts; None takes the one that the generator was trained with, else "passage".
        prompts: the prompts of a method's other calls, by the names that the method gives them.
        prompt_by_collection: other prompts for single collections, by their name in conf/collections/.
        generator: a name of conf/generators, a YAML file or engine:model.
        temperature, top_p, max_new_tokens, stop, repetition_penalty: how it samples.
        samples: expansions of each topic.
        passages: documents of a first BM25 search that the prompt shows.
        passage_words: most words of each document that a prompt shows; None is no limit.
        rounds: of a method that expands, searches and expands again.
        retriever: "sparse" is BM25; "hybrid" fuses sparse and dense.
        sparse_aggregation: of BM25's query.
        sparse: its numbers.
        dense_aggregation: of the query's vector.
        dense: its numbers.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        expansion_role: whether expansions are encoded as queries or as documents.
        expansion_prefix: put before each expansion when it is encoded.
        with_topics_alone: each retriever searches the topics alone as well, and all runs are fused.
        fusion: of several runs.
        notes: remarks, above all the differences from the publication.

    Raises:
        InputError: an unknown aggregation.
    """

    source: str = ""
    method: str = "prompt"
    prompt: str | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    prompt_by_collection: dict[str, str] = field(default_factory=dict)
    generator: str
    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    repetition_penalty: float | None = None
    samples: int = 1
    passages: int | None = None
    passage_words: int | None = None
    rounds: int | None = None
    retriever: Literal["sparse", "dense", "hybrid"] = "sparse"
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
        if self.sparse_aggregation is not None:
            sparse_aggregation(self.sparse_aggregation)
        if self.dense_aggregation is not None:
            dense_aggregation(self.dense_aggregation)

    def prompt_for(self, collection: str | None) -> str | None:
        """The prompt for a collection, by its name; None leaves the choice to the generator."""
        return self.prompt_by_collection.get(collection or "", self.prompt)

    def decoding(self, generator: Decoding) -> Decoding:
        """The generator's decoding, with the expander's own values in place of the generator's."""
        return replace(generator, **self.own_decoding)

    @property
    def own_decoding(self) -> dict[str, Any]:
        """The values of a generator's decoding that the expander sets."""
        return drop_none({name: getattr(self, name) for name in _DECODING})

    def with_decoding(self, decoding: Decoding) -> ExpanderConfig:
        """This expander with these values in place of its own and its generator's."""
        return replace(self, **{name: getattr(decoding, name) for name in _DECODING})

    def search_options(self, **overrides: Any) -> SearchOptions:
        """The options of its search; overrides, fields of SearchOptions, that are None change nothing."""
        shared = {field.name for field in fields(SearchOptions)} & vars(self).keys()
        values = vars(self.sparse) | {name: getattr(self, name) for name in shared} | drop_none(overrides)
        return SearchOptions(**drop_none(values))


RETRY = ("empty", "refused", "truncated")
"""The kinds of stored answers that can be asked anew; errors always are."""


@dataclass(frozen=True, kw_only=True)
class ReuseOptions:
    """Options of reading and writing the expansion store.

    Args:
        store: the expansion store's file; None takes $EXPANDR_STORE, else the one under EXPANDR_HOME.
        retry: ask anew for the stored samples that are "empty" once cleaned, "truncated" or "refused"; a text that
            comes takes their place.
        retry_refused: as --retry refused.
        batch_samples: samples that one process takes at a time; None is a twentieth of the plan, but 128 to 1,024.
    """

    store: str | None = None
    retry: list[str] = field(default_factory=list)
    retry_refused: bool = False
    batch_samples: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, "batch_samples", least=1)
        for reason in self.retry:
            if reason not in RETRY:
                raise unknown_name("value of --retry", reason, RETRY)

    def reasons(self) -> set[str]:
        """The kinds of stored answers to ask anew."""
        return {"error", *self.retry, *(["refused"] if self.retry_refused else [])}

    def expand_options(self, **more: Any) -> ExpandOptions:
        """The options of an expansion with this reuse."""
        return ExpandOptions(**{name.name: getattr(self, name.name) for name in fields(ReuseOptions)}, **more)


@dataclass(frozen=True, kw_only=True)
class ExpandOptions(ReuseOptions):
    """Options of an expansion; None is the expander's own.

    Args:
        prompt: a name of conf/prompts or a YAML file; None takes the one the generator was trained with, else
            "passage".
        samples: expansions of each topic.
        passages: documents that BM25 finds for the topic, for a prompt that shows them.
        max_words: most words of an expansion once it is cleaned; None is no limit.
    """

    prompt: str | None = None
    samples: int | None = None
    passages: int | None = None
    max_words: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "samples", "passages", "max_words", least=1)


def expander_config(name: str) -> ExpanderConfig:
    """The expander of conf/expanders/ with this name, or the one in this YAML file."""
    return load_block(ExpanderConfig, conf_path("expanders", name))
