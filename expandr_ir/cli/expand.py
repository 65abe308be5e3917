"""`expandr expand` and `expandr run`."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from expandr_ir.cli.inputs import TopicSource
from expandr_ir.cli.search import save_search
from expandr_ir.config import EncodeOptions, GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError
from expandr_ir.expanders import ExpandOptions, ReuseOptions, expander_config, load_expander
from expandr_ir.generators.replies import MORE_TOKENS
from expandr_ir.io.expansions import Expansions
from expandr_ir.io.files import output_file
from expandr_ir.io.manifest import Summary
from expandr_ir.retrievers import load_retriever

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExpandVerbOptions(ExpandOptions, TopicSource):
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


def expand(options: ExpandVerbOptions) -> Summary:
    """Writes the expansions and their manifest."""
    output = output_file(options.output, [options.topics, options.generator.model]) if options.output else None
    if output is None and not options.dry_run:
        raise InputError("--output is missing", expected="--output FILE.jsonl, or --dry-run")
    collection = options.load_collection()
    topics = options.load_topics(collection, options.limit)
    with load_expander(
        generator=options.generator, collection=collection, split=options.split, options=options
    ) as expander:
        if options.dry_run or output is None:
            return Summary(expander.forecast(topics).rows(), format=options.format)
        expansions = expander.expand(topics)
    return _save(expansions, output, options, options.topics, options.format)


@dataclass(frozen=True, kw_only=True)
class RunVerbOptions(ReuseOptions, TopicSource):
    """Options of `expandr run`; what is None is the expander's own.

    Args:
        expander: a name of conf/expanders, or a YAML file.
        output: the run; the expansions stand beside it, in OUTPUT.expansions.jsonl.
        generator: a name of conf/generators, a YAML file, or engine:model. The expander's decoding goes over that of a
            name or file, and what is typed (--generator.decoding.temperature 0) over both.
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
    format: Literal["text", "json"] = "text"


def run(options: RunVerbOptions) -> Summary:
    """Writes the expansions, the run, and a manifest beside each."""
    output = output_file(options.output, [options.topics])
    overrides = {
        name: getattr(options, name) for name in ("retriever", "encoder", "encode", "hits", "index", "dense_index")
    }
    config = expander_config(options.expander)
    if options.generator:
        config = config.with_decoding(options.generator.decoding)  # the expander's own, but for what was typed
    search_options = config.search_options(**overrides)  # what can be refused is refused before an LLM is paid
    collection = options.load_collection()
    topics = options.load_topics(collection, options.limit)
    with load_expander(
        config,
        generator=options.generator,
        collection=collection,
        split=options.split,
        options=options.expand_options(prompt=options.prompt, samples=options.samples),
    ) as expander:
        if options.dry_run:
            return Summary(expander.forecast(topics).rows(), format=options.format)
        expansions = expander.expand(topics)
    path = Path(f"{output}.expansions.jsonl")
    resolved = asdict(options) | {"expander": asdict(config)}
    summary = _save(expansions, path, resolved, options.topics, options.format)
    run = load_retriever(collection, search_options).search(expansions)
    inputs = {"topics": options.topics, "expansions": str(path)}
    save_search(run, output, expansions, collection, tag=Path(options.expander).stem, options=resolved, inputs=inputs)
    return summary


def _save(expansions: Expansions, output: Path, options: Any, topics: str | None, form: str) -> Summary:
    if not any(text.text for topic in expansions.values() for text in topic.expansions):
        reasons = ", ".join(expansions.reasons)
        raise ExpandrError(
            f"the texts of all {len(expansions)} topics are empty" + (f" ({reasons})" if reasons else ""),
            expected="a text for at least one topic",
            remedy=f"`expandr expand --retry empty` asks anew; another prompt or model; {MORE_TOKENS}",
        )
    expansions.save(output, options=options, inputs={"topics": topics})
    for failure in expansions.failures[:3]:
        verb = "refused" if failure.refused else "failed"
        logger.warning("topic %s, sample %d %s: %s", failure.topic_id, failure.sample, verb, failure.error)
    if n := len(expansions.failures):
        logger.warning("%d samples have no text; the same command tries those that failed again", n)
    logger.info("%s: %d topics expanded", output, len(expansions))
    counts = expansions.counts | {"seconds": expansions.seconds, "reasons": expansions.reasons}
    return Summary(counts, format=form, exit_code=PartlyDoneError.exit_code if n else 0)
