"""Pyserini's LuceneSearcher with expansions; importing this module starts Java and imports Pyserini."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expandr_ir.aggregate import SPARSE, SparseOptions, sparse_query
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.jvm import import_pyserini, in_java, java_class, java_text
from expandr_ir.lucene.bm25 import java_weights
from expandr_ir.pyserini.lookup import Lookup
from expandr_ir.records import SparseQuery

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
        if aggregation not in SPARSE:
            raise unknown_name("sparse aggregation", aggregation, SPARSE)
        super().__init__(index_dir, **pyserini)
        self.lookup = expansions if isinstance(expansions, Lookup) else Lookup.of_texts(expansions)
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
        """The searcher of an index that Pyserini offers by name, downloaded where it is not in its cache yet.

        Raises:
            InputError: Pyserini has no such index, or an unknown aggregation.
        """
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

        Args:
            q: a topic's text, which is expanded, or a Lucene query, which is searched as it is.
            k: most hits.
            query_generator: what makes Lucene's query of a text.
            fields: boosts of the fields to search.
            strip_segment_id: cut ids at their first point.
            remove_dups: keep the first hit of each document.

        Raises:
            InputError: there are no expansions of this text, or weights of terms are to start feedback or go through a
                query generator.
            ExpandrError: Lucene failed.
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

        Args:
            queries: the topics' texts.
            qids: their ids.
            k: most hits of a topic.
            threads: of Pyserini's search.
            query_generator: what makes Lucene's query of a text.
            fields: boosts of the fields to search.

        Raises:
            InputError: there are no expansions of one of the texts, or as in `search`.
            ExpandrError: Lucene failed.
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
        """The terms of a text as this searcher's own analyzer gives them."""
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
