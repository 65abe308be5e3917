"""BM25 search of a Lucene index, with the runs that Pyserini gives: ids, order, scores and ties."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.jvm import in_java, java_class, java_text
from expandr_ir.lucene import LuceneIndex
from expandr_ir.lucene.analysis import default_analyzer
from expandr_ir.lucene.feedback import Feedback, RM3Options, RocchioOptions
from expandr_ir.lucene.handles import (
    bind,
    bind_function,
    chain,
    element,
    getter,
    mapper,
    method,
    run_in_threads,
    static_method,
)
from expandr_ir.records import Hits, Run, SparseQuery

if TYPE_CHECKING:
    import numpy as np

TOPICS_AT_ONCE, HITS_AT_ONCE = 200, 200_000
"""What is in Java's memory at one time, whatever the number of topics; between two chunks Ctrl-C is heard."""


class BM25:
    """BM25 over one index (Robertson et al. 1994, as Lucene's BM25Similarity computes it).

    Args:
        index: what to search.
        k1, b: BM25's parameters; the defaults are Pyserini's.
        fields: boost of each field searched; None searches `contents`, and `title` too in a multifield index.
        rm3, rocchio: pseudo-relevance feedback before the search that counts; at most one of them.

    Raises:
        InputError: k1 or a boost is negative, b is not in [0, 1], the index has no such field or no
            document vectors for feedback, or both kinds of feedback are asked for.
    """

    def __init__(
        self,
        index: LuceneIndex,
        k1: float = 0.9,
        b: float = 0.4,
        fields: Mapping[str, float] | None = None,
        rm3: RM3Options | None = None,
        rocchio: RocchioOptions | None = None,
    ) -> None:
        if not (0 <= k1 < math.inf and 0 <= b <= 1):
            raise InputError(f"BM25 with k1 = {k1} and b = {b}", expected="k1 >= 0 and 0 <= b <= 1")
        if rm3 and rocchio:
            raise InputError("RM3 and Rocchio at once", expected="one of them")
        if fields is None and index.fields == "multifield":
            fields = {"contents": 1.0, "title": 1.0}
        for field in fields or ():
            if field not in index.field_names:
                raise unknown_name(f"field of {index.path}", field, index.field_names)
        self.index = index
        with in_java(f"opening {index.path}"):
            self._searcher = index.searcher(k1, b)
            self._fields = java_weights(fields, "boosts of fields") if fields else "contents"
            self._generator = java_class("io.anserini.search.query.BagOfWordsQueryGenerator")()
            options = rm3 or rocchio
            self._feedback = Feedback(self._searcher, options) if options else None

    def search(self, queries: Mapping[str, SparseQuery], hits: int = 1000, threads: int | None = None) -> Run:
        """The rankings by topic_id, in the queries' order; a query without any term of the index has no hits.

        Args:
            queries: by topic_id, a text to analyse, or weights of terms that are analysed already; a term of weight 0
                is not searched.
            hits: most documents of a ranking.
            threads: Java threads that share the topics; None takes one for each core.

        Raises:
            InputError: a weight is negative or not finite, `hits` is not positive, or feedback is asked for weights.
            ExpandrError: Lucene failed; the message is its own.
        """
        if hits < 1:
            raise InputError(f"hits = {hits}", expected="at least 1")
        threads = threads or os.cpu_count() or 1
        with in_java(f"searching {self.index.path}"):
            top = self._top(hits)
        run: Run = {}
        pending = iter(queries.items())
        while chunk := dict(itertools.islice(pending, max(1, min(TOPICS_AT_ONCE, HITS_AT_ONCE // hits)))):
            with in_java(f"searching {self.index.path}"):
                built = [self._query(topic_id, query, hits) for topic_id, query in chunk.items()]
                found = run_in_threads(top, java_class("java.util.Arrays").asList(*built), threads)
                numbers, scores = (run_in_threads(column(), found, threads).toArray() for column in (_numbers, _scores))
            run.update(zip(chunk, self._hits(numbers, scores), strict=True))
        return run

    def _query(self, topic_id: str, query: SparseQuery, hits: int) -> Any:
        """Lucene's query, as Anserini makes it of a bag of words."""
        if not isinstance(query, str):
            if self._feedback:
                raise InputError(f"topic {topic_id} is weights of terms", expected="a text, which feedback starts from")
            return self._generator.buildQuery(self._fields, java_weights(query, f"topic {topic_id}"))
        text = java_text(query)
        built = self._generator.buildQuery(self._fields, default_analyzer(), text)
        if self._feedback:
            return self._generator.buildQuery("contents", self._feedback.terms(text, built, hits))
        return built

    def _top(self, hits: int) -> Any:
        """A handle from a collection of queries to the list of their hits, by score and then by document id.

        Lucene leaves the score out of each hit unless asked to compute it a second time; the sort has kept the first.
        """
        query, sort, found = (f"Lorg/apache/lucene/search/{name};" for name in ("Query", "Sort", "TopFieldDocs"))
        search = method("org.apache.lucene.search.IndexSearcher", "search", f"({query}I{sort}){found}")
        by_score = java_class("io.anserini.search.SearchCollection").BREAK_SCORE_TIES_BY_DOCID
        search = bind(bind(search, 2, hits, by_score), 0, self._searcher)
        return mapper(chain(search, getter("org.apache.lucene.search.TopDocs", "scoreDocs")))

    def _hits(self, numbers: list[list[int]], scores: list[list[float]]) -> list[Hits]:
        """The rankings of Lucene's document numbers and scores."""
        import numpy as np

        ends = list(itertools.accumulate(map(len, numbers)))
        starts = [0, *ends[:-1]]
        rows = np.fromiter(itertools.chain.from_iterable(numbers), dtype=np.int64, count=ends[-1])
        values = np.fromiter(itertools.chain.from_iterable(scores), dtype=np.float32, count=ends[-1])
        ids = b"\n".join(self.index.doc_ids[rows].tolist()).decode().split("\n")
        adjusted: list[float] = adjust_ties(values, np.array(starts)).tolist()
        return [Hits(ids[start:end], adjusted[start:end]) for start, end in zip(starts, ends, strict=True)]


def adjust_ties(scores: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The scores as Anserini writes them (ScoreTiesAdjusterReranker): float32 array of the same shape.

    Each is rounded to four decimals; in a group of equal ones, each gets 0.000001 less than the one before, so that any
    tool sorts them as they stand.

    Args:
        scores: float32 array of shape (n_hits,), rankings one after the other, each in descending order.
        starts: where each ranking begins; an empty one begins where the next one does.
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
    """The Java map of the weights that are not 0.

    Args:
        weights: by name of a field or term.
        whose: what they are, for the error.

    Raises:
        InputError: a weight is negative or not finite.
    """
    number, result = java_class("java.lang.Float"), java_class("java.util.HashMap")()
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise InputError(f"{whose}: {name!r} has the weight {weight}", expected="a finite number, 0 or more")
        if weight:
            result.put(java_text(name), number(weight))
    return result


@cache
def _numbers() -> Any:
    """A handle from a collection of ScoreDoc[] to the list of their documents' numbers, int[]."""
    return _column("Int", getter("org.apache.lucene.search.ScoreDoc", "doc"))


@cache
def _scores() -> Any:
    """A handle from a collection of ScoreDoc[] to the list of their scores, double[].

    The score is the first of the values that a hit was sorted by.
    """
    return _column("Double", chain(getter("org.apache.lucene.search.FieldDoc", "fields"), element(0)))


def _column(kind: str, read: Any) -> Any:
    """A handle from a collection of Object[] to the list of the arrays of what `read` makes of each element."""
    array, function = {"Int": "[I", "Double": "[D"}[kind], f"java/util/function/To{kind}Function"
    stream = static_method("java.util.Arrays", "stream", "([Ljava/lang/Object;)Ljava/util/stream/Stream;")
    mapped = method("java.util.stream.Stream", f"mapTo{kind}", f"(L{function};)Ljava/util/stream/{kind}Stream;")
    gathered = method(f"java.util.stream.{kind}Stream", "toArray", f"(){array}")
    return mapper(chain(stream, bind_function(mapped, 1, function.replace("/", "."), read), gathered))
