"""The work behind the routes and tools: which index, which expander, in which threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from expandr_ir import registry
from expandr_ir.aggregate import DENSE, SPARSE
from expandr_ir.collections import Collection
from expandr_ir.errors import InputError
from expandr_ir.records import Document, ExpandedTopic, Topic
from expandr_ir.serve import snippets, wire
from expandr_ir.serve.faults import UnknownError
from expandr_ir.serve.index import ServedIndex, expanded
from expandr_ir.serve.options import ServeOptions
from expandr_ir.serve.pools import Pool
from expandr_ir.serve.writers import Drafts, Writers
from expandr_ir.single_query import TOPIC_ID

NEWS_EVERY_S = 0.1
MOST_TOPICS = 200
SNIPPETS = {"command": snippets.command, "python": snippets.python}


class Service:
    """Indexes, expanders and LLMs; searches and expansions have threads of their own.

    Raises:
        InputError: two collections of one name, or options that do not fit.
    """

    def __init__(self, options: ServeOptions, collections: Sequence[Collection]) -> None:
        self.options, self.writers = options, Writers(options)
        self.indexes: dict[str, ServedIndex] = {}
        for collection in collections:
            if collection.name in self.indexes:
                raise InputError(f"two collections have the name {collection.name!r}", expected="different names")
            self.indexes[collection.name] = ServedIndex(collection, options.encoder, options.split)
        self.searches = Pool("searches", options.searches, 4 * options.searches, options.timeout_s)
        self.expansions = Pool("expansions", options.expansions, options.expansions, options.timeout_s)
        self._drafts: set[Drafts] = set()

    def start(self) -> None:
        """Opens the indexes, one after the other, in the background."""
        threading.Thread(target=self.open, name="expandr-open", daemon=True).start()

    def open(self) -> None:
        """Opens the indexes, one after the other."""
        for index in self.indexes.values():
            index.open()

    def close(self) -> None:
        """Gives up what is under way, and closes LLMs and store."""
        for drafts in list(self._drafts):
            drafts.is_abandoned = True
        for pool in (self.searches, self.expansions):
            pool.close()
        self.writers.close()

    def names(self) -> dict[str, Any]:
        """The names that requests may use; the first generator is the default."""
        return {
            "expanders": [
                {
                    "name": name,
                    "method": config.method,
                    "samples": config.samples,
                    "aggregation": {"sparse": config.sparse_aggregation, "dense": config.dense_aggregation},
                    "repeats": config.sparse.repeats,
                    "source": config.source,
                }
                for name, config in self.writers.expanders.items()
            ],
            "generators": list(self.writers.generators),
            "retrievers": ["sparse", "dense", "hybrid"] if self.options.encoder else ["sparse"],
            "aggregations": {
                kind: list(registry.names(f"expandr_ir.aggregations.{kind}", own))
                for kind, own in (("sparse", SPARSE), ("dense", DENSE))
            },
        }

    def index(self, name: str) -> ServedIndex:
        """The index of this name.

        Raises:
            UnknownError: there is none.
        """
        if name not in self.indexes:
            raise UnknownError(f"unknown index {name!r}", expected=f"one of {', '.join(self.indexes)}")
        return self.indexes[name]

    def topics(self, index: str) -> list[dict[str, str]]:
        """The first topics of an index that have judgements."""
        first = self.index(index).topics()[:MOST_TOPICS]
        return [{"topic_id": topic.topic_id, "text": topic.text} for topic in first]

    async def search(self, index: str, request: wire.SearchRequest) -> wire.Found:
        """The ranking of a query, with texts that are written first where an expander is named."""
        self.index(index).check_ready()
        if request.expander is None:
            if given := next((name for name in ("generator", "samples") if getattr(request, name) is not None), None):
                raise InputError(f"{given} without an expander", expected="expander=NAME, see /v1/expanders")
            return await self.search_with(index, request, [])
        self._options(request)  # what can be refused is refused before an LLM is paid
        with self._draft() as drafts:
            expansions = await self.expansions.run(*self._expansion(index, request, drafts))
        return await self._search(index, request, *expansions.values())

    async def search_with(self, index: str, request: wire.SearchRequest, texts: Sequence[str]) -> wire.Found:
        """The ranking of a query with these texts."""
        return await self._search(index, request, expanded(self.index(index).topic(request.query), texts))

    async def _search(self, index: str, request: wire.SearchRequest, topic: ExpandedTopic) -> wire.Found:
        served, options = self.index(index), self._options(request)
        grades = served.judgements(topic.topic)

        def search() -> wire.Found:
            run, hits = served.search(topic, options)
            documents, texts = served.documents(hits.doc_ids), [expansion.text for expansion in topic.expansions]
            candidates = [
                wire.Candidate(
                    docid=hit.doc_id,
                    score=round(hit.score, 6),
                    rank=hit.rank,
                    doc=_stored(documents.get(hit.doc_id, Document(hit.doc_id, "", ""))),
                    grade=grades.get(hit.doc_id),
                )
                for hit in hits
            ]
            query = wire.Query(text=request.query, topic_id=topic.topic.topic_id if grades else None)
            return wire.Found(index=index, query=query, candidates=candidates, run=run, expansions=texts)

        return await self.searches.run(search)

    async def document(self, index: str, doc_id: str) -> wire.Stored:
        """A document of an index."""
        document = await self.searches.run(self.index(index).document, doc_id)
        return wire.Stored(index=index, docid=doc_id, doc=_stored(document))

    async def explain(self, index: str, request: wire.ExplainRequest) -> wire.Explained:
        """The share of each term of the query and the texts in a document's score."""
        served, options = self.index(index), self._options(request)
        topic = expanded(served.topic(request.query), request.expansions)
        terms = await self.searches.run(served.explain, topic, options, request.docid)
        return wire.Explained(index=index, docid=request.docid, terms=[wire.Term(**term) for term in terms])

    def snippets(self, index: str, request: wire.TextsRequest) -> dict[str, str]:
        """A search as commands and as Python."""
        served, options = self.index(index), self._options(request)
        topic = expanded(Topic(TOPIC_ID, request.query), request.expansions)
        return {name: make(served.collection, topic, options) for name, make in SNIPPETS.items()}

    async def expand(self, request: wire.ExpandRequest) -> AsyncIterator[dict[str, Any]]:
        """Events of an expansion: texts so far, then the expansions as they are searched. A closed iterator ends it."""
        index = request.index or next(iter(self.indexes))
        with self._draft() as drafts:
            writing = self.expansions.submit(*self._expansion(index, request, drafts))
            try:
                async with asyncio.timeout(self.options.timeout_s):
                    while not writing.done():
                        await asyncio.wait([writing], timeout=NEWS_EVERY_S)
                        for event in drafts.news():
                            yield event
            except TimeoutError as error:
                raise self.expansions.late() from error
            finally:
                writing.cancel()
            expansions = writing.result()
        (topic,) = expansions.values()
        texts = [{"sample": text.sample, "text": text.text} for text in topic.expansions]
        yield {"expansions": texts, "repeats": topic.query_repeats, "counts": expansions.counts}

    @contextmanager
    def _draft(self) -> Iterator[Drafts]:
        """Drafts that are given up when the block ends, or the server."""
        self._drafts.add(drafts := Drafts())
        try:
            yield drafts
        finally:
            drafts.is_abandoned = True
            self._drafts.discard(drafts)

    def _expansion(
        self, index: str, request: wire.SearchRequest | wire.ExpandRequest, drafts: Drafts
    ) -> tuple[Any, ...]:
        """The call that writes the texts of a request, for a pool."""
        assert request.expander is not None
        served = self.index(index)
        self.writers.expander(request.expander)
        generator = self.writers.generator(request.generator)
        names = (request.expander, generator, request.samples, self.options.split)
        return (self.writers.expand, served.collection, served.topic(request.query), *names, drafts)

    def _options(self, request: wire.SearchRequest) -> Any:
        if request.retriever != "sparse" and not self.options.encoder:
            raise InputError(
                f"this server has no encoder for {request.retriever} searches", expected="retriever sparse"
            )
        expander = self.writers.expander(request.expander) if request.expander else None
        return request.options(expander, self.options.encoder)


def _stored(document: Document) -> dict[str, str]:
    return {"_id": document.doc_id, "title": document.title, "text": document.text}
