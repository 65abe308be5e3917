"""`expandr export topics | encoded-queries`."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from expandr_ir.aggregate import TEXTUAL, SparseOptions, dense_vectors
from expandr_ir.cli.inputs import ExpandedSource
from expandr_ir.errors import InputError
from expandr_ir.io.files import output_file, output_folder
from expandr_ir.io.topics import write_topics_json
from expandr_ir.retrievers import BM25
from expandr_ir.retrievers.base import select_fields
from expandr_ir.retrievers.bm25 import sparse_queries
from expandr_ir.retrievers.dense import Dense, EncodingOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportTopicsOptions(SparseOptions, ExpandedSource):
    """Options of `expandr export topics`.

    Args:
        output: a file whose name ends in .json: by that ending Pyserini knows the format.
        aggregation: how topic and expansions become one text; None is "repeat" with expansions and "none" without.
    """

    output: str
    aggregation: str | None = None


def export_topics(options: ExportTopicsOptions) -> None:
    """Writes the topics' queries."""
    output = output_file(options.output, [options.topics, options.expansions])
    if output.suffix != ".json":
        raise InputError(f"--output {options.output}", expected="a name that ends in .json: Pyserini goes by it")
    expanded = options.load_expanded(options.load_collection())
    name = BM25().aggregation_for(expanded, options.aggregation)
    queries = sparse_queries(name, expanded, options)
    if not all(isinstance(query, str) for query in queries.values()):
        raise InputError(
            f"the aggregation {name!r} weights terms and has no form as a text",
            expected=f"one of {', '.join(sorted(TEXTUAL))}",
            remedy="expandr search, which searches the weights themselves",
        )
    write_topics_json(output, {topic_id: str(query) for topic_id, query in queries.items()})
    logger.info("%s: %d topics", options.output, len(queries))


@dataclass(frozen=True, kw_only=True)
class ExportQueriesOptions(EncodingOptions, ExpandedSource):
    """Options of `expandr export encoded-queries`.

    Args:
        output: a folder for embedding.pkl, the vectors by topic text; or a file whose name ends in .json, for
            `search.lucene --dense`, whose topics' texts are the vectors.
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        aggregation: how topic and expansions become one vector; None is "mean" with expansions and "none" without.
    """

    output: str
    encoder: str
    aggregation: str | None = None


def export_encoded_queries(options: ExportQueriesOptions) -> None:
    """Writes the topics' vectors."""
    from expandr_ir.pyserini.encoded_queries import write_encoded_queries, write_vector_topics

    as_topics = options.output.endswith(".json")
    output = (output_file if as_topics else output_folder)(options.output)
    collection = options.load_collection()
    expanded = options.load_expanded(collection)
    dense = Dense(collection, options.encoder, **select_fields(options, EncodingOptions))
    name = dense.aggregation_for(expanded, options.aggregation)
    topic_ids, vectors = dense_vectors(name, expanded, dense.open_encoder, options.dense)
    if as_topics:
        write_vector_topics(output, topic_ids, vectors)
    else:
        texts = {topic_id: topic.topic.text for topic_id, topic in expanded.items()}
        output = write_encoded_queries(output, texts, vectors)
    logger.info("%s: %d vectors of %d dimensions", output, len(topic_ids), vectors.shape[1])
