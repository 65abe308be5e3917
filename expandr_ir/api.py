"""The package for scripts and notebooks: load a collection, expand, search, evaluate, compare.

from expandr_ir.api import compare, expand, load_collection, render, search

collection = load_collection("beir/scifact")
expansions = expand(collection, generator="openai", prompt="passage-scientific-claim", samples=4)
runs = {"bm25+repeat": search(collection, expansions, aggregation="repeat")}
comparison = compare(search(collection), runs, collection.qrels(), ["nDCG@10", "R@100"])
print(render(comparison, "text"))
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from expandr_ir import expand as expanding
from expandr_ir import retrieve
from expandr_ir.collection import Collection, load_collection
from expandr_ir.config import GeneratorConfig, generator_config
from expandr_ir.evaluate import evaluate
from expandr_ir.evaluate.compare import compare
from expandr_ir.expansions_file import read_expansions
from expandr_ir.pipeline import ExpandOptions, opened, prepare, usable
from expandr_ir.records import ExpandedTopic, Run
from expandr_ir.report import render
from expandr_ir.runs import read_run, write_run

__all__ = [
    "compare",
    "evaluate",
    "expand",
    "load_collection",
    "read_expansions",
    "read_run",
    "render",
    "search",
    "write_run",
]

log = logging.getLogger(__name__)


def expand(
    collection: Collection, *, generator: str | GeneratorConfig, split: str | None = None, **options: Any
) -> dict[str, ExpandedTopic]:
    """The split's topics with what an LLM wrote for each, by topic_id; what is stored already is not generated again.

    Topics that got no text are left out; a warning of the logger says how many.

    Args:
        collection: where the topics come from.
        generator: a name of conf/generators, a YAML file, engine:model, or the settings themselves.
        split: which topics; None takes the collection's default.
        options: fields of `pipeline.ExpandOptions`, such as prompt="passage" and samples=4.

    Raises:
        InputError: an unknown name, or a number that makes no sense.
        ExpandrError: the generator or the store fails, or no topic got a text; what was generated is stored.
    """
    config = generator_config(generator) if isinstance(generator, str) else generator
    asked = ExpandOptions(**options)
    with opened(config, asked) as (engine, store):
        plan = prepare(collection.topics(split), collection, split, config, asked, engine, store)
        expanded = expanding.expand(plan, engine, store, max_words=asked.max_words)
    found = usable(expanded)
    if failures := expanded.failures:
        without = len(expanded.topics) - len(found)
        log.warning("%d samples have no text, the first because: %s", len(failures), failures[0].error)
        log.warning("%d of %d topics have none and are left out", without, len(expanded.topics))
    return found


def search(
    collection: Collection,
    expansions: Mapping[str, ExpandedTopic] | None = None,
    *,
    split: str | None = None,
    **options: Any,
) -> Run:
    """The run for the split's topics, plain or with expansions.

    Args:
        collection: what to search in; its index is built where it is not there yet.
        expansions: what to search, by topic_id; None searches the topics alone.
        split: which topics, where there are no expansions; None takes the collection's default.
        options: fields of `retrieve.SearchOptions`, such as aggregation="repeat" and hits=100.

    Raises:
        InputError: an unknown aggregation, or a number that makes no sense.
    """
    topics = retrieve.plain(collection.topics(split).values()) if expansions is None else expansions
    return retrieve.search(topics, collection, retrieve.SearchOptions(**options)).run
