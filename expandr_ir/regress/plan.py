"""Conditions to steps: what would be searched, how, and what it lacks on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.expanders import ExpanderConfig, expander_config
from expandr_ir.files import home
from expandr_ir.regress.loading import Regressions
from expandr_ir.regress.places import NotHereError, Places, model_identity
from expandr_ir.regress.spec import TIERS, Condition, Spec
from expandr_ir.retrieve.options import SearchOptions

if TYPE_CHECKING:
    from expandr_ir.collection import Collection

DOCUMENTS_WITHOUT_GPU = 500_000
"""The most documents that are encoded on a CPU: some hours."""


@dataclass(frozen=True)
class Step:
    """One condition of one collection.

    Args:
        spec: the collection's regression.
        condition: the condition.
        options: how it is searched; None for a condition that nothing is run for.
        collection: what is loaded; None where it is not here.
        expansions: the file of recorded expansions, where it has some that are here.
        skip: why it cannot be run here; "" where it can.
    """

    spec: Spec
    condition: Condition
    options: SearchOptions | None
    collection: str | None
    expansions: Path | None
    skip: str = ""

    @property
    def name(self) -> str:
        """The run's name in the output folder, without its ending."""
        return f"{self.spec.name}/{self.condition.name}"

    @property
    def expander(self) -> ExpanderConfig | None:
        """The expander, where an LLM writes the expansions."""
        return _expander(self.condition.expander) if self.condition.expander else None


@dataclass(frozen=True)
class Selection:
    """What is asked for; nothing is everything.

    Args:
        collections: names of collections; one that is a mean brings its parts.
        conditions: names of conditions, or patterns such as "mugi.*".
        tiers: names of tiers.
    """

    collections: Sequence[str] = ()
    conditions: Sequence[str] = ()
    tiers: Sequence[str] = ()


def select(regressions: Regressions, selection: Selection) -> list[tuple[Spec, list[Condition]]]:
    """The selected conditions by collection, parts before the mean that is made of them.

    Raises:
        InputError: an unknown name, or nothing that fits all of them.
    """
    for name in selection.collections:
        if name not in regressions.files:
            raise unknown_name("collection", name, regressions.names())
    for tier in selection.tiers:
        if tier not in TIERS:
            raise unknown_name("tier", tier, TIERS)
    known = regressions.catalogue.conditions
    for pattern in selection.conditions:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise unknown_name("condition", pattern, known)
    chosen = []
    for spec in _with_parts(regressions, selection.collections or regressions.names()):
        conditions = [one for one in spec.conditions.values() if _fits(one, selection)]
        if conditions:
            chosen.append((spec, conditions))
    if not chosen:
        raise InputError(
            "no condition fits all of --collection, --condition and --tier",
            expected="conditions that the collection has",
            remedy=" ".join(["expandr regress --list", *(f"--collection {name}" for name in selection.collections)]),
        )
    return chosen


def plan(
    chosen: Iterable[tuple[Spec, Sequence[Condition]]], places: Places, *, with_generator: bool = False
) -> list[Step]:
    """A step for each condition.

    Args:
        chosen: conditions by collection.
        places: where data and expansions are.
        with_generator: there is an LLM for the conditions that need one.

    Raises:
        InputError: a condition that makes no sense.
    """
    return [step for spec, conditions in chosen for step in _steps(spec, conditions, places, with_generator)]


def search_options(fields_: Mapping[str, Any], expander: ExpanderConfig | None = None) -> SearchOptions:
    """How a condition is searched.

    Args:
        fields_: of SearchOptions, blocks as mappings.
        expander: whose own settings are taken where the fields say nothing.

    Raises:
        InputError: a field that there is not (the nearest one is suggested), or a value that does not fit.
    """
    known = {one.name: one for one in fields(SearchOptions)}
    for name in fields_:
        if name not in known:
            raise unknown_name("search option", name, known)
    values = {name: _built(known[name].default_factory, value) for name, value in fields_.items()}
    return expander.search_options(**values) if expander else SearchOptions(**values)


def encoder_of(options: SearchOptions) -> EncoderConfig | None:
    """The encoder of a search; None for BM25."""
    if options.retriever == "sparse" or options.encoder is None:
        return None
    return _encoder(options.encoder)


@cache
def _expander(name: str) -> ExpanderConfig:
    return expander_config(name)


@cache
def _encoder(name: str) -> EncoderConfig:
    from expandr_ir.encoders import encoder_config

    return encoder_config(name)


def check_model(step: Step, collection: Collection, fingerprint: str) -> None:
    """Refuses a step whose encoder is not here, or would encode more documents than a CPU can.

    Args:
        step: the step.
        collection: whose documents are encoded.
        fingerprint: of these.

    Raises:
        NotHereError: it cannot be done here.
    """
    config = encoder_of(step.options) if step.options else None
    if step.options is None or config is None:
        return
    model_identity(config)
    documents = collection.facts.documents or 0
    if documents <= DOCUMENTS_WITHOUT_GPU or step.options.index or step.options.dense_index:
        return
    for manifest in home().glob("vectors/*/manifest.json"):
        if fingerprint in manifest.read_text(encoding="utf-8"):
            return
    from expandr_ir.encoders import pick_device

    if pick_device("auto").type == "cpu":
        raise NotHereError(f"needs a GPU: {documents:,} documents to encode")


def _built(factory: Any, value: Any) -> Any:
    """A block's mapping as the block; other values as they are."""
    block = factory if isinstance(factory, type) and is_dataclass(factory) else None
    return block(**value) if block and isinstance(value, Mapping) else value


def _with_parts(regressions: Regressions, names: Iterable[str]) -> Iterator[Spec]:
    seen: set[str] = set()
    for name in names:
        spec = regressions.load(name)
        for part in (*spec.mean_of, name):
            if part not in seen:
                seen.add(part)
                yield spec if part == name else regressions.load(part)


def _fits(condition: Condition, selection: Selection) -> bool:
    named = not selection.conditions or any(fnmatchcase(condition.name, one) for one in selection.conditions)
    return named and (not selection.tiers or condition.tier in selection.tiers)


def _steps(spec: Spec, conditions: Sequence[Condition], places: Places, with_generator: bool) -> Iterator[Step]:
    for condition in conditions:
        if not condition.is_run or spec.mean_of:
            yield Step(spec, condition, None, None, None, "" if condition.is_run else "a published figure, not run")
            continue
        expander = _expander(condition.expander) if condition.expander else None
        step = Step(spec, condition, search_options(condition.search, expander), None, None)
        try:
            step = replace(step, collection=places.collection(spec))
            step = replace(step, expansions=places.recorded(spec, condition))
            if condition.expander and not with_generator:
                raise NotHereError("generator not named: an LLM writes these expansions (--generator NAME)")
        except NotHereError as missing:
            step = replace(step, skip=missing.found)
        yield replace(step, options=_indexed(step, places))


def _indexed(step: Step, places: Places) -> SearchOptions | None:
    """The options with Pyserini's prebuilt indexes, where the collection is loaded from them."""
    options, spec = step.options, step.spec
    if options is None or places.source != "pyserini":
        return options
    dense = spec.dense_index(options.encoder)
    if options.retriever == "sparse":
        return replace(options, index=spec.lucene_index(options.fields))
    return replace(
        options, index=spec.lucene_index("flat") if options.retriever == "hybrid" else dense, dense_index=dense
    )
