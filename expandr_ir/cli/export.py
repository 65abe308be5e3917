"""`expandr export topics`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from expandr_ir.aggregate import TEXTUAL, SparseOptions
from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.sources import TopicSource, collection_of, expanded_of, topics_of
from expandr_ir.cli.verbs import dispatch
from expandr_ir.errors import InputError
from expandr_ir.retrieve import sparse_aggregation, sparse_queries
from expandr_ir.topics import write_topics_json

TOPICS = Verb(
    "export topics",
    "Expanded topics as the JSON that stock Pyserini reads without loss.",
    """
expandr export topics --collection demo --expansions expansions.jsonl --output topics.json
python -m expandr_ir.pyserini search.lucene --index INDEX --topics topics.json --batch-size 64 --output run.txt
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(SparseOptions, TopicSource):
    """Options of `expandr export topics`.

    Args:
        output: a file whose name ends in .json: by that ending Pyserini knows the format.
        expansions: a JSONL of expansions.
        aggregation: how topic and expansions become one text; None is "repeat" with expansions and "none" without.
        skip_missing: leave out topics without an expansion, where that would be an error.
    """

    output: str
    expansions: str | None = None
    aggregation: str | None = None
    skip_missing: bool = False


def run(argv: list[str]) -> int:
    """Runs the verb's verb."""
    return dispatch("export", {"topics": _topics}, argv)


def _topics(argv: list[str]) -> int:
    options = parse(TOPICS, Options, argv)
    output = output_file(options.output, [options.topics, options.expansions])
    if output.suffix != ".json":
        raise InputError(f"--output {options.output}", expected="a name that ends in .json: Pyserini goes by it")
    expanded, _ = expanded_of(options.expansions, topics_of(options, collection_of(options)), options.skip_missing)
    name = sparse_aggregation(options.aggregation, expanded)
    if name not in TEXTUAL:
        raise InputError(
            f"the aggregation {name!r} weights terms and has no form as a text",
            expected=f"one of {', '.join(sorted(TEXTUAL))}",
            remedy="expandr search, which searches the weights themselves",
        )
    texts = {topic_id: str(query) for topic_id, query in sparse_queries(name, expanded, options).items()}
    write_topics_json(output, texts)
    print(f"{output}: {len(texts)} topics", file=sys.stderr)
    return 0
