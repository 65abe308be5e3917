"""Pyserini's LuceneSearcher with expansions; importing this module starts Java and imports Pyserini."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expandr_ir.aggregate import SparseOptions, sparse_aggregation, sparse_query
from expandr_ir.errors import InputError
from expandr_ir.jvm import import_pyserini, in_java, java_class, java_text
from expandr_ir.pyserini.lookup import Lookup
from expandr_ir.records import SparseQuery
from expandr_ir.retrievers.lucene.searcher import java_weights

LuceneSearcher: Any = import_pyserini("pyserini.search.lucene").LuceneSearcher


class ExpandRLuceneSearcher(LuceneSearcher):  # type: ignore[misc]
    """Pyserini's LuceneSearcher, which searches each topic with its expansions.

    Args:
        index_dir: the folder of a Lucene index.
        expansions: a topic's text -> its expansions, or a Lookup.
        aggregation: a sparse aggregation.
        options: its numbers.
        pyserini: further arguments of Pyserini's own class.

    Raises:
        InputError: an unknown aggregation.
    """

    def __init__(
        self,
        index_dir: str,
        expansions: Lookup | Mapping[str, Sequence[str]],
        aggregation: str,
        options: SparseOptions | None = None,
        **pyserini: Any,
    ) -> None:
        sparse_aggregation(aggregation)  # refused here where it does not exist
        super().__init__(index_dir, **pyserini)
        self.lookup = Lookup.of(expansions)
        self.aggregation = aggregation
        self.options = options or SparseOptions()

    @classmethod
    def from_prebuilt_index(
        cls,
        prebuilt_index_name: str,
        expansions: Lookup | Mapping[str, Sequence[str]],
        aggregation: str,
        options: SparseOptions | None = None,
        verbose: bool = False,
    ) -> ExpandRLuceneSearcher:
        """The searcher of an index that Pyserini offers by name, downloaded where it is not in its cache yet."""
        plain = LuceneSearcher.from_prebuilt_index(prebuilt_index_name, verbose)
        if plain is None:
            raise InputError(f"{prebuilt_index_name!r} is no index of Pyserini's", expected="a prebuilt index")
        return cls(
            plain.index_dir,
            expansions,
            aggregation,
            options,
            prebuilt_index_name=prebuilt_index_name,
            index_reader=plain.index_reader,
        )

    def search(
        self,
        q: Any,
        k: int = 10,
        query_generator: Any = None,
        fields: Mapping[str, float] | None = None,
        strip_segment_id: bool = False,
        remove_dups: bool = False,
    ) -> list[Any]:
        """The hits of a topic, as Pyserini's own `search` gives them.

        A text is expanded; a Lucene query is searched as it is. Text without expansions, and feedback or a query
        generator with weights of terms, are errors.
        """
        with in_java(f"searching {self.index_dir}"):
            query = self._queries([q])[0] if isinstance(q, str) else q
            if isinstance(query, Mapping):
                query, fields = self._weighted(query, query_generator, fields), None
            hits: list[Any] = super().search(
                query, k, query_generator, dict(fields or {}), strip_segment_id, remove_dups
            )
            return hits

    def batch_search(
        self,
        queries: Sequence[str],
        qids: Sequence[str],
        k: int = 10,
        threads: int = 1,
        query_generator: Any = None,
        fields: Mapping[str, float] | None = None,
    ) -> dict[str, list[Any]]:
        """The hits of several topics by their ids, as Pyserini's own `batch_search` gives them.

        Weights of terms are searched one topic after the other: Pyserini's batches are of texts.
        """
        with in_java(f"searching {self.index_dir}"):
            expanded = self._queries(queries)
            if not all(isinstance(query, str) for query in expanded):
                rows = zip(qids, queries, strict=True)
                return {qid: self.search(query, k, query_generator, fields) for qid, query in rows}
            hits: dict[str, list[Any]] = super().batch_search(
                expanded, qids, k, threads, query_generator, dict(fields or {})
            )
            return hits

    def _queries(self, texts: Sequence[str]) -> list[SparseQuery]:
        queries = [
            sparse_query(self.aggregation, self.lookup.topics[key], self.options, self._analyze)
            for key in self.lookup.find(texts)
        ]
        return [java_text(query) if isinstance(query, str) else query for query in queries]

    def _analyze(self, text: str) -> list[str]:
        analyze = java_class("io.anserini.analysis.AnalyzerUtils").analyze
        return list(analyze(self.object.get_analyzer(), java_text(text)).toArray())

    def _weighted(self, weights: Mapping[str, float], query_generator: Any, fields: Mapping[str, float] | None) -> Any:
        """Lucene's query of weighted terms."""
        if query_generator or self.is_using_rm3() or self.is_using_rocchio():
            raise InputError(
                "the aggregation 'weighted' with feedback or a query generator, which start from a text",
                expected="an aggregation that makes a text",
            )
        generator = java_class("io.anserini.search.query.BagOfWordsQueryGenerator")()
        searched = java_weights(fields, "boosts of fields") if fields else "contents"
        return generator.buildQuery(searched, java_weights(weights, "weights of terms"))
