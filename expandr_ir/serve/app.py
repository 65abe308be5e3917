"""The routes: searches, documents, explanations and expansions over REST."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from expandr_ir import __version__
from expandr_ir.errors import ExpandrError
from expandr_ir.serve import wire
from expandr_ir.serve.faults import RequestError, body_of, headers_of, status_of
from expandr_ir.serve.guard import Guard
from expandr_ir.serve.service import Service
from expandr_ir.serve.tools import make_tools

logger = logging.getLogger(__name__)

FAULTS: dict[int | str, dict[str, Any]] = {
    status: {"model": wire.Fault, "description": text}
    for status, text in {
        400: "The request is not valid.",
        401: "The token is missing or wrong.",
        404: "There is no such index or document.",
        413: "The request is too large.",
        500: "The server failed.",
        503: "Too many requests, or the index is being opened.",
        504: "It took too long.",
    }.items()
}


def create_app(service: Service, token: str = "") -> FastAPI:
    """The application; it opens the service's indexes when it starts, and closes them when it ends."""
    tools = make_tools(service).http_app(path="/mcp", stateless_http=True)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        async with tools.lifespan(app):
            yield
        service.close()

    app = FastAPI(
        title="expandr_ir",
        version=__version__,
        description="Search with LLM query expansion.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        responses=FAULTS,
    )
    app.add_middleware(Guard, token=token)
    _answer_errors(app)
    app.router.routes.extend(tools.routes)
    _add_page(app)
    _add_routes(app, service)
    return app


def _add_page(app: FastAPI) -> None:
    """The page at / and its two files; they hold no data, and load nothing from elsewhere."""
    files = resources.files(__package__).joinpath("static")
    for path, kind in (("/", "html"), ("/static/page.css", "css"), ("/static/page.js", "javascript")):
        text = files.joinpath(path.rpartition("/")[2] or "page.html").read_text(encoding="utf-8")

        async def answer(_: Request, text: str = text, kind: str = kind) -> Response:
            return Response(text, media_type=f"text/{kind}")

        app.add_route(path, answer, include_in_schema=False)


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> dict[str, Any]:
        """The state of each index."""
        indexes = {name: index.status() for name, index in service.indexes.items()}
        return {"status": "ok", "version": __version__, "indexes": indexes}

    @app.get("/v1/expanders")
    async def expanders() -> dict[str, Any]:
        """The names that requests may use: expanders, generators, retrievers, aggregations."""
        return service.names()

    @app.get("/v1/indexes")
    async def indexes() -> list[str]:
        """The names of the indexes."""
        return list(service.indexes)

    @app.get("/v1/{index}/topics")
    async def topics(index: str) -> list[dict[str, str]]:
        """The first of the index's topics that have judgements."""
        return service.topics(index)

    @app.get("/v1/{index}/search")
    async def search(index: str, request: Annotated[wire.SearchRequest, Query()]) -> wire.Found:
        """Searches, with texts that an LLM writes where an expander is named."""
        return await service.search(index, request)

    @app.post("/v1/{index}/search")
    async def search_with_texts(index: str, request: wire.TextsRequest) -> wire.Found:
        """Searches with the texts of the request."""
        return await service.search_with(index, request, request.expansions)

    @app.get("/v1/{index}/doc/{docid:path}")
    async def document(index: str, docid: str) -> wire.Stored:
        """A document."""
        return await service.document(index, docid)

    @app.post("/v1/{index}/explain")
    async def explain(index: str, request: wire.ExplainRequest) -> wire.Explained:
        """The share of each term of the query and the texts in a document's BM25 score."""
        return await service.explain(index, request)

    @app.post("/v1/{index}/snippets")
    async def as_code(index: str, request: wire.TextsRequest) -> dict[str, str]:
        """The commands, and the Python, that repeat a search with texts."""
        return service.snippets(index, request)

    @app.post("/v1/expand", response_class=StreamingResponse)
    async def expand(request: wire.ExpandRequest) -> StreamingResponse:
        """Streams JSON lines: each text so far by call and sample, at the end all `expansions`, or an `error`."""
        return StreamingResponse(_lines(service.expand(request)), media_type="application/x-ndjson")


async def _lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    try:
        async for event in events:
            yield json.dumps(event) + "\n"
    except ExpandrError as error:
        yield json.dumps(body_of(error)) + "\n"


def _answer_errors(app: FastAPI) -> None:
    """Lets every error be answered by JSON with what was found."""

    @app.exception_handler(ExpandrError)
    async def of_ours(_: Request, error: ExpandrError) -> JSONResponse:
        if not isinstance(error, RequestError) and status_of(error) >= 500:
            logger.error("%s", error)
        return JSONResponse(body_of(error), status_of(error), headers_of(error))

    @app.exception_handler(RequestValidationError)
    async def of_values(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": "; ".join(map(wire.fault, error.errors()[:5]))}, 400)

    @app.exception_handler(HTTPException)
    async def of_routes(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def of_others(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"the server failed ({type(error).__name__})"}, 500)
