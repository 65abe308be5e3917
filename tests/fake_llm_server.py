"""An OpenAI-compatible server that answers, or misbehaves, exactly as a test tells it to: asyncio and nothing else.

    with FakeServer(lambda number, body: Reply(status=429, headers={"Retry-After": "1"})) as server:
        ... server.url, server.bodies, server.most_in_flight ...

`python tests/fake_llm_server.py --port 8123 --delay 0.1 --log FILE` runs one for other processes; each request's body
is one line of FILE, so that a test can count them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with one request: waits, then answers, or closes the connection."""

    texts: tuple[str, ...] | None = None  # None answers as many as were asked for
    status: int = 200
    body: bytes | None = None  # in place of a completion
    headers: dict[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"
    delay_s: float = 0.0
    close: bool = False
    reset: bool = False  # the connection, without an answer
    cut: int | None = None  # bytes of the body that are sent although all are announced


def completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """A chat completion; texts name the question's last word and the seed, so that tests can tell them apart."""
    asked = body["messages"][-1]["content"].split()[-1]
    texts = reply.texts
    if texts is None:
        texts = tuple(f"text {asked} {body.get('seed', 0) + place}" for place in range(body.get("n", 1)))
    return {
        "id": "fake",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": reply.finish_reason}
            for i, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5 * len(texts), "total_tokens": 10 + 5 * len(texts)},
    }


class FakeServer:
    """Serves POST /v1/chat/completions on a free port of 127.0.0.1 in a thread of its own.

    `behave(number, body)` says what happens to the request with this number (from 1).
    """

    def __init__(self, behave: Callable[[int, dict[str, Any]], Reply] = lambda *_: Reply(), port: int = 0) -> None:
        self._behave, self.port = behave, port
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.arrived_s: list[float] = []
        self.in_flight = self.most_in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FakeServer:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[ready], daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, ready: threading.Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        for task in (tasks := asyncio.all_tasks(self._loop)):
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the server ends
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.bodies.append(body)
        self.headers.append(headers)
        self.arrived_s.append(time.monotonic())
        reply = self._behave(len(self.bodies), body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(reply.delay_s)
        finally:
            self.in_flight -= 1
        if reply.reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if reply.close or reply.reset:
            return False
        content = reply.body if reply.body is not None else json.dumps(completion(body, reply)).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode() + content[: reply.cut])
        await writer.drain()
        return reply.cut is None


def without_fields(*names: str) -> FakeServer:
    """A server that takes no request with one of these fields, as OpenAI's reasoning models do."""

    def behave(_: int, body: dict[str, Any]) -> Reply:
        name = next((name for name in names if name in body), None)
        if name is None:
            return Reply()
        error = {"message": f"Unsupported parameter: '{name}'", "param": name, "code": "unsupported_parameter"}
        return Reply(status=400, body=json.dumps({"error": error}).encode())

    return FakeServer(behave)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds each request takes")
    parser.add_argument("--log", type=Path, help="file to which each request's body is appended")
    options = parser.parse_args()

    def behave(_: int, body: dict[str, Any]) -> Reply:
        if options.log:
            with options.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(body) + "\n")
        return Reply(delay_s=options.delay)

    with FakeServer(behave, options.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
