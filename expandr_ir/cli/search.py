"""`expandr search` and `expandr fuse`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expandr_ir.cli.inputs import ExpandedSource
from expandr_ir.collections import Collection
from expandr_ir.errors import InputError
from expandr_ir.io.expansions import Expansions
from expandr_ir.io.files import output_file
from expandr_ir.io.runs import Run, read_run
from expandr_ir.records import ExpandedTopic
from expandr_ir.retrievers import SearchOptions, load_retriever
from expandr_ir.retrievers.fusion import FusionOptions, fuse

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SearchVerbOptions(SearchOptions, ExpandedSource):
    """Options of `expandr search`.

    Args:
        output: the run; a name that ends in .gz is compressed.
        tag: last column of the run; None takes retriever and aggregation.
    """

    output: str
    tag: str | None = None


def search(options: SearchVerbOptions) -> None:
    """Writes the run and its manifest."""
    output = output_file(options.output, [options.topics, options.expansions])
    collection = options.load_collection()
    topics = options.load_expanded(collection)
    run = load_retriever(collection, options).search(topics)
    inputs = {"topics": options.topics, "expansions": options.expansions}
    save_search(run, output, topics, collection, tag=options.tag, options=options, inputs=inputs)


def save_search(
    run: Run, output: Path, topics: Mapping[str, ExpandedTopic], collection: Collection | None, **manifest: Any
) -> None:
    """Writes the run and its manifest; says what was searched, and what was not as it should be."""
    if collection:
        run.details["collection"] = collection.identity()
    counts = {}
    if isinstance(topics, Expansions):
        counts = {"missing_topics": len(topics.missing), "empty_expansions": topics.counts["empty"]}
    run.save(output, counts=counts, **manifest)
    if alone := run.counts["topics_searched_alone"]:
        logger.warning("%d topics have only empty expansions and were searched alone", alone)
    if without := run.counts["topics_without_hits"]:
        logger.warning("%d topics have no hit", without)
    seconds = sum(value for stage, value in run.seconds.items() if stage != "generate")
    logger.info("%s: %s, %d topics in %.2f s", output, run.name, len(run), seconds)


@dataclass(frozen=True, kw_only=True)
class FuseOptions:
    """Options of `expandr fuse`.

    Args:
        runs: TREC runs.
        output: the fused run; a name that ends in .gz is compressed.
        method: rrf (reciprocal ranks), weighted (sum of scores) or exp4fuse.
        hits: documents a topic.
        fuse: the method's numbers.
        tag: last column of the run; None is the method.
    """

    runs: list[str]
    output: str
    method: str = "rrf"
    hits: int = 1000
    fuse: FusionOptions = field(default_factory=FusionOptions)
    tag: str | None = None


def fuse_runs(options: FuseOptions) -> None:
    """Writes the fused run and its manifest."""
    if len(options.runs) < 2:
        raise InputError(f"{len(options.runs)} run is named", expected="two or more: expandr fuse RUN RUN ...")
    output = output_file(options.output, options.runs)
    runs = [read_run(name) for name in options.runs]
    fused = fuse(options.method, runs, options.fuse, options.hits)
    partly = sum(not all(len(run.get(topic_id, ())) for run in runs) for topic_id in fused)
    run = Run(fused, name=options.method, counts={"topics": len(fused), "topics_without_hits_in_a_run": partly})
    inputs = {f"run {number}": name for number, name in enumerate(options.runs, start=1)}
    run.save(output, tag=options.tag, options=options, inputs=inputs)
    if partly:
        logger.warning("%d topics have hits in some runs only", partly)
    logger.info("%s: %d topics of %d runs", options.output, len(fused), len(options.runs))
