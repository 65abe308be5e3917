"""Anserini's English analysis: from texts to the terms that the index holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from expandr_ir.jvm import in_java, java_class, java_text
from expandr_ir.retrievers.lucene.handles import bind, chain, mapper, method, run_in_threads, static_method

TEXTS_AT_ONCE = 10_000


def default_analyzer() -> Any:
    """The Java Analyzer of Anserini's indexes: English, Porter's stemmer, stopwords removed."""
    return java_class("io.anserini.index.IndexCollection").DEFAULT_ANALYZER


def analyze(texts: Sequence[str], threads: int | None = None) -> list[list[str]]:
    """The terms of each text, in the text's order, as Anserini indexes and searches them.

    Args:
        texts: any texts; one without a word gives [].
        threads: Java threads that share the texts; None takes one for each core.
    """
    terms: list[list[str]] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        with in_java("analysing texts"):
            chunk = java_class("java.util.Arrays").asList(*map(java_text, texts[start : start + TEXTS_AT_ONCE]))
            terms += run_in_threads(_terms(), chunk, threads or os.cpu_count() or 1).toArray()
    return terms


@cache
def _terms() -> Any:
    """A handle from a collection of texts to the list of the arrays of their terms."""
    analyze_text = static_method(
        "io.anserini.analysis.AnalyzerUtils",
        "analyze",
        "(Lorg/apache/lucene/analysis/Analyzer;Ljava/lang/String;)Ljava/util/List;",
    )
    to_array = method("java.util.List", "toArray", "()[Ljava/lang/Object;")
    return mapper(chain(bind(analyze_text, 0, default_analyzer()), to_array))
