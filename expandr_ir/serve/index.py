"""A collection that requests search: opened once, in the background, then searched, read and explained."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

from expandr_ir.collections import Collection
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.progress import watched
from expandr_ir.records import Document, ExpandedTopic, Expansion, Hits, Qrels, Topic
from expandr_ir.retrievers import BM25, Hybrid, Retriever, SearchOptions, load_retriever
from expandr_ir.retrievers.base import SingleRetriever
from expandr_ir.retrievers.dense import Dense
from expandr_ir.retrievers.lucene.searcher import analyze
from expandr_ir.serve.faults import BusyError, UnknownError, without_places
from expandr_ir.single_query import TOPIC_ID

logger = logging.getLogger(__name__)

OPENING_S = 5


class ServedIndex:
    """A collection with its open index, vectors and judgements.

    Args:
        collection: the documents.
        encoder: of dense and hybrid searches, if any.
        split: the judgements that are read; None is the collection's default.
    """

    def __init__(self, collection: Collection, encoder: str | None = None, split: str | None = None) -> None:
        self.collection, self.name, self._split, self._encoder = collection, collection.name, split, encoder
        self._opened: dict[str, SingleRetriever] = {}
        self._topics: dict[str, Topic] = {}
        self._qrels: Qrels = {}
        self._failure: str | None = None
        self._progress: dict[str, Any] = {}
        self._bm25, self._n_documents = BM25(collection), collection.facts.documents

    @property
    def is_ready(self) -> bool:
        """True once it can be searched."""
        return "bm25" in self._opened and (self._encoder is None or "dense" in self._opened)

    def status(self) -> dict[str, Any]:
        """Its state for requests: ready, opening (with the progress) or failed (with the reason)."""
        state = "ready" if self.is_ready else "failed" if self._failure else "opening"
        status = {"state": state, "documents": self._n_documents, "topics": len(self._topics)}
        if state == "opening":
            return status | {"progress": self._progress}
        return status | ({"error": self._failure} if self._failure else {})

    def open(self) -> None:
        """Opens all that searches need, built where it is not there yet; a failure is logged, and kept for requests."""
        try:
            with watched(self._watch):
                if self._split or self.collection.splits():
                    self._qrels = self.collection.qrels(self._split)
                topics = self.collection.topics(self._split).values()
                self._topics = {_squeezed(topic.text): topic for topic in topics}
                parts: list[SingleRetriever] = [self._bm25]
                parts += [Dense(self.collection, self._encoder)] if self._encoder else []
                for part in parts:
                    for name in part.opened:
                        getattr(part, name)
                    self._opened[part.label] = part
                self._n_documents = self._bm25.lucene_index.stats().documents
        except (ExpandrError, OSError) as error:
            self._failure = without_places(getattr(error, "found", str(error)))
            logger.error("%s cannot be searched: %s", self.name, error)
        else:
            logger.info("%s can be searched", self.name)

    def topic(self, query: str) -> Topic:
        """The collection's topic of this text, whose judgements are known, or a topic of its own."""
        return self._topics.get(_squeezed(query)) or Topic(TOPIC_ID, query)

    def topics(self) -> list[Topic]:
        """The topics with judgements, in their order."""
        return list(self._topics.values())

    def judgements(self, topic: Topic) -> dict[str, int]:
        """The topic's grades by doc_id; none where it is not judged."""
        return self._qrels.get(topic.topic_id, {})

    def search(self, topic: ExpandedTopic, options: SearchOptions) -> tuple[str, Hits]:
        """The run's name, and the topic's ranking by the retriever that the options describe."""
        self.check_ready()
        run = self._retriever(options).search({topic.topic.topic_id: topic})
        return run.name, run[topic.topic.topic_id]

    def documents(self, doc_ids: Iterable[str]) -> dict[str, Document]:
        """Those of the documents that there are, by doc_id."""
        self.check_ready()
        return self._bm25.lucene_index.documents(doc_ids)

    def document(self, doc_id: str) -> Document:
        """The document of this id.

        Raises:
            UnknownError: there is none.
        """
        if found := self.documents([doc_id]):
            return found[doc_id]
        raise UnknownError(f"{self.name} has no document {doc_id!r}", expected="the id of one of its documents")

    def explain(self, topic: ExpandedTopic, options: SearchOptions, doc_id: str) -> list[dict[str, Any]]:
        """The share of each term of the query in the document's BM25 score: the term, a word of it, its origin."""
        self.check_ready()
        retriever = self._retriever(options)
        parts = retriever.retrievers if isinstance(retriever, Hybrid) else [retriever]
        bm25 = next((part for part in parts if isinstance(part, BM25)), None)
        if bm25 is None:
            raise InputError("a dense search has no terms to explain", expected="retriever sparse or hybrid")
        self.document(doc_id)
        of_topic = _words([topic.topic.text])
        words = _words(expansion.text for expansion in topic.expansions)
        return [
            {
                "term": term,
                "word": of_topic.get(term) or words.get(term, term),
                "origin": "both"
                if term in of_topic and term in words
                else "query"
                if term in of_topic
                else "expansion",
                "score": score,
            }
            for term, score in bm25.explain(topic, doc_id).items()
        ]

    def check_ready(self) -> None:
        """Refuses requests while it is opened, and after that has failed."""
        if self._failure:
            raise BusyError(f"{self.name} cannot be searched: {self._failure}", remedy="the server's log says more")
        if not self.is_ready:
            raise BusyError(
                f"{self.name} is being opened",
                progress=self._progress,
                retry_after_s=OPENING_S,
                remedy="ask again in a moment",
            )

    def _retriever(self, options: SearchOptions) -> Retriever:
        retriever = load_retriever(self.collection, options)
        parts = retriever.retrievers if isinstance(retriever, Hybrid) else [retriever]
        for part in parts:
            assert isinstance(part, SingleRetriever)
            part.share(self._opened[part.label])
        return retriever

    def _watch(self, description: str, done: int, total: int | None) -> None:
        self._progress = {"work": description, "done": done, "total": total}


def expanded(topic: Topic, texts: Iterable[str]) -> ExpandedTopic:
    """The topic with these texts for expansions."""
    return ExpandedTopic(topic, tuple(Expansion(sample, text) for sample, text in enumerate(texts)))


def _words(texts: Iterable[str]) -> dict[str, str]:
    """The first word of each analysed term of the texts."""
    words = list(dict.fromkeys(re.sub(r"^\W+|\W+$", "", word) for text in texts for word in text.split()))
    first: dict[str, str] = {}
    for word, terms in zip(words, analyze(words), strict=True):
        for term in terms:
            first.setdefault(term, word)
    return first


def _squeezed(text: str) -> str:
    return " ".join(text.split())
