"""Any OpenAI-compatible server: many requests in flight, several samples a request, a budget of tokens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import PartlyDoneError
from expandr_ir.generators.background import iterate
from expandr_ir.generators.base import cut_at_stop, failure
from expandr_ir.generators.completions import Answer, RejectedError, request_body
from expandr_ir.generators.identity import identify
from expandr_ir.generators.retry import TransientError
from expandr_ir.generators.servers import Servers
from expandr_ir.records import Generation, GenerationRequest, Message, SampleKey

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 4


class ApiGenerator:
    """At most `max_in_flight` requests under way, each for up to `samples_per_request` samples.

    A server that answers with fewer texts than it was asked for is asked for one at a time from then on. A request
    carries the seed of its first sample; what a server makes of a seed is its own affair.

    Raises:
        InputError: a base URL is none, or there are several kinds of them.
        MissingResourceError: the server is OpenAI's and there is no key.
        NotInstalledError: the openai package is missing.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        self.id = identify(config, {"extra_body": config.api.extra_body} if config.api.extra_body else None)
        self._config = config
        self._server = Servers(config.api)
        self._at_once = config.api.samples_per_request
        self._tokens_spent = 0

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields Generations as they arrive; what fails after `max_attempts` tries is an error of its own.

        Raises:
            MissingResourceError: no server, no such model, a key that is refused, or a quota that is used up.
            PartlyDoneError: `max_total_tokens` is spent; what was in flight then has still been yielded.
        """
        return iterate(lambda emit: self._answer(requests, emit))

    async def _answer(self, requests: Sequence[GenerationRequest], emit: Callable[[Generation], None]) -> None:
        slots = asyncio.Semaphore(self._config.api.max_in_flight)
        texts: list[list[str]] = [[] for _ in requests]
        unasked = 0

        async def answer(place: int, samples: Sequence[SampleKey]) -> None:
            nonlocal unasked
            async with slots:
                if self._budget_is_spent():
                    unasked += len(samples)
                    return
                done = await self._ask(clients, requests[place], samples[: self._at_once])
            for generation in done:
                emit(generation)
            texts[place] += [generation.text for generation in done if generation.error is None]
            answer_later(place, samples[len(done) :])

        def answer_later(place: int, samples: Sequence[SampleKey]) -> None:
            for start in range(0, len(samples), self._at_once):
                tasks.create_task(answer(place, samples[start : start + self._at_once]))

        try:
            async with self._server.connect() as clients, asyncio.TaskGroup() as tasks:
                for place, request in enumerate(requests):
                    answer_later(place, request.samples)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        _warn_of_copies(requests, texts)
        if unasked:
            raise PartlyDoneError(
                f"the budget of {self._config.api.max_total_tokens} tokens is spent ({self._tokens_spent} used): "
                f"{unasked} samples were not asked for",
                remedy="again, with a larger --generator.api.max_total_tokens; what was written is kept",
            )

    def _budget_is_spent(self) -> bool:
        budget = self._config.api.max_total_tokens
        return budget is not None and self._tokens_spent >= budget

    async def _ask(
        self, clients: Sequence[AsyncOpenAI], request: GenerationRequest, samples: Sequence[SampleKey]
    ) -> list[Generation]:
        """The generations of the first samples, of one at least; of all of them where the request failed."""
        body = request_body(self._config, request.messages, request.decoding, len(samples), samples[0].seed)
        started = time.perf_counter()
        try:
            answer = await self._server.complete(clients, body, samples[0].key)
        except (TransientError, RejectedError) as error:
            reason = error.finish_reason if isinstance(error, RejectedError) else "error"
            seconds = (time.perf_counter() - started) / len(samples)
            return [
                failure(sample.key, str(error), self._server.version, finish_reason=reason, seconds=seconds)
                for sample in samples
            ]
        if len(answer.choices) < len(samples) and self._at_once > 1:
            self._at_once = 1
            logger.warning(
                "%s was asked for %d texts and wrote %d: it is asked for one at a time from here on",
                *(self._server.url, len(samples), len(answer.choices)),
            )
        self._tokens_spent += self._cost(request, answer)
        return self._generations(samples, answer, request.decoding.stop, time.perf_counter() - started)

    def _cost(self, request: GenerationRequest, answer: Answer) -> int:
        """Tokens of an answer, estimated where the server does not count them."""
        read = self.count_tokens(request.messages) if answer.tokens_in is None else answer.tokens_in
        if answer.tokens_out is not None:
            return read + answer.tokens_out
        return read + sum(len(choice.text) for choice in answer.choices) // CHARACTERS_PER_TOKEN

    def _generations(
        self, samples: Sequence[SampleKey], answer: Answer, stop: Sequence[str], seconds: float
    ) -> list[Generation]:
        """A Generation for each choice; time and written tokens are shared out evenly.

        Some servers leave the stop text in: it is cut off here.
        """
        version = ", ".join(filter(None, (self._server.version, answer.version)))
        n = len(answer.choices)
        done = []
        for place, (sample, choice) in enumerate(zip(samples, answer.choices, strict=False)):
            if choice.finish_reason == "refused":
                said = choice.refusal or ""
                done.append(failure(sample.key, said, version, finish_reason="refused", seconds=seconds / n))
                continue
            share = None if answer.tokens_out is None else answer.tokens_out // n + (place < answer.tokens_out % n)
            text = cut_at_stop(choice.text, stop)
            reason = choice.finish_reason if text == choice.text else "stop"
            done.append(Generation(sample.key, text, reason, answer.tokens_in, share, seconds / n, version))
        return done

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate, since the tokenizer is the server's: four characters a token, four tokens around a message."""
        return sum(4 + len(message.content) // CHARACTERS_PER_TOKEN for message in messages)

    def close(self) -> None:
        """Nothing is held: every `generate` has connections of its own."""


def _warn_of_copies(requests: Sequence[GenerationRequest], texts: Sequence[Sequence[str]]) -> None:
    """Warns where every prompt got the same text several times although the temperature is not 0."""
    several = [
        written
        for request, written in zip(requests, texts, strict=True)
        if len(written) > 1 and request.decoding.temperature > 0
    ]
    if several and all(len(set(written)) == 1 for written in several):
        logger.warning("all samples of each prompt are equal: the server ignores the temperature or the seed")
