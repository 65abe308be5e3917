"""`expandr expand`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.sources import TopicSource, collection_of, topics_of
from expandr_ir.cli.steps import Command, exit_code, first_topics, write_expanded
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError
from expandr_ir.pipeline import ExpandOptions

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


def run(argv: list[str]) -> int:
    """Writes the expansions and their manifest; 7 where some samples have no text."""
    options = parse(VERB, Options, argv)
    output = output_file(options.output, [options.topics, options.generator.model]) if options.output else None
    if output is None and not options.dry_run:
        raise InputError("--output is missing", expected="--output FILE.jsonl, or --dry-run")
    collection = collection_of(options)
    topics = first_topics(topics_of(options, collection), options.limit)
    expanded = write_expanded(
        None if options.dry_run else output,
        topics,
        options.split,
        options.generator,
        options,
        Command(["expandr", "expand", *argv], resolved(options), {"topics": options.topics}, collection),
        options.format,
    )
    return exit_code(expanded) if expanded else 0
