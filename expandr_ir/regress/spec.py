"""A regression: a collection, its conditions, and what each of them should give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

Tier: TypeAlias = Literal["exact", "near", "live", "training", "published"]
"""How closely a figure must be met: equal, within what neural encoders vary, within what an LLM's samples vary, within
what training varies; a published figure is shown and never judged."""

TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by its name in ir_measures, which is its definition.

    Args:
        name: such as "R(rel=2)@1000".
        precision: decimals that are printed and compared.
        trec_eval: the same as options of trec_eval, for Pyserini's own command.
    """

    name: str
    precision: int
    trec_eval: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One way to search, whatever the collection.

    Args:
        name: such as "bm25-flat" or "mugi.gpt-4.1".
        about: what a reader should know, in a line.
        family: bm25, frozen, dense, hybrid, live or published.
        tier: how closely its figures must be met.
        baseline: the condition that it is compared with, if any.
        search: fields of SearchOptions that are not its defaults.
        expander: a name of conf/expanders, where an LLM writes the expansions.
        expansions: name of a file with recorded expansions.
        topics_field: the field of that file that is searched as it stands; None aggregates topic and expansions.
        pyserini: Pyserini's own command, of {topics}, {index} and {output}.
    """

    name: str
    about: str
    family: str
    tier: Tier
    baseline: str | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    expander: str | None = None
    expansions: str | None = None
    topics_field: str | None = None
    pyserini: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether there is something to run; of a condition that is only published there is not."""
        return self.tier != "published"


@dataclass(frozen=True, slots=True)
class Figure:
    """A known value of a metric.

    Args:
        value: the figure.
        tolerance: largest difference that is no failure.
        source: where it stands.
    """

    value: float
    tolerance: float
    source: str


Figures: TypeAlias = dict[str, dict[str, Figure]]
"""condition -> metric -> figure."""

Band: TypeAlias = tuple[int, int]
"""Smallest and largest value; the same twice for one exact value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The regression of one collection.

    Args:
        name: its own.
        group: the folder that its file stands in, such as "beir".
        path: its file.
        title: what a reader calls the collection.
        folder: name of its folder in BEIR's layout, if it has one.
        irds: its ir_datasets id, if it has one.
        pyserini: Pyserini's name of its topics, if it has one.
        index: what the names of Pyserini's prebuilt indexes of it begin with.
        flat_index: the name of the one for BM25, where it is not the index's and ".flat".
        dense_indexes: Pyserini's FAISS indexes of it, by what their names end in.
        embedded: it comes with this package.
        split: which judgements.
        expansions: name of the folder with its recorded expansions.
        statistics: index fields -> "documents" and "terms" -> what the index must hold.
        statistics_source: where these stand.
        metrics: by name, in their order.
        conditions: by name, in their order.
        expected: what must come out.
        published: what is shown beside it.
        mean_of: names of the collections that this one is the mean of; nothing else is run for it.
    """

    name: str
    group: str
    path: str
    title: str
    folder: str | None = None
    irds: str | None = None
    pyserini: str | None = None
    index: str | None = None
    flat_index: str | None = None
    dense_indexes: tuple[str, ...] = ()
    embedded: bool = False
    split: str | None = None
    expansions: str | None = None
    statistics: Mapping[str, Mapping[str, Band]] = field(default_factory=dict)
    statistics_source: str = ""
    metrics: Mapping[str, Metric]
    conditions: Mapping[str, Condition]
    expected: Figures = field(default_factory=dict)
    published: Figures = field(default_factory=dict)
    mean_of: tuple[str, ...] = ()

    def lucene_index(self, fields: str) -> str | None:
        """Pyserini's name of its prebuilt Lucene index with these fields, if there is one."""
        if fields == "flat" and self.flat_index:
            return self.flat_index
        return f"{self.index}.{fields}" if self.index and not self.flat_index else None

    def dense_index(self, encoder: str | None) -> str | None:
        """Pyserini's name of its prebuilt FAISS index of an encoder's vectors, if there is one."""
        return f"{self.index}.{encoder}" if encoder in self.dense_indexes else None
