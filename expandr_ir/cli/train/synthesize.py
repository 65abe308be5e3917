"""`expandr train synthesize`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.progress import counting, generating
from expandr_ir.cli.sources import identity, say
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError
from expandr_ir.manifest import manifest_path, write_manifest
from expandr_ir.train.synthesize import (
    Drawn,
    Synthesized,
    draw_documents,
    parts_of,
    strata_rows,
    synthesize,
)
from expandr_ir.train.synthesize.checks import Candidate
from expandr_ir.train.synthesize.corpus import load_corpus
from expandr_ir.train.synthesize.desk import desk
from expandr_ir.train.synthesize.options import SynthesizeOptions
from expandr_ir.train.synthesize.output import QUERIES, check_place, place_corpus, write_dropped, write_queries

VERB = Verb(
    "train synthesize",
    "Queries from a corpus: an LLM, or the documents' own words, ask for documents; what is fit becomes a collection.",
    """
expandr train synthesize --corpus corpus.jsonl --generator openai --prompts synthetic-web --output synthetic
expandr train synthesize --corpus beir/scifact --generator vllm-server --prompts synthetic-claim --quality \\
    --queries 2 --output synthetic
expandr train synthesize --corpus beir/scifact --without-llm --documents 2000 --queries 2 --output synthetic
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(SynthesizeOptions):
    """Options of `expandr train synthesize`.

    Args:
        corpus: a file corpus.jsonl (plain or .gz), a folder with one, or any collection.
        generator: the LLM: a name of conf/generators, a YAML file, or engine:model.
        without_llm: make the queries of the documents' own words.
        output: folder of the new collection.
        corpus_as: whether its corpus is a link to the file or a copy.
        dry_run: say what is stored, what would be generated and about how many tokens, and stop.
        format: of what is printed: text or json.
    """

    corpus: str
    generator: GeneratorConfig | None = None
    without_llm: bool = False
    output: str
    corpus_as: Literal["link", "copy"] = "link"
    dry_run: bool = False
    format: Literal["text", "json"] = "text"


def run(argv: list[str]) -> int:
    """Writes the collection, its manifest last; 7 where some samples have no text."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    _check_source(options)
    folder = output_folder(options.output)
    collection = load_corpus(options.corpus)
    check_place(collection, folder)
    drawn = draw_documents(collection, options)
    if options.dry_run:
        _show(drawn.counts() | _forecast(drawn, options), options.format)
        return 0
    try:
        with generating() as on_progress:
            done = synthesize(drawn, options.generator, options, on_progress, counting)
    except (ExpandrError, KeyboardInterrupt):
        if options.generator:
            say("what was generated is stored; the same command goes on from there")
        raise
    parts = parts_of(done.kept, options.dev_share, options.seed)
    manifest_path(folder / QUERIES).unlink(missing_ok=True)
    write_dropped(folder, done.dropped)
    corpus = place_corpus(collection, folder, options.corpus_as)
    queries = write_queries(folder, parts)
    _record(queries, corpus, argv, started, options, drawn, done, parts)
    _show(_figures(drawn, done, parts), options.format)
    if options.round_trip is not None and drawn.survey.documents <= options.round_trip:
        say(f"the round trip says nothing: all {drawn.survey.documents} documents are among {options.round_trip} hits")
    print(folder)
    return PartlyDoneError.exit_code if done.reasons().get("failed") else 0


def _check_source(options: Options) -> None:
    if options.without_llm == (options.generator is not None):
        found = "--generator and --without-llm" if options.generator else "neither --generator nor --without-llm"
        raise InputError(found, expected="an LLM that writes the queries, or the documents' own words: one of them")
    if options.quality and options.generator is None:
        raise InputError("--quality asks an LLM, and none is named", expected="--generator")


def _forecast(drawn: Drawn, options: Options) -> dict[str, int]:
    if options.generator is None:
        return {"queries, at most": len(drawn.documents) * options.queries}
    with desk(drawn.documents, options.generator, options) as opened:
        return opened.forecast()


def _record(
    queries: Path,
    corpus: Path,
    argv: list[str],
    started: datetime,
    options: Options,
    drawn: Drawn,
    done: Synthesized,
    parts: dict[str, list[Candidate]],
) -> None:
    spent = done.spent
    write_manifest(
        queries,
        command=["expandr", "train", "synthesize", *argv],
        started=started,
        config=resolved(options),
        inputs={"corpus": corpus},
        seeds={"draw": options.seed} | ({"decoding": options.generator.decoding.seed} if options.generator else {}),
        counts=_counts(drawn, done, parts) | ({"generated": spent.generated, "stored": spent.stored} if spent else {}),
        seconds=dict(done.seconds) | ({"generate": spent.seconds} if spent else {}),
        tokens=dict(spent.tokens) if spent else {},
        details={"collection": identity(drawn.collection), "strata": strata_rows(drawn)},
    )


def _counts(drawn: Drawn, done: Synthesized, parts: dict[str, list[Candidate]]) -> dict[str, int]:
    return {
        **drawn.counts(),
        "queries": len(done.kept) + len(done.dropped),
        "topics": len(done.kept),
        **parts_counts(parts),
        **{f"dropped_{reason}": count for reason, count in done.reasons().items()},
    }


def parts_counts(parts: dict[str, list[Candidate]]) -> dict[str, int]:
    """How many queries each part has, as "topics_PART"."""
    return {f"topics_{name}": len(own) for name, own in parts.items()}


def _figures(drawn: Drawn, done: Synthesized, parts: dict[str, list[Candidate]]) -> dict[str, float]:
    seconds = {f"seconds, {stage}": round(value, 2) for stage, value in done.seconds.items()}
    return _counts(drawn, done, parts) | seconds


def _show(figures: Mapping[str, float], form: str) -> None:
    if form == "json":
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):<28} {value:,}")
