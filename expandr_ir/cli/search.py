"""`expandr search`."""

from __future__ import annotations

from dataclasses import dataclass

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.progress import counting
from expandr_ir.cli.sources import TopicSource, collection_of, expanded_of, topics_of
from expandr_ir.cli.steps import Command, write_searched
from expandr_ir.retrieve import SearchOptions, search

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
    options = parse(VERB, Options, argv)
    output = output_file(options.output, [options.topics, options.expansions])
    collection = collection_of(options)
    inputs = {"topics": options.topics, "expansions": options.expansions}
    command = Command(["expandr", "search", *argv], resolved(options), inputs, collection)
    topics, found = expanded_of(options.expansions, topics_of(options, collection), options.skip_missing)
    searched = search(topics, collection, options, counting)
    counts = {"missing_topics": len(found.missing), "empty_expansions": found.empty} if found else {}
    write_searched(output, searched, topics, command, counts, options.tag)
    return 0
