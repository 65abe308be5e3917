"""`expandr search`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.progress import counting
from expandr_ir.cli.sources import TopicSource, collection_of, expanded_of, files_of, identity, say, topics_of
from expandr_ir.manifest import generation_costs, write_manifest
from expandr_ir.retrieve import Searched, SearchOptions, search
from expandr_ir.runs import write_run

VERB = Verb(
    "search",
    "Search topics, plain or with expansions, into a TREC run with a manifest beside it.",
    """
expandr search --collection demo --output bm25.run
expandr search --collection beir/scifact --expansions q2d.jsonl --aggregation repeat --repeats 5 --output q2d.run
expandr search --collection beir/scifact --topics q2d.jsonl --topics-field searched --output searched.run
expandr search --collection beir/scifact --retriever dense --encoder all-MiniLM-L6-v2 --expansions q2d.jsonl \\
    --aggregation mean --output expandr.run
expandr search --collection beir/scifact --retriever hybrid --encoder contriever --expansions q2d.jsonl --output h.run
expandr search --collection irds:msmarco-passage/dev/small --index msmarco-v1-passage --output dev.run
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(SearchOptions, TopicSource):
    """Options of `expandr search`.

    Args:
        output: the run; a name that ends in .gz is compressed.
        expansions: a JSONL of expansions.
        skip_missing: leave out topics without an expansion, where that would be an error.
        tag: last column of the run; None takes retriever and aggregation.
    """

    output: str
    expansions: str | None = None
    skip_missing: bool = False
    tag: str | None = None


def run(argv: list[str]) -> int:
    """Writes the run and its manifest."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    output = output_file(options.output, [options.topics, options.expansions])
    collection = collection_of(options)
    topics = topics_of(options, collection)
    expanded, expansions = expanded_of(options.expansions, topics, options.skip_missing)
    searched = search(expanded, collection, options, counting)
    write_run(output, searched.run, options.tag or searched.name)
    costs = generation_costs(expanded.values())
    write_manifest(
        output,
        command=["expandr", "search", *argv],
        started=started,
        config=resolved(options),
        inputs=files_of(topics=options.topics, expansions=options.expansions),
        counts=searched.counts
        | {
            "missing_topics": len(expansions.missing) if expansions else 0,
            "empty_expansions": expansions.empty if expansions else 0,
        },
        seconds=searched.seconds | costs.seconds,
        tokens=costs.tokens,
        details={"name": searched.name, "collection": identity(collection)} | searched.details,
    )
    _report(searched, output)
    return 0


def _report(searched: Searched, output: Path) -> None:
    if alone := searched.counts["topics_searched_alone"]:
        say(f"{alone} topics have only empty expansions and were searched alone")
    if without := searched.counts["topics_without_hits"]:
        say(f"{without} topics have no hit")
    seconds = sum(searched.seconds.values())
    print(f"{output}: {searched.name}, {searched.counts['topics']} topics in {seconds:.2f} s", file=sys.stderr)
