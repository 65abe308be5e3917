"""The tools of an agent (MCP): Pyserini's names, with expansions, and `expand_query`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from pydantic import ValidationError

from expandr_ir.errors import ExpandrError
from expandr_ir.records import Topic
from expandr_ir.serve import wire
from expandr_ir.serve.faults import without_places
from expandr_ir.serve.index import ServedIndex
from expandr_ir.serve.service import Service

INSTRUCTIONS = """Search document collections by keyword. Where a question's words may not be those of the documents,
name an expander: an LLM writes a passage that could answer it, and the search takes its words as well. Or write such
texts yourself, and give them to search as `expansions`."""


def make_tools(service: Service) -> FastMCP:
    """The tools over a service's indexes; a search waits until its index is open."""
    server: FastMCP = FastMCP("expandr_ir", instructions=INSTRUCTIONS, mask_error_details=True)
    first = next(iter(service.indexes))

    async def opened(name: str) -> ServedIndex:
        index = service.index(name)
        async with asyncio.timeout(service.options.timeout_s):
            while index.status()["state"] == "opening":
                await asyncio.sleep(0.2)
        return index

    @server.tool
    async def search(
        query: str,
        index: str = first,
        hits: int = 10,
        expander: str | None = None,
        expansions: list[str] | None = None,
        generator: str | None = None,
        retriever: str = "sparse",
        aggregation: str | None = None,
    ) -> dict[str, Any]:
        """Search an index: documents with docid, score, rank and text, best first.

        Args:
            query: the words to search.
            index: a name of list_indexes.
            hits: how many documents.
            expander: a method of list_expanders by which an LLM writes texts to search with; none searches the query.
            expansions: texts to search with that you wrote, in place of an LLM's.
            generator: the LLM, a name of list_expanders.
            retriever: sparse (BM25), dense or hybrid.
            aggregation: how query and texts become one query; the expander's own if left out.
        """
        with _faults():
            await opened(index)
            asked: dict[str, Any] = {"query": query, "hits": hits, "retriever": retriever, "aggregation": aggregation}
            asked |= {"expander": expander, "generator": generator}
            if expansions:
                request = wire.TextsRequest(expansions=expansions, **asked)
                return (await service.search_with(index, request, request.expansions)).model_dump(exclude_none=True)
            return (await service.search(index, wire.SearchRequest(**asked))).model_dump(exclude_none=True)

    @server.tool
    async def get_document(docid: str, index: str = first) -> dict[str, Any]:
        """The whole text of a document of an index."""
        with _faults():
            await opened(index)
            return (await service.document(index, docid)).model_dump()

    @server.tool
    async def expand_query(
        query: str, expander: str, generator: str | None = None, samples: int | None = None, index: str = first
    ) -> list[str]:
        """The texts that an LLM writes for a query by a method of list_expanders, to edit and give to `search`."""
        with _faults():
            await opened(index)
            asked = wire.ExpandRequest(
                query=query, expander=expander, generator=generator, samples=samples, index=index
            )
            events = [event async for event in service.expand(asked)]
            return [text["text"] for text in events[-1]["expansions"]]

    @server.tool
    async def list_indexes() -> list[str]:
        """The names of the indexes."""
        return list(service.indexes)

    @server.tool
    async def list_expanders() -> dict[str, Any]:
        """The names that searches may use: expanders, generators (LLMs), retrievers, aggregations."""
        return service.names()

    @server.tool
    async def get_index(index_name: str) -> dict[str, Any]:
        """The state of an index, its documents and judged queries in numbers."""
        with _faults():
            return service.index(index_name).status()

    @server.tool
    async def get_qrels(index_name: str, query_id: str) -> dict[str, int]:
        """The relevance judgements of a query of an index by docid; above 0 is relevant."""
        with _faults():
            return (await opened(index_name)).judgements(Topic(query_id, ""))

    return server


@contextmanager
def _faults() -> Iterator[None]:
    """Lets an agent read what was found, expected and to be done; other errors tell it nothing."""
    try:
        yield
    except ExpandrError as error:
        raise ToolError(without_places(str(error))) from error
    except ValidationError as error:
        raise ToolError("; ".join(wire.fault(part) for part in error.errors()[:5])) from error
    except TimeoutError as error:
        raise ToolError("the index is still being opened; ask again in a moment") from error
