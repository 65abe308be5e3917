"""The two steps that `expand`, `search` and `run` are made of: expansions written, and a run written."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expandr_ir.cli.progress import generating
from expandr_ir.cli.sources import files_of, identity, say
from expandr_ir.collection import Collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError
from expandr_ir.expand import Expanded, Plan, expand, rows
from expandr_ir.expansions_file import write_expansions
from expandr_ir.generators import Generator
from expandr_ir.manifest import generation_costs, write_manifest
from expandr_ir.pipeline import ExpandOptions, opened, prepare, prompt_of, usable
from expandr_ir.records import ExpandedTopic, Topic
from expandr_ir.retrieve import Searched
from expandr_ir.runs import write_run


@dataclass(frozen=True)
class Command:
    """What a manifest says of the command that wrote an output.

    Args:
        line: as it was typed.
        config: every option with its value.
        inputs: files by role; those that are not there are left out.
        collection: the collection, if any.
        started: when.
    """

    line: list[str]
    config: dict[str, Any]
    inputs: Mapping[str, str | None]
    collection: Collection | None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))


def first_topics(topics: dict[str, Topic], limit: int | None) -> dict[str, Topic]:
    """The first so many topics, or all of them.

    Raises:
        InputError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}", expected="1 or more")
    return dict(itertools.islice(topics.items(), limit))


def write_expanded(
    output: Path | None,
    topics: dict[str, Topic],
    split: str | None,
    generator_config: GeneratorConfig,
    options: ExpandOptions,
    command: Command,
    form: str,
) -> Expanded | None:
    """Generates what is missing and writes the expansions; without an output, says what that would take.

    Args:
        output: the expansions file; None only forecasts, and returns None.
        topics: what to expand.
        split: whose judged documents a prompt with {document} shows.
        generator_config: the LLM.
        options: what is asked of it.
        command: for the manifest.
        form: "text" or "json", of the summary.

    Raises:
        ExpandrError: no topic got a text; nothing is written, and what was generated is stored.
    """
    with opened(generator_config, options) as (generator, store):
        plan = prepare(topics, command.collection, split, generator_config, options, generator, store)
        if output is None:
            _show(_forecast(plan, generator), form)
            return None
        try:
            with generating() as on_progress:
                expanded = expand(plan, generator, store, on_progress, max_words=options.max_words)
        except (ExpandrError, KeyboardInterrupt):
            say("what was generated is stored; the same command goes on from there")
            raise
    found = usable(expanded)
    write_expansions(output, rows(expanded))
    counts = asdict(expanded.counts)
    write_manifest(
        output,
        command=command.line,
        started=command.started,
        config=command.config,
        inputs=files_of(**command.inputs),
        seeds={"decoding": generator_config.decoding.seed},
        counts={"topics": len(plan.topics)} | {name: value for name, value in counts.items() if isinstance(value, int)},
        seconds={"generate": expanded.counts.seconds},
        tokens={"in": expanded.counts.tokens_in, "out": expanded.counts.tokens_out},
        details={
            "prompt": plan.prompt,
            "prompt_sha256": prompt_of(generator_config, options).sha256,
            "generator": asdict(plan.generator),
            "cleaning": expanded.counts.reasons,
            "collection": identity(command.collection),
        },
    )
    _show(counts, form)
    _say_failures(expanded)
    print(f"{output}: {len(found)} topics expanded", file=sys.stderr)
    return expanded


def exit_code(expanded: Expanded) -> int:
    """0, or 7 where some samples have no text."""
    return PartlyDoneError.exit_code if expanded.failures else 0


def write_searched(
    output: Path,
    searched: Searched,
    topics: Mapping[str, ExpandedTopic],
    command: Command,
    counts: Mapping[str, int],
    tag: str | None,
) -> None:
    """Writes the run and its manifest, and says what was searched.

    Args:
        output: the run's file.
        searched: the run.
        topics: what was searched, whose costs the manifest holds.
        command: for the manifest.
        counts: what was left out or empty.
        tag: last column of the run; None takes the routes' name.
    """
    write_run(output, searched.run, tag or searched.name)
    costs = generation_costs(topics.values())
    write_manifest(
        output,
        command=command.line,
        started=command.started,
        config=command.config,
        inputs=files_of(**command.inputs),
        counts=searched.counts | dict(counts),
        seconds=searched.seconds | costs.seconds,
        tokens=costs.tokens,
        details={"name": searched.name, "collection": identity(command.collection)} | searched.details,
    )
    if alone := searched.counts["topics_searched_alone"]:
        say(f"{alone} topics have only empty expansions and were searched alone")
    if without := searched.counts["topics_without_hits"]:
        say(f"{without} topics have no hit")
    seconds = sum(searched.seconds.values())
    print(f"{output}: {searched.name}, {len(topics)} topics in {seconds:.2f} s", file=sys.stderr)


def _forecast(plan: Plan, generator: Generator) -> dict[str, int]:
    """What the plan would cost."""
    return {
        "topics": len(plan.topics),
        "stored": plan.stored,
        "to generate": len(plan.due),
        "of these failed before": plan.failed,
        "refused before": plan.refused,
        "prompt tokens, about": plan.prompt_tokens(generator),
        "new tokens, at most": plan.most_new_tokens(),
    }


def _show(counts: Mapping[str, object], form: str) -> None:
    if form == "json":
        print(json.dumps(counts))
        return
    for name, value in counts.items():
        if value or name in {"stored", "to generate", "generated"}:
            print(f"{name.replace('_', ' '):<24} {_figure(value)}")


def _figure(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_figure(count)}" for name, count in value.items())
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value)


def _say_failures(expanded: Expanded) -> None:
    for failure in expanded.failures[:3]:
        what = "refused" if failure.refused else "failed"
        say(f"topic {failure.topic_id}, sample {failure.sample} {what}: {failure.error}")
    if expanded.failures:
        say(f"{len(expanded.failures)} samples have no text; the same command tries those that failed again")
