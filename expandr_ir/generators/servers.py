"""Several servers of one model as one: each request has its own, and what one fails to answer goes to the others."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from expandr_ir.config import ApiOptions
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators.completions import Answer
from expandr_ir.generators.retry import LONGEST_RETRY_AFTER_S, TransientError, backoff_s
from expandr_ir.generators.server import Server, UnreachableError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 2
REST_S = 30.0
"""A server that failed so often in a row, or is not there, is passed over for so long while others answer."""


@dataclass
class _State:
    """How a server does.

    Args:
        failures: since its last answer.
        rests_until: it is passed over until then (monotonic seconds).
        refused: why it is not asked again, such as a refused key.
        unreachable: nothing listened there the last time.
    """

    failures: int = 0
    rests_until: float = 0.0
    refused: MissingResourceError | None = None
    unreachable: bool = False


class Servers:
    """The servers that the options name, one or several.

    Raises:
        InputError: a URL is none, stands there twice, or both base_url and base_urls are given.
        MissingResourceError: a server is OpenAI's and there is no key.
        NotInstalledError: the openai package is missing.
    """

    def __init__(self, options: ApiOptions) -> None:
        if options.base_url and options.base_urls:
            raise InputError("both api.base_url and api.base_urls", expected="one of them")
        urls: list[str | None] = [*options.base_urls] or [options.base_url]
        self._servers = [Server(replace(options, base_url=url, base_urls=[])) for url in urls]
        self.urls = [server.url for server in self._servers]
        if len(set(self.urls)) < len(self.urls):
            raise InputError(f"api.base_urls are {', '.join(self.urls)}", expected="each server once")
        self._states = [_State() for _ in self._servers]
        self._max_attempts = max(options.max_attempts, len(self._servers))

    @property
    def url(self) -> str:
        """Where they are."""
        return " and ".join(self.urls)

    @property
    def version(self) -> str:
        """The client's version."""
        return self._servers[0].version

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[list[AsyncOpenAI]]:
        """A client for each server, closed at the end of the block."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(server.connect()) for server in self._servers]

    async def complete(self, clients: Sequence[AsyncOpenAI], body: dict[str, Any], key: str) -> Answer:
        """The answer to one request.

        Its first server follows from the key. Of several, each try goes to the next one that is up, and waits only
        once all of these have failed.

        Args:
            clients: of `connect`.
            body: the JSON body.
            key: of the request's first sample.

        Raises:
            TransientError: the last attempt failed too.
            RejectedError: the server will not answer this request.
            MissingResourceError: nothing listens there, or none will answer any request of this kind.
        """
        if len(self._servers) == 1:
            return await self._servers[0].complete(clients[0], body)
        first = zlib.crc32(key.encode()) % len(self._servers)
        order = [(first + place) % len(self._servers) for place in range(len(self._servers))]
        tried: set[int] = set()
        error: Exception | None = None
        rounds = 0
        for _ in range(self._max_attempts):
            at = self._next(order, tried)
            if at is None:
                rounds += 1
                await asyncio.sleep(backoff_s(rounds, 0.5))
                tried = set()
                at = self._next(order, tried)
                assert at is not None
            tried.add(at)
            try:
                answer = await self._servers[at].send(clients[at], body)
            except TransientError as fault:
                error = fault
                self._failed(at, fault)
            except MissingResourceError as fault:
                self._refuse(at, fault)
            else:
                self._states[at] = _State()
                return answer
        assert error is not None
        raise self._gone(error) or error

    def _next(self, order: Sequence[int], tried: set[int]) -> int | None:
        """The server to ask: the first that is up and was not tried yet; where all rest, the one that rests least.

        None where those that are up were all tried.

        Raises:
            MissingResourceError: all were given up.
        """
        now = time.monotonic()
        usable = [at for at in order if self._states[at].refused is None]
        if not usable:
            raise next(state.refused for state in self._states if state.refused)
        up = [at for at in usable if self._states[at].rests_until <= now]
        if not up and not tried:
            return min(usable, key=lambda at: self._states[at].rests_until)
        return next((at for at in up if at not in tried), None)

    def _failed(self, at: int, fault: TransientError) -> None:
        state, now = self._states[at], time.monotonic()
        state.failures += 1
        state.unreachable = isinstance(fault, UnreachableError)
        rest = min(fault.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
        if state.unreachable or state.failures >= FAILURES_IN_A_ROW:
            rest = max(rest, REST_S)
        if rest and state.rests_until <= now:
            logger.warning("%s: %s; its requests go to the others for %.0f s", self.urls[at], fault, rest)
        state.rests_until = max(state.rests_until, now + rest)

    def _refuse(self, at: int, fault: MissingResourceError) -> None:
        """Gives a server up for good; the last one's refusal is everybody's."""
        if self._states[at].refused is None:
            self._states[at].refused = fault
            logger.warning("%s; the other servers are asked in its place", fault.found)
        if all(state.refused for state in self._states):
            raise fault

    def _gone(self, error: Exception) -> MissingResourceError | None:
        """The error where no server is left that could be reached."""
        if not all(state.unreachable or state.refused for state in self._states):
            return None
        return MissingResourceError(
            f"no server at {self.url} ({error})",
            expected="OpenAI-compatible servers that are running",
            remedy="start them, or --generator.api.base_urls where they are",
        )
