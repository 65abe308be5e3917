"""`expandr run`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.progress import counting
from expandr_ir.cli.sources import TopicSource, collection_of, topics_of
from expandr_ir.cli.steps import Command, exit_code, first_topics, write_expanded, write_searched
from expandr_ir.config import EncodeOptions, GeneratorConfig, generator_config
from expandr_ir.expanders import ExpanderConfig, expander_config
from expandr_ir.pipeline import ExpandOptions, usable
from expandr_ir.retrieve import SearchOptions, search

VERB = Verb(
    "run",
    "A named expander end to end: prompt, generate, search, run. Every step goes on where it was broken off.",
    """
expandr run --expander query2doc --collection beir/scifact --output q2d.run
expandr run --expander hyde --collection beir/scifact --encoder contriever --generator local:my-model --output hyde.run
expandr run --expander lamer --collection demo --generator echo --limit 10 --output lamer.run --dry-run
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(TopicSource):
    """Options of `expandr run`; what is None is the expander's own.

    Args:
        expander: a name of conf/expanders, or a YAML file.
        output: the run; the expansions stand beside it, in OUTPUT.expansions.jsonl.
        generator: a name of conf/generators, a YAML file, or engine:model. Of its decoding, what the expander sets is
            the expander's.
        prompt: a name of conf/prompts, or a YAML file.
        samples: expansions of each topic.
        retriever: sparse, dense or hybrid.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        encode: how the encoder runs.
        hits: documents a topic.
        index: an existing index to search instead of the collection's own.
        dense_index: a FAISS index, for the encoder's part of a hybrid search.
        limit: only the first so many topics.
        dry_run: say what would be generated and about how many tokens, and stop.
        store: the expansion store's file.
        format: of --dry-run and of the closing summary: text or json.
    """

    expander: str
    output: str
    generator: GeneratorConfig | None = None
    prompt: str | None = None
    samples: int | None = None
    retriever: Literal["sparse", "dense", "hybrid"] | None = None
    encoder: str | None = None
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    hits: int | None = None
    index: str | None = None
    dense_index: str | None = None
    limit: int | None = None
    dry_run: bool = False
    store: str | None = None
    format: Literal["text", "json"] = "text"


def run(argv: list[str]) -> int:
    """Writes the expansions, the run, and a manifest beside each; 7 where some samples have no text."""
    options = parse(VERB, Options, argv)
    output = output_file(options.output, [options.topics])
    expansions = Path(f"{output}.expansions.jsonl")
    expander = expander_config(options.expander)
    how = _search_options(expander, options)  # what can be refused is refused before an LLM is paid
    collection = collection_of(options)
    topics = first_topics(topics_of(options, collection), options.limit)
    generator = options.generator or generator_config(expander.generator)
    generator = replace(generator, decoding=expander.decoding(generator.decoding))
    asked = _expand_options(expander, options, collection.name if collection else None)
    config = resolved(options) | {"expander": resolved(expander)}
    command = Command(["expandr", "run", *argv], config, {"topics": options.topics}, collection)
    written = None if options.dry_run else expansions
    expanded = write_expanded(written, topics, options.split, generator, asked, command, options.format)
    if expanded is None:
        return 0
    found = usable(expanded)
    searched = search(found, collection, how, counting)
    searching = replace(command, inputs={**command.inputs, "expansions": str(expansions)})
    counts = {"missing_topics": len(expanded.topics) - len(found), "empty_expansions": expanded.counts.empty}
    write_searched(output, searched, found, searching, counts, Path(options.expander).stem)
    return exit_code(expanded)


def _search_options(expander: ExpanderConfig, options: Options) -> SearchOptions:
    return expander.search_options(
        retriever=options.retriever,
        encoder=options.encoder,
        encode=options.encode,
        hits=options.hits,
        index=options.index,
        dense_index=options.dense_index,
    )


def _expand_options(expander: ExpanderConfig, options: Options, collection: str | None) -> ExpandOptions:
    return ExpandOptions(
        prompt=options.prompt or expander.prompt_for(collection),
        samples=options.samples or expander.samples,
        passages=expander.passages or ExpandOptions.passages,
        store=options.store,
    )
