"""Conditions, collections and figures: regressions/*.yaml as docs/regress.md describes them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from expandr_ir.blocks import check_names, load_block, placeholders, unknown, where
from expandr_ir.config import TRAINING, regressions_dir
from expandr_ir.errors import InputError, MissingResourceError, unknown_name

CONDITIONS = "conditions.yaml"
RECORDED = "recorded"
"""The folder of figures that `expandr regress --promote` wrote."""

Tier: TypeAlias = Literal["exact", "near", "live", "training", "published"]
"""How closely a figure must be met: equal, within what neural encoders vary, within what an LLM's samples vary, within
what training varies; a published figure is shown and never judged."""

TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True)
class Metric:
    """A metric of ir_measures: decimals that are printed and compared, and the same as options of trec_eval."""

    precision: int
    trec_eval: str = ""


@dataclass(frozen=True)
class Figure:
    """A known value, the largest difference from it that is no failure, and where it stands."""

    value: float
    tolerance: float
    source: str


Figures: TypeAlias = dict[str, dict[str, Figure]]
"""condition -> metric -> figure."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way to search, whatever the collection."""

    name: str = ""  # such as "mugi.gpt-4.1"; of conditions that vary, a pattern of the placeholders
    about: str  # a line for readers
    family: Literal["bm25", "frozen", "dense", "hybrid", "live", "training", "published"]
    tier: Tier
    baseline: str | None = None  # the condition that it is compared with
    search: dict[str, Any] = field(default_factory=dict)  # options of SearchOptions that are not its defaults
    expander: str | None = None  # a name of conf/expanders, where an LLM writes the expansions
    generator: str | None = None  # of conf/generators: that LLM, where its figures are known; else --generator's
    expansions: str | None = None  # name of a file with recorded expansions
    topics_field: str | None = None  # the field of that file that is searched in place of the topic
    pyserini: str | None = None  # Pyserini's own command, of {topics}, {index} and {output}
    vary: dict[str, list[str]] = field(default_factory=dict)  # placeholder -> values: one condition of each combination


@dataclass(frozen=True)
class Table:
    """Figures: a row for each condition, a column for each metric."""

    source: str  # a key of the catalogue's sources, or a text
    rows: dict[str, list[float | None]]
    metrics: list[str] = field(default_factory=list)  # where they are not the collection's
    tolerance: float | None = None  # where it is not the tier's
    python: str = ""  # the version that it holds for, such as "3.11"; else every one


@dataclass(frozen=True)
class Recorded:
    """A file of figures that were promoted."""

    values: list[Table]


@dataclass(frozen=True, kw_only=True)
class CollectionFile:
    """A collection's file: its names, its statistics, its conditions and their figures."""

    title: str
    metrics: list[str]
    folder: str | None = None  # in BEIR's layout
    irds: str | None = None
    pyserini: str | None = None  # its topics
    index: str | None = None  # the beginning of the names of Pyserini's prebuilt indexes
    flat_index: str | None = None  # BM25's, where it is not the index's and ".flat"
    dense_indexes: list[str] = field(default_factory=list)  # the ends of the names of those for FAISS
    embedded: bool = False  # comes with this package
    split: str | None = None
    expansions: str | None = None  # the folder of recorded ones, where it is not its name
    statistics: dict[Literal["flat", "multifield"], dict[Literal["documents", "terms"], int | list[int]]] = field(
        default_factory=dict
    )
    statistics_source: str = ""
    sets: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)  # those without a figure
    values: list[Table] = field(default_factory=list)  # must come out
    published: list[Table] = field(default_factory=list)  # are shown beside them
    mean_of: list[str] = field(default_factory=list)  # collections; nothing else is run


@dataclass(frozen=True)
class Catalogue:
    """conditions.yaml: what all collections share."""

    tiers: dict[Tier, float]  # the largest difference where a figure has no other
    metrics: dict[str, Metric]
    sources: dict[str, str]
    conditions: dict[str, Condition]
    sets: dict[str, list[str]]


@dataclass(frozen=True)
class Regression:
    """The regression of one collection, whose name is its file's and whose group its file's folder, such as "beir"."""

    name: str
    group: str
    facts: CollectionFile
    metrics: Mapping[str, Metric]
    conditions: Mapping[str, Condition]
    expected: Figures
    published: Figures

    @property
    def expansions_folder(self) -> str:
        """The name of the folder with its recorded expansions."""
        return self.facts.expansions or self.name

    def metrics_of(self, condition: Condition) -> dict[str, Metric]:
        """The metrics of a condition: all, of a training those that it has a figure of."""
        known = self.expected.get(condition.name, {}) if condition.family == "training" else self.metrics
        return {name: metric for name, metric in self.metrics.items() if name in known}

    def lucene_index(self, fields: str) -> str | None:
        """Pyserini's name of its prebuilt Lucene index with these fields, if there is one."""
        if self.facts.flat_index:
            return self.facts.flat_index if fields == "flat" else None
        return f"{self.facts.index}.{fields}" if self.facts.index else None

    def dense_index(self, encoder: str | None) -> str | None:
        """Pyserini's name of its prebuilt FAISS index of an encoder's vectors, if there is one."""
        return f"{self.facts.index}.{encoder}" if encoder in self.facts.dense_indexes else None


class Regressions:
    """The regressions of a folder (None: the one that comes with this package), each read when it is loaded."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or regressions_dir()
        self.files: dict[str, Path] = {}
        for path in sorted(self.folder.glob("**/*.yaml")):
            if path.name == CONDITIONS or {RECORDED, TRAINING} & set(path.relative_to(self.folder).parts):
                continue
            if other := self.files.get(path.stem):
                message = f"two regressions of the name {path.stem!r}: {other} and {path}"
                raise InputError(message, expected="one of each name")
            self.files[path.stem] = path
        if not self.files:
            raise MissingResourceError(f"{self.folder} holds no regressions", expected="a folder with YAML files")
        self.catalogue = _read_catalogue(self.folder / CONDITIONS)
        if (self.folder / TRAINING).is_dir():
            self.files[TRAINING] = self.folder / TRAINING
        self.load = cache(self._load)

    def condition_names(self) -> Iterator[str]:
        """The names of all conditions."""
        yield from self.catalogue.conditions
        yield from self.load(TRAINING).conditions if TRAINING in self.files else ()

    def _load(self, name: str) -> Regression:
        if name not in self.files:
            raise unknown_name("collection", name, self.files)
        path, catalogue = self.files[name], self.catalogue
        if name == TRAINING:
            from expandr_ir.regress.training import load_trainings

            return load_trainings(path)
        facts, recorded = load_block(CollectionFile, path), self.folder / RECORDED / path.name
        values = facts.values + (load_block(Recorded, recorded).values if recorded.is_file() else [])
        check_names("metric", facts.metrics, catalogue.metrics)
        check_names("set", facts.sets, catalogue.sets)
        check_names("condition", facts.conditions, catalogue.conditions)
        for key, band in itertools.chain.from_iterable(counts.items() for counts in facts.statistics.values()):
            if isinstance(band, list) and (len(band) != 2 or band[0] > band[1]):
                raise InputError(f"{where(key)}: {key} is {band}", expected="a number, or [smallest, largest]")
        wanted = {*facts.conditions, *itertools.chain.from_iterable(catalogue.sets[one] for one in facts.sets)}
        wanted |= {row for table in (*values, *facts.published) for row in table.rows}
        group = path.parent.relative_to(self.folder).as_posix()
        return Regression(
            name=name,
            group="" if group == "." else group,
            facts=facts,
            metrics={metric: catalogue.metrics[metric] for metric in facts.metrics},
            expected=_figures(values, facts.metrics, catalogue),
            published=_figures(facts.published, facts.metrics, catalogue),
            conditions={name: one for name, one in catalogue.conditions.items() if name in wanted},
        )


def _read_catalogue(path: Path) -> Catalogue:
    catalogue = load_block(Catalogue, path)
    conditions: dict[str, Condition] = {}
    for name, pattern in catalogue.conditions.items():
        for condition in _varied(name, pattern):
            if condition.name in conditions:
                raise InputError(f"{where(name)}: a second condition {condition.name!r}", expected="each name once")
            conditions[condition.name] = condition
    for condition in conditions.values():
        check_names("baseline", [condition.baseline] if condition.baseline else [], conditions)
    for members in catalogue.sets.values():
        check_names("condition", members, conditions)
    if missing := set(TIERS) - catalogue.tiers.keys():
        raise InputError(f"{path}: no tolerance of the tier {min(missing)}", expected=", ".join(TIERS))
    return replace(catalogue, conditions=conditions)


def _varied(name: str, condition: Condition) -> Iterator[Condition]:
    """The condition, or, where `vary` lists values of placeholders, one for each combination of them."""
    vary, pattern = condition.vary, condition.name if condition.vary else name
    texts: dict[str, Any] = {"name": pattern, "about": condition.about, "expansions": condition.expansions}
    for text in filter(None, texts.values() if vary else ()):
        placeholders(text, vary)
    if vary.keys() != (placeholders(pattern, vary) if vary else set()):
        raise InputError(
            f"{where(pattern)}: the name {pattern!r} of conditions that vary {', '.join(vary)}",
            expected=f"each of these as a placeholder: {', '.join(f'{{{field}}}' for field in vary)}",
        )
    for values in itertools.product(*vary.values()):
        chosen = dict(zip(vary, values, strict=True))
        filled = {key: text.format(**chosen) if text and chosen else text for key, text in texts.items()}
        yield replace(condition, vary={}, **filled)


def _figures(tables: list[Table], metrics: list[str], catalogue: Catalogue) -> Figures:
    figures: Figures = {}
    for table in tables:
        source, columns = table.source, table.metrics or metrics
        if not source.strip():
            raise InputError(f"{where(source)}: a figure without a source", expected="where it stands")
        if " " not in source and source not in catalogue.sources:
            raise unknown(source, "source", catalogue.sources)
        check_names("metric of this collection", columns, metrics)
        check_names("condition", list(table.rows), catalogue.conditions)
        applies = table.python in {"", f"{sys.version_info[0]}.{sys.version_info[1]}"}
        for name, row in table.rows.items():
            if len(row) != len(columns):
                message = f"{where(name)}: {len(row)} figures of {name!r}"
                raise InputError(message, expected=f"{len(columns)}: {', '.join(columns)}")
            usual = catalogue.tiers[catalogue.conditions[name].tier]
            tolerance = usual if table.tolerance is None else table.tolerance
            known = figures.setdefault(name, {})
            for metric, value in zip(columns, row, strict=True):
                if value is not None and applies:
                    if metric in known:
                        message = f"{where(name)}: a second {metric} of {name!r}"
                        raise InputError(message, expected="one figure of each metric")
                    known[metric] = Figure(value, tolerance, catalogue.sources.get(source, source))
    return figures


def list_versions(versions: Mapping[str, str]) -> str:
    """Versions as the source of a recorded figure names them."""
    return ", ".join(f"{name} {version}" for name, version in versions.items() if name != "platform")
