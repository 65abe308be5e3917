"""`expandr expand`."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.progress import generating
from expandr_ir.cli.sources import TopicSource, collection_of, files_of, identity, say, topics_of
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError
from expandr_ir.expand import Expanded, Plan, expand, rows
from expandr_ir.expansions_file import write_expansions
from expandr_ir.generators import Generator
from expandr_ir.manifest import write_manifest
from expandr_ir.pipeline import ExpandOptions, opened, prepare, prompt_of

VERB = Verb(
    "expand",
    "Write expansions of topics with an LLM. What is stored already is not generated again.",
    """
expandr expand --collection demo --generator echo --samples 2 --output expansions.jsonl --dry-run
expandr expand --collection beir/scifact --prompt passage-scientific-claim --generator openai --output q2d.jsonl
expandr expand --collection beir/scifact --generator local:Qwen/Qwen2.5-7B-Instruct --output qwen.jsonl --limit 20
expandr expand --topics topics.tsv --generator api:my-model --generator.api.base_url http://localhost:8000/v1 \\
    --generator.decoding.temperature 0.7 --generator.decoding.seed 1 --output mine.jsonl
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(ExpandOptions, TopicSource):
    """Options of `expandr expand`.

    Args:
        generator: a name of conf/generators, a YAML file, or engine:model (replay:FILE, echo:x, local:M, vllm:M,
            api:M).
        output: the expansions, JSONL; a name that ends in .gz is compressed.
        limit: only the first so many topics.
        dry_run: say what is stored, what would be generated and about how many tokens, and stop.
        format: of --dry-run and of the closing summary: text or json.
    """

    generator: GeneratorConfig
    output: str | None = None
    limit: int | None = None
    dry_run: bool = False
    format: Literal["text", "json"] = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}", expected="1 or more")


def run(argv: list[str]) -> int:
    """Writes the expansions and their manifest; 7 where some topics got none."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    output = output_file(options.output, [options.topics, options.generator.model]) if options.output else None
    if output is None and not options.dry_run:
        raise InputError("--output is missing", expected="--output FILE.jsonl, or --dry-run")
    collection = collection_of(options)
    topics = topics_of(options, collection)
    if options.limit is not None:
        topics = dict(itertools.islice(topics.items(), options.limit))
    with opened(options.generator, options) as (generator, store):
        plan = prepare(topics, collection, options.split, options.generator, options, generator, store)
        if options.dry_run or output is None:
            _show(_forecast(plan, generator), options.format)
            return 0
        try:
            with generating() as on_progress:
                expanded = expand(plan, generator, store, on_progress, max_words=options.max_words)
        except (ExpandrError, KeyboardInterrupt):
            say("what was generated is stored; the same command goes on from there")
            raise
    _check(expanded)
    write_expansions(output, rows(expanded))
    counts = asdict(expanded.counts)
    write_manifest(
        output,
        command=["expandr", "expand", *argv],
        started=started,
        config=resolved(options),
        inputs=files_of(topics=options.topics),
        seeds={"decoding": options.generator.decoding.seed},
        counts={"topics": len(topics)} | {name: value for name, value in counts.items() if isinstance(value, int)},
        seconds={"generate": expanded.counts.seconds},
        tokens={"in": expanded.counts.tokens_in, "out": expanded.counts.tokens_out},
        details={
            "prompt": plan.prompt,
            "prompt_sha256": prompt_of(options.generator, options).sha256,
            "generator": asdict(plan.generator),
            "cleaning": expanded.counts.reasons,
            "collection": identity(collection),
        },
    )
    _show(counts, options.format)
    return _outcome(expanded, output)


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


def _check(expanded: Expanded) -> None:
    """Refuses to write a file in which there would be nothing."""
    if expanded.counts.topics_missing == len(expanded.topics):
        first = expanded.failures[0]
        raise ExpandrError(
            f"none of the {len(expanded.topics)} topics got an expansion; topic {first.topic_id}: {first.error}",
            expected="a text for at least one topic",
            remedy="--retry-refused asks again what was refused" if first.refused else "the same command tries again",
        )


def _outcome(expanded: Expanded, output: Path) -> int:
    for failure in expanded.failures[:3]:
        what = "refused" if failure.refused else "failed"
        say(f"topic {failure.topic_id}, sample {failure.sample} {what}: {failure.error}")
    if expanded.failures:
        say(f"{len(expanded.failures)} samples have no text; the same command tries those that failed again")
    print(f"{output}: {len(expanded.topics) - expanded.counts.topics_missing} topics expanded", file=sys.stderr)
    return PartlyDoneError.exit_code if expanded.failures else 0
