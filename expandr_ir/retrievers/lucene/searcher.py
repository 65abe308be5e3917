"""Anserini's English analysis; BM25 search of a Lucene index, with Pyserini's runs: ids, order, scores and ties."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from expandr_ir.errors import InputError
from expandr_ir.jvm import in_java, java_class, java_text
from expandr_ir.records import Hits, SparseQuery
from expandr_ir.retrievers.lucene import REBUILD, LuceneIndex, handles

if TYPE_CHECKING:
    import numpy as np

TOPICS_AT_ONCE, HITS_AT_ONCE = 200, 200_000
"""Bounds of a chunk, which stands in Java's memory as a whole; between two chunks Ctrl-C is heard."""

TEXTS_AT_ONCE = 10_000

_TERM = re.compile(r"weight\(\w+:(.*) in \d+\)", re.DOTALL)
"""The description of a term's part in Lucene's explanation of a score."""


def default_analyzer() -> Any:
    """The Java Analyzer of Anserini's indexes: English, Porter's stemmer, stopwords removed."""
    return java_class("io.anserini.index.IndexCollection").DEFAULT_ANALYZER


def analyze(texts: Sequence[str]) -> list[list[str]]:
    """The terms of each text, in the text's order, as Anserini indexes and searches them."""
    terms: list[list[str]] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        with in_java("analysing texts"):
            chunk = java_class("java.util.Arrays").asList(*map(java_text, texts[start : start + TEXTS_AT_ONCE]))
            terms += handles.run_in_threads(_terms(), chunk, os.cpu_count() or 1).toArray()
    return terms


@dataclass(frozen=True, slots=True)
class RM3Options:
    """RM3 (Abdul-Jaleel et al. 2004), with Pyserini's names and defaults."""

    fb_terms: int = 10
    fb_docs: int = 10
    original_query_weight: float = 0.5
    filter_terms: bool = True


@dataclass(frozen=True, slots=True)
class RocchioOptions:
    """Rocchio's feedback, with Pyserini's names and defaults."""

    top_fb_terms: int = 10
    top_fb_docs: int = 10
    bottom_fb_terms: int = 10
    bottom_fb_docs: int = 10
    alpha: float = 1.0
    beta: float = 0.75
    gamma: float = 0.0
    use_negative: bool = False


class LuceneSearcher:
    """BM25 over one index (Robertson et al. 1994, as Lucene's BM25Similarity computes it), in the index's fields.

    With `feedback`, Anserini's own reranker expands each text before the search that counts.
    """

    def __init__(
        self, index: LuceneIndex, k1: float = 0.9, b: float = 0.4, feedback: RM3Options | RocchioOptions | None = None
    ) -> None:
        if not (0 <= k1 < math.inf and 0 <= b <= 1):
            raise InputError(f"BM25 with k1 = {k1} and b = {b}", expected="k1 >= 0 and 0 <= b <= 1")
        self.index, self._feedback = index, feedback
        with in_java(f"opening {index.path}"):
            self._searcher = java_class("org.apache.lucene.search.IndexSearcher")(
                index.reader, signature="(Lorg/apache/lucene/index/IndexReader;)V"
            )
            self._searcher.setSimilarity(java_class("org.apache.lucene.search.similarities.BM25Similarity")(k1, b))
            boosts = dict.fromkeys(("contents", "title"), 1.0)
            self._fields = java_weights(boosts, "boosts") if index.fields == "multifield" else "contents"
            self._generator = java_class("io.anserini.search.query.BagOfWordsQueryGenerator")()
            if java_class("org.apache.lucene.index.MultiDocValues").getBinaryValues(index.reader, "id") is None:
                raise InputError(
                    f"{index.path}: its documents have no ids that can be sorted by",
                    expected="an index built by Anserini or Pyserini with Lucene 9 or newer",
                    remedy=REBUILD,
                )
            if feedback and index.reader.termVectors().get(0) is None:
                raise InputError(
                    "this index has no document vectors, which feedback is made of",
                    expected="an index built with -storeDocvectors, as `expandr index` builds it",
                )
            self._reranker: Any = _reranker(feedback) if feedback else None
        self._top = lru_cache(16)(self._make_top)

    def search(
        self, queries: Mapping[str, SparseQuery], hits: int = 1000, threads: int | None = None
    ) -> dict[str, Hits]:
        """The rankings by topic_id, in the queries' order; a query without any term of the index has no hits.

        A query is a text to analyse, or weights of terms that are analysed already. Java's `threads` share the topics;
        None takes one for each core.
        """
        threads = threads or os.cpu_count() or 1
        with in_java(f"searching {self.index.path}"):
            top = self._top(hits)
        run: dict[str, Hits] = {}
        pending = iter(queries.items())
        while chunk := dict(itertools.islice(pending, max(1, min(TOPICS_AT_ONCE, HITS_AT_ONCE // hits)))):
            with in_java(f"searching {self.index.path}"):
                lucene_queries = [self._query(topic_id, query, hits) for topic_id, query in chunk.items()]
                top_docs = handles.run_in_threads(top, java_class("java.util.Arrays").asList(*lucene_queries), threads)
                ids, scores = (handles.run_in_threads(part(), top_docs, threads).toArray() for part in (_ids, _scores))
            run.update(zip(chunk, self._hits(ids, scores), strict=True))
        return run

    def explain(self, query: SparseQuery, doc_id: str) -> dict[str, float]:
        """The share of each analysed term of the query in the document's score, largest first, by Lucene."""
        with in_java(f"searching {self.index.path}"):
            reader = java_class("io.anserini.index.IndexReaderUtils")
            number = reader.convertDocidToLuceneDocid(self.index.reader, java_text(doc_id))
            if number < 0:
                raise InputError(f"the index has no document {doc_id!r}", expected="the id of one of its documents")
            shares: defaultdict[str, float] = defaultdict(float)
            waiting = [self._searcher.explain(self._query(doc_id, query, 1), number)]
            while waiting:
                part = waiting.pop()
                if leaf := _TERM.match(part.getDescription()):
                    shares[leaf[1]] += float(part.getValue().doubleValue())
                else:
                    waiting.extend(part.getDetails())
        return dict(sorted(shares.items(), key=lambda share: (-share[1], share[0])))

    def _query(self, topic_id: str, query: SparseQuery, hits: int) -> Any:
        """Lucene's query, as Anserini makes it of a bag of words."""
        if not isinstance(query, str):
            if self._feedback:
                raise InputError(f"topic {topic_id} is weights of terms", expected="a text, which feedback starts from")
            return self._generator.buildQuery(self._fields, java_weights(query, f"topic {topic_id}"))
        text = java_text(query)
        bag = self._generator.buildQuery(self._fields, default_analyzer(), text)
        if self._feedback:
            return self._generator.buildQuery("contents", self._feedback_terms(text, bag, hits))
        return bag

    def _feedback_terms(self, text: str, query: Any, hits: int) -> Any:
        """The Java map from term to weight that Anserini's reranker would search in place of the text."""
        options = self._feedback
        if isinstance(options, RM3Options):
            depth = options.fb_docs
        else:
            assert options is not None
            depth = hits if options.use_negative else options.top_fb_docs
        top_docs = self._searcher.search(query, depth, _ties_by_id(), True)
        documents = java_class("io.anserini.search.ScoredDocs").fromTopDocs(top_docs, self._searcher)
        arguments = java_class("io.anserini.search.SearchCollection$Args")()
        arguments.hits = 1  # of the search that the reranker ends with, which is not used
        tokens = java_class("io.anserini.analysis.AnalyzerUtils").analyze(default_analyzer(), text)
        context = java_class("io.anserini.rerank.RerankerContext")(
            self._searcher, None, query, None, text, tokens, None, arguments
        )
        self._reranker.rerank(documents, context)
        return context.feedbackTerms

    def _make_top(self, hits: int) -> Any:
        """A handle from a collection of queries to the list of their hits, by score and then by document id.

        Lucene leaves the score out of each hit unless asked to compute it a second time; the sort has kept the first.
        """
        query, sort, result = (f"Lorg/apache/lucene/search/{name};" for name in ("Query", "Sort", "TopFieldDocs"))
        search = handles.method("org.apache.lucene.search.IndexSearcher", "search", f"({query}I{sort}){result}")
        search = handles.bind(handles.bind(search, 2, hits, _ties_by_id()), 0, self._searcher)
        return handles.mapper(handles.chain(search, handles.getter("org.apache.lucene.search.TopDocs", "scoreDocs")))

    def _hits(self, joined_ids: list[str], scores: list[list[float]]) -> list[Hits]:
        """The rankings of Lucene's ids, joined by line ends, and scores."""
        import numpy as np

        ids = [text.split("\n") if text else [] for text in joined_ids]
        ends = list(itertools.accumulate(map(len, scores)))
        starts = [0, *ends[:-1]]
        if list(map(len, ids)) != list(map(len, scores)):
            raise InputError(f"{self.index.path} has a document id with a line end", expected="ids without one")
        values = np.fromiter(itertools.chain.from_iterable(scores), dtype=np.float32, count=ends[-1])
        adjusted: list[float] = adjust_ties(values, np.array(starts)).tolist()
        return [Hits(of, adjusted[start:end]) for of, start, end in zip(ids, starts, ends, strict=True)]


def adjust_ties(scores: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The scores as Anserini writes them (ScoreTiesAdjusterReranker): float32 array of the same shape, (n_hits,).

    Each is rounded to four decimals; in a group of equal ones, each gets 0.000001 less than the one before, so that any
    tool sorts them as they stand. Rankings stand one after the other, each in descending order, and begin at `starts`;
    an empty one begins where the next one does.
    """
    import numpy as np

    rounded = (np.floor(scores.astype(np.float64) * 1e4 + 0.5) / 1e4).astype(np.float32)
    position = np.arange(len(rounded))
    begins = np.zeros(len(rounded) + 1, dtype=bool)
    begins[starts] = True
    adjusted = rounded
    while True:
        # Anserini compares with the adjusted score before, so that a tie may carry over a gap of 0.0001: go on until
        # nothing changes. Each turn settles at least one more score, and two or three are enough in practice.
        fresh = begins[:-1].copy()
        fresh[1:] |= adjusted[:-1] - rounded[1:] > np.float32(1e-4)
        ties = position - np.maximum.accumulate(np.where(fresh, position, 0))
        previous, adjusted = adjusted, rounded - np.float32(1e-6) * ties.astype(np.float32)
        if np.array_equal(previous, adjusted):
            return adjusted


def java_weights(weights: Mapping[str, float], whose: str) -> Any:
    """The Java map of the weights that are not 0, by name of a field or term; `whose` begins an error's message."""
    number, result = java_class("java.lang.Float"), java_class("java.util.HashMap")()
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise InputError(f"{whose}: {name!r} has the weight {weight}", expected="a finite number, 0 or more")
        if weight:
            result.put(java_text(name), number(weight))
    return result


def _reranker(options: RM3Options | RocchioOptions) -> Any:
    kind = "Rm3Reranker" if isinstance(options, RM3Options) else "RocchioReranker"
    *numbers, last = astuple(
        options
    )  # in the order of the constructors, which take a "write to the log" before the last
    return java_class(f"io.anserini.rerank.lib.{kind}")(default_analyzer(), None, "contents", *numbers, False, last)


@cache
def _terms() -> Any:
    """A handle from a collection of texts to the list of the arrays of their terms."""
    analyzer, text = "Lorg/apache/lucene/analysis/Analyzer;", "Ljava/lang/String;"
    analyze_text = handles.static_method(
        "io.anserini.analysis.AnalyzerUtils", "analyze", f"({analyzer}{text})Ljava/util/List;"
    )
    to_array = handles.method("java.util.List", "toArray", "()[Ljava/lang/Object;")
    return handles.mapper(handles.chain(handles.bind(analyze_text, 0, default_analyzer()), to_array))


def _ties_by_id() -> Any:
    return java_class("io.anserini.search.SearchCollection").BREAK_SCORE_TIES_BY_DOCID


@cache
def _ids() -> Any:
    """A handle from a collection of ScoreDoc[] to the list of their documents' ids, joined by line ends.

    The id is the second value that a hit was sorted by: no stored field is read.
    """
    fields = handles.getter("org.apache.lucene.search.FieldDoc", "fields")
    text = handles.method("org.apache.lucene.util.BytesRef", "utf8ToString", "()Ljava/lang/String;")
    read = handles.chain(fields, handles.element(1), text)
    apply = handles.method("java.util.stream.Stream", "map", "(Ljava/util/function/Function;)Ljava/util/stream/Stream;")
    collect = handles.method("java.util.stream.Stream", "toList", "()Ljava/util/List;")
    descriptor = "(Ljava/lang/CharSequence;Ljava/lang/Iterable;)Ljava/lang/String;"
    join = handles.bind(handles.static_method("java.lang.String", "join", descriptor), 0, "\n")
    step = handles.bind_function(apply, 1, "java.util.function.Function", read)
    return handles.mapper(handles.chain(_stream(), step, collect, join))


@cache
def _scores() -> Any:
    """A handle from a collection of ScoreDoc[] to the list of their scores, double[]: the first values sorted by."""
    read = handles.chain(handles.getter("org.apache.lucene.search.FieldDoc", "fields"), handles.element(0))
    descriptor = "(Ljava/util/function/ToDoubleFunction;)Ljava/util/stream/DoubleStream;"
    apply = handles.method("java.util.stream.Stream", "mapToDouble", descriptor)
    collect = handles.method("java.util.stream.DoubleStream", "toArray", "()[D")
    step = handles.bind_function(apply, 1, "java.util.function.ToDoubleFunction", read)
    return handles.mapper(handles.chain(_stream(), step, collect))


def _stream() -> Any:
    return handles.static_method("java.util.Arrays", "stream", "([Ljava/lang/Object;)Ljava/util/stream/Stream;")
