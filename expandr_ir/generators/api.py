"""Any OpenAI-compatible server: many requests in flight, several samples a request, a budget of tokens."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import PartlyDoneError
from expandr_ir.generators.base import identify
from expandr_ir.generators.completions import Servers
from expandr_ir.records import Generation, GenerationRequest, Message, SampleKey

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")

logger = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 4
FIRST_ANSWER_S = 3.0  # errors of accounts, keys and models come sooner


class ApiGenerator:
    """At most `max_in_flight` requests under way, each for up to `samples_per_request` samples.

    Until the first one is answered, but no longer than `FIRST_ANSWER_S`, the others wait: an account without money, a
    wrong key, a missing model or a field that the server refuses are learnt from one request.
    A server that answers with fewer texts than it should is asked for one at a time from then on. A request carries the
    seed of its first sample; a server may do anything with a seed.

    Raises:
        InputError: a base URL or the key cannot be used, or there are several kinds of base URLs.
        MissingResourceError: the server is OpenAI's and there is no key.
        NotInstalledError: the openai package is missing.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        self.id = identify(config)
        self._options, self._servers = config.api, Servers(config)
        self.addresses = self._servers.addresses
        self._per_request = config.api.samples_per_request
        self._tokens_spent = 0
        self._wall_time = WallTime()
        self._is_known = False  # the server has answered

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields Generations as they arrive; what fails after `max_attempts` tries is an error of its own.

        Raises:
            MissingResourceError: no server, no such model, a key that is refused, or a quota that is used up.
            GeneratorChangedError: the server refuses a field that changes the text; `id` is another one now.
            PartlyDoneError: `max_total_tokens` is spent; what was in flight then has still been yielded.
        """
        return iterate(lambda emit: self._answer_all(requests, emit))

    async def _answer_all(self, requests: Sequence[GenerationRequest], emit: Callable[[Generation], None]) -> None:
        slots = asyncio.Semaphore(self._options.max_in_flight)
        budget = self._options.max_total_tokens
        texts: list[list[str]] = [[] for _ in requests]
        unsent = 0
        first_answer = asyncio.Event()
        others_start_s = asyncio.get_running_loop().time() + FIRST_ANSWER_S
        is_first = not self._is_known

        async def answer(place: int, samples: Sequence[SampleKey]) -> None:
            nonlocal unsent, is_first
            async with slots:
                if is_first or self._is_known:
                    is_first = False
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(others_start_s):
                            await first_answer.wait()
                if budget is not None and self._tokens_spent >= budget:
                    unsent += len(samples)
                    return
                generations = await self._answer(clients, requests[place], samples[: self._per_request])
            self._is_known = True
            first_answer.set()
            for generation in generations:
                emit(generation)
            texts[place] += [generation.text for generation in generations if generation.error is None]
            answer_later(place, samples[len(generations) :])

        def answer_later(place: int, samples: Sequence[SampleKey]) -> None:
            for start in range(0, len(samples), self._per_request):
                tasks.create_task(answer(place, samples[start : start + self._per_request]))

        try:
            async with self._servers.connect() as clients, asyncio.TaskGroup() as tasks:
                for place, request in enumerate(requests):
                    answer_later(place, request.samples)
        except BaseExceptionGroup as errors:
            self.id = identify(self._servers.config)
            raise errors.exceptions[0] from None
        several = [
            texts[at] for at, request in enumerate(requests) if len(texts[at]) > 1 and request.decoding.temperature
        ]
        if several and all(len({*samples}) == 1 for samples in several):
            logger.warning("all samples of each prompt are equal: the server ignores the temperature or the seed")
        if unsent:
            raise PartlyDoneError(
                f"the budget of {budget} tokens is spent ({self._tokens_spent} used): {unsent} samples are not written",
                remedy="the same command with a larger --generator.api.max_total_tokens; the texts so far are kept",
            )

    async def _answer(
        self, clients: Sequence[AsyncOpenAI], request: GenerationRequest, samples: Sequence[SampleKey]
    ) -> list[Generation]:
        """Returns the generations of the first samples, of one at least; of all of them where the request failed."""
        begun = self._wall_time.count(1)
        try:
            generations = await self._servers.complete(clients, request, samples)
        finally:
            seconds = self._wall_time.count(-1) - begun
        generations = [replace(generation, seconds=seconds / len(generations)) for generation in generations]
        if len(generations) < len(samples) and self._per_request > 1:
            self._per_request = 1
            logger.warning(
                "%s was asked for %d texts and wrote %d: it is asked for one at a time from here on",
                *(self._servers.name, len(samples), len(generations)),
            )
        tokens_in = generations[0].tokens_in
        if tokens_in is None and any(generation.error is None for generation in generations):
            tokens_in = self.count_tokens(request.messages)
        self._tokens_spent += tokens_in or 0
        for generation in generations:
            tokens_out = generation.tokens_out
            self._tokens_spent += len(generation.text) // CHARACTERS_PER_TOKEN if tokens_out is None else tokens_out
        return generations

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Returns an estimate, since the tokenizer is the server's: four characters a token, four tokens a message."""
        return sum(4 + len(message.content) // CHARACTERS_PER_TOKEN for message in messages)

    def close(self) -> None:
        """Nothing is held: every `generate` has connections of its own."""


class WallTime:
    """Wall time, shared out evenly over the requests under way: the shares of all requests add up to it."""

    def __init__(self) -> None:
        self._under_way, self._each, self._since = 0, 0.0, 0.0

    def count(self, change: int) -> float:
        """Counts a request that begins (1) or ends (-1); its share is the difference of the two results."""
        now = time.perf_counter()
        self._each += (now - self._since) / self._under_way if self._under_way else 0.0
        self._since, self._under_way = now, self._under_way + change
        return self._each


def iterate(produce: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]]) -> Iterator[T]:
    """Yields the items that a coroutine emits in a thread of its own, as they come; its error is raised after the last.

    Its event loop is its own, so the caller may be inside a running one (a notebook). Closing the iterator cancels the
    coroutine and waits until its thread has ended.
    """
    items: queue.SimpleQueue[T | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(produce(items.put))
    task.add_done_callback(lambda _: items.put(None))

    def drive() -> None:
        loop.run_until_complete(asyncio.wait([task]))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())

    thread = threading.Thread(target=drive, name="expandr-generator", daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not None:
            yield item
    finally:
        loop.call_soon_threadsafe(task.cancel)  # does nothing to a task that is done
        thread.join()
        loop.close()
    task.result()
