"""Pseudo-relevance feedback by Anserini's own rerankers: a text becomes the weighted terms that they would search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.jvm import java_class
from expandr_ir.lucene.analysis import default_analyzer


@dataclass(frozen=True, slots=True)
class RM3Options:
    """RM3 (Abdul-Jaleel et al. 2004), with Pyserini's names and defaults.

    Args:
        fb_terms: terms of the feedback model.
        fb_docs: first documents of the plain search that the model is made of.
        original_query_weight: share of the topic's own terms, in [0, 1].
        filter_terms: leave out terms that are not a-z and 0-9 alone.
    """

    fb_terms: int = 10
    fb_docs: int = 10
    original_query_weight: float = 0.5
    filter_terms: bool = True


@dataclass(frozen=True, slots=True)
class RocchioOptions:
    """Rocchio's feedback, with Pyserini's names and defaults.

    Args:
        top_fb_terms, top_fb_docs: terms taken from that many first documents of the plain search.
        bottom_fb_terms, bottom_fb_docs: terms taken from that many last documents, where `use_negative` is on.
        alpha, beta, gamma: weights of the topic, of the first and of the last documents.
        use_negative: move away from the last documents too.
    """

    top_fb_terms: int = 10
    top_fb_docs: int = 10
    bottom_fb_terms: int = 10
    bottom_fb_docs: int = 10
    alpha: float = 1.0
    beta: float = 0.75
    gamma: float = 0.0
    use_negative: bool = False


class Feedback:
    """One kind of feedback over one index.

    Args:
        searcher: Lucene's IndexSearcher.
        options: which kind, and how.

    Raises:
        InputError: the index has no document vectors.
    """

    def __init__(self, searcher: Any, options: RM3Options | RocchioOptions) -> None:
        if searcher.getIndexReader().termVectors().get(0) is None:
            raise InputError(
                "this index has no document vectors, which feedback is made of",
                expected="an index built with -storeDocvectors, as `expandr index` builds it",
            )
        self._searcher, self._options = searcher, options
        kind = "Rm3Reranker" if isinstance(options, RM3Options) else "RocchioReranker"
        self._reranker = java_class(f"io.anserini.rerank.lib.{kind}")(
            default_analyzer(), None, "contents", *_arguments(options)
        )

    def terms(self, text: str, query: Any, hits: int) -> Any:
        """The Java map from term to weight that is searched in place of the text.

        Args:
            text: the topic's text.
            query: Lucene's query of it.
            hits: documents of the plain search; Rocchio's last ones are the last of these.
        """
        options = self._options
        if isinstance(options, RM3Options):
            depth = options.fb_docs
        else:
            depth = hits if options.use_negative else options.top_fb_docs
        ties = java_class("io.anserini.search.SearchCollection").BREAK_SCORE_TIES_BY_DOCID
        found = self._searcher.search(query, depth, ties, True)
        documents = java_class("io.anserini.search.ScoredDocs").fromTopDocs(found, self._searcher)
        arguments = java_class("io.anserini.search.SearchCollection$Args")()
        arguments.hits = 1  # of the search that the reranker ends with, which is not used
        tokens = java_class("io.anserini.analysis.AnalyzerUtils").analyze(default_analyzer(), text)
        context = java_class("io.anserini.rerank.RerankerContext")(
            self._searcher, None, query, None, text, tokens, None, arguments
        )
        self._reranker.rerank(documents, context)
        return context.feedbackTerms


def _arguments(options: RM3Options | RocchioOptions) -> tuple[Any, ...]:
    """The numbers that the reranker's constructor takes, in its order."""
    if isinstance(options, RM3Options):
        return (options.fb_terms, options.fb_docs, options.original_query_weight, False, options.filter_terms)
    sizes = (options.top_fb_terms, options.top_fb_docs, options.bottom_fb_terms, options.bottom_fb_docs)
    return (*sizes, options.alpha, options.beta, options.gamma, False, options.use_negative)
