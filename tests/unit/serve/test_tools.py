"""The tools as an agent's client sees them: in memory, over HTTP and over stdio."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest
import uvicorn
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError

from expandr_ir.serve.app import create_app
from expandr_ir.serve.server import listen
from expandr_ir.serve.tools import make_tools

pytestmark = pytest.mark.java

NAMES = {"search", "get_document", "list_indexes", "get_index", "get_qrels", "expand_query", "list_expanders"}
QUESTION = "keep only the last n lines of a log while reading it"


async def use(client):
    """Lists and calls the tools of a client over the demo with echo."""
    async with client:
        assert {tool.name for tool in await client.list_tools()} == NAMES
        found = (await client.call_tool("search", {"query": QUESTION, "hits": 3})).data
        assert (found["run"], len(found["candidates"])) == ("bm25-none", 3)
        texts = (await client.call_tool("expand_query", {"query": "merge lists", "expander": "query2e"})).data
        assert texts[0].endswith("Query: merge lists (sample 0)")
        asked = {"query": QUESTION, "expansions": ["collections deque maxlen"], "aggregation": "append"}
        assert (await client.call_tool("search", asked)).data["run"] == "bm25-append"
        document = (await client.call_tool("get_document", {"docid": "collections.deque"})).data
        assert document["doc"]["title"] == "collections.deque"
        assert (await client.call_tool("list_indexes", {})).data == ["demo"]
        assert (await client.call_tool("get_index", {"index_name": "demo"})).data["state"] == "ready"
        qrels = (await client.call_tool("get_qrels", {"index_name": "demo", "query_id": "d001"})).data
        assert qrels["collections.deque"] == 2
        for tool, wrong, message in (
            ("search", {"query": "x", "index": "none"}, "unknown index 'none'"),
            ("search", {"query": "x", "hits": 10**6}, "hits: Input should be less"),
            ("search", {"query": "\x00"}, "a query with a word in it"),
            ("expand_query", {"query": "x", "expander": "none"}, "unknown expander 'none'"),
            ("get_document", {"docid": "none"}, "demo has no document 'none'"),
        ):
            with pytest.raises(ToolError, match=message):
                await client.call_tool(tool, wrong)


def test_in_memory_while_the_index_is_opened(make_service):
    service = make_service()
    service.start()
    asyncio.run(use(Client(make_tools(service))))


def test_over_http(make_service):
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(make_service()), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        asyncio.run(use(Client(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp")))
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.mark.slow
def test_over_stdio(tmp_path):
    command = ["-m", "expandr_ir", "serve", "--transport", "stdio", "--generator", "echo"]
    env = {**os.environ, "EXPANDR_STORE": str(tmp_path / "store.sqlite")}
    asyncio.run(use(Client(StdioTransport(sys.executable, command, env=env))))
