"""The aggregation of each method makes of recorded texts the very queries that were recorded with them.

The texts are QueryGym's (arXiv 2511.15996). Its files have lost three things: where one of several texts ends, a topic
with which the LLM began its text (it counts as a repeat more), and all white space but blanks.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from expandr_ir.aggregate import SparseOptions, sparse_query
from expandr_ir.expanders import expander_config
from expandr_ir.records import ExpandedTopic, Expansion, Topic

EXPANDERS = {"query2doc-fs": "query2doc", "genqr_ensemble": "genqr-ensemble", "qa_expand": "qa-expand"}
"""Recorded methods whose expander has another name."""

OTHER_STRINGS = {
    # a punctuation mark follows the lost topic without a blank, or the topic was said with other capitals
    ("dl19", "query2doc-fs.gpt-4.1"): 1,
    ("scifact", "csqe.gpt-4.1"): 1,
    ("scifact", "query2doc-fs.Qwen2.5-7B-Instruct"): 3,
    ("scifact", "query2doc-fs.gpt-4.1"): 1,
    ("scifact", "query2doc-zs.gpt-4.1"): 1,
    # MuGI's repeats go by length, and the texts were longer, by white space, when they were measured
    ("dl20", "mugi.gpt-4.1"): 29,
    ("scifact", "mugi.Qwen2.5-7B-Instruct"): 3,
    ("scifact", "mugi.gpt-4.1"): 2,
    # an empty text: the topic was searched three times over (four, where it was all that the LLM wrote), here once
    ("scifact", "qa_expand.Qwen2.5-7B-Instruct"): 16,
    ("scifact", "qa_expand.gpt-4.1"): 1,
}
"""Queries that are not the same string, of 43, 54 or 300."""


config = functools.cache(expander_config)


def words(text):
    return Counter(re.findall(r"\w+", text.lower()))


def expanded(row, texts, repeats):
    expansions = tuple(Expansion(sample, text) for sample, text in enumerate(texts))
    return ExpandedTopic(Topic(row["topic_id"], row["query"]), expansions, repeats)


def query_by_method(row, method):
    """The query of a row's text by the configuration of the method's expander."""
    expander = config(EXPANDERS.get(method, method))
    name, options, topic = expander.sparse_aggregation, expander.sparse, row["query"]
    if method == "mugi":
        options = replace(options, beta=5)  # QueryGym's, where MuGI's code has 6
    texts, repeats = [row["text"]], 2 if options.repeats == "row" else options.repeats  # CSQE has two passages
    if name == "interleave":
        texts = " ".join(row["text"].split()).split(f" {' '.join(topic.split())} ")
    elif name == "repeat" and row["text"]:
        texts = [" ".join([topic] * (row["query_repeats"] - repeats) + texts)]
    return sparse_query(name, expanded(row, texts, repeats), options)


def query_by_row(row):
    """The query with as many repeats of the topic as the row says."""
    return sparse_query("repeat", expanded(row, [row["text"]], row["query_repeats"]), SparseOptions(repeats="row"))


def same(made, searched, method):
    made, searched = " ".join(made.split()), " ".join(searched.split())
    return made.lower() == searched if method == "csqe" else made == searched  # CSQE's were recorded in lower case


@pytest.mark.parametrize("collection", ["scifact", "dl19", "dl20"])
def test_queries_of_recorded_texts(test_data, collection):
    paths = [path for path in sorted((test_data / "expansions" / collection).glob("*.gz")) if "hyde" not in path.name]
    assert len(paths) == (20 if collection == "scifact" else 10)
    for path in paths:
        method, name = path.name.partition(".")[0], path.name.removesuffix(".jsonl.gz")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        different = [row for row in rows if not same(query_by_method(row, method), row["searched"], method)]
        assert len(different) == OTHER_STRINGS.get((collection, name), 0), name
        for row in rows:
            times = 1 if row["text"] else row["query_repeats"]
            made = {word: count * times for word, count in words(query_by_row(row)).items()}
            assert made == words(row["searched"]), (name, row["topic_id"])
