"""`expandr export topics | encoded-queries`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Literal

from expandr_ir.aggregate import TEXTUAL, DenseOptions, SparseOptions, dense_vectors
from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_file, output_folder
from expandr_ir.cli.sources import TopicSource, collection_of, expanded_of, topics_of
from expandr_ir.cli.verbs import dispatch
from expandr_ir.config import EncodeOptions
from expandr_ir.errors import InputError
from expandr_ir.retrieve import SearchOptions, sparse_aggregation, sparse_queries
from expandr_ir.topics import write_topics_json

TOPICS = Verb(
    "export topics",
    "Expanded topics as the JSON that stock Pyserini reads without loss.",
    """
expandr export topics --collection demo --expansions expansions.jsonl --output topics.json
python -m expandr_ir.pyserini search.lucene --index INDEX --topics topics.json --batch-size 64 --output run.txt
""",
)

QUERIES = Verb(
    "export encoded-queries",
    "The query vectors of topics and expansions, as stock Pyserini reads them.",
    """
expandr export encoded-queries --collection demo --encoder all-MiniLM-L6-v2 --expansions e.jsonl --output queries
python -m expandr_ir.pyserini search.faiss --index FAISS --encoded-queries queries --topics topics.json --output run.txt
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


@dataclass(frozen=True, kw_only=True)
class QueryOptions(TopicSource):
    """Options of `expandr export encoded-queries`.

    Args:
        output: a folder for embedding.pkl, the vectors by topic text; or a file whose name ends in .json, for
            `search.lucene --dense`, whose topics' texts are the vectors.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        expansions: a JSONL of expansions.
        aggregation: how topic and expansions become one vector; None is "mean" with expansions and "none" without.
        skip_missing: leave out topics without an expansion, where that would be an error.
        expansion_role: whether expansions are encoded as queries or as documents; None is the encoder's own.
        expansion_prefix: put before each expansion when it is encoded; None is the encoder's own.
        dense: the aggregation's numbers.
        encode: how the encoder runs.
    """

    output: str
    encoder: str
    expansions: str | None = None
    aggregation: str | None = None
    skip_missing: bool = False
    expansion_role: Literal["query", "document"] | None = None
    expansion_prefix: str | None = None
    dense: DenseOptions = field(default_factory=DenseOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)


def run(argv: list[str]) -> int:
    """Runs the verb's verb."""
    return dispatch("export", {"topics": _topics, "encoded-queries": _queries}, argv)


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


def _queries(argv: list[str]) -> int:
    from expandr_ir.pyserini.encoded_queries import write_encoded_queries, write_vector_topics
    from expandr_ir.retrieve.dense import dense_aggregation, open_encoder

    options = parse(QUERIES, QueryOptions, argv)
    as_topics = options.output.endswith(".json")
    output = (output_file if as_topics else output_folder)(options.output)
    collection = collection_of(options)
    expanded, _ = expanded_of(options.expansions, topics_of(options, collection), options.skip_missing)
    name = dense_aggregation(options.aggregation, expanded)
    search = SearchOptions(
        retriever="dense",
        encoder=options.encoder,
        expansion_role=options.expansion_role,
        expansion_prefix=options.expansion_prefix,
        encode=options.encode,
    )
    topic_ids, vectors = dense_vectors(name, expanded, open_encoder(collection, search), options.dense)
    if as_topics:
        write_vector_topics(output, topic_ids, vectors)
    else:
        texts = {topic_id: topic.topic.text for topic_id, topic in expanded.items()}
        output = write_encoded_queries(output, texts, vectors)
    print(f"{output}: {len(topic_ids)} vectors of {vectors.shape[1]} dimensions", file=sys.stderr)
    return 0
