"""The chat-completions protocol: servers, requests with their retries, answers and faults.

Fields are those of OpenAI's API reference ("Create chat completion"); vLLM, transformers serve, llama.cpp and others
speak it with the differences that are named where they matter.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from expandr_ir.config import ApiOptions, GeneratorConfig
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators.base import cut_at_stop, failure
from expandr_ir.io.files import parse_json
from expandr_ir.masking import mask, read_secret, register
from expandr_ir.records import FinishReason, Generation, GenerationRequest, SampleKey
from expandr_ir.runtime import require

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"  # the client refuses an empty one
FIRST_WAIT_S = 0.5
LONGEST_BACKOFF_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0


@dataclass(eq=False)
class Fault(Exception):  # noqa: N818
    """A failed attempt: the reason, and the seconds until the next one may come (None: never, it is this request's)."""

    reason: str
    retry_after_s: float | None = 0.0
    finish_reason: Literal["refused", "error"] = "error"
    unreachable: bool = False


class Servers:
    """The servers of one model, usually one."""

    def __init__(self, config: GeneratorConfig) -> None:
        self._openai = require("openai")
        self._config, options = config, config.api
        self._version = f"openai {self._openai.__version__}"
        if options.base_url and options.base_urls:
            raise InputError("both api.base_url and api.base_urls", expected="one of them")
        urls = options.base_urls or [options.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL]
        self._urls = [url.strip().rstrip("/") for url in urls]
        self.name = mask(" and ".join(self._urls))
        if len({*self._urls}) < len(self._urls):
            raise InputError(f"api.base_urls are {self.name}", expected="each server once")
        self._key = read_key(options, self._urls)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[list[AsyncOpenAI]]:
        """Yields a client for each server; they share their connections."""
        # The client's own retries are off: they pass over answers that are broken in the middle, and over a
        # Retry-After of more than two minutes. Its timeout is off, too: it begins again with each byte.
        make = self._openai.AsyncOpenAI
        async with make(base_url=OPENAI_URL, api_key=self._key or NO_KEY, max_retries=0, timeout=None) as client:
            yield [client.with_options(base_url=url) for url in self._urls]

    async def complete(
        self, clients: Sequence[AsyncOpenAI], request: GenerationRequest, samples: Sequence[SampleKey]
    ) -> list[Generation]:
        """Returns generations of the first samples, one at least: a server may write fewer texts than it should.

        The first server follows from the first sample's key, and each retry goes to the next one. A round of all
        servers is followed by a wait. Where every attempt failed, all samples get a failure.
        """
        body = request_body(self._config, request, len(samples), samples[0].seed)
        first, servers = zlib.crc32(samples[0].key.encode()), len(clients)
        attempts, started = max(self._config.api.max_attempts, servers), time.perf_counter()
        for attempt in range(1, attempts + 1):
            try:
                text = await self._send(clients[(first + attempt) % servers], body)
                return read_answer(text, samples, request.decoding.stop, self._version, time.perf_counter() - started)
            except Fault as error:
                fault = error
            wait_s = 0.0 if attempt % servers else max(fault.retry_after_s or 0.0, backoff_s(attempt // servers))
            if fault.retry_after_s is None or wait_s > LONGEST_RETRY_AFTER_S or attempt == attempts:
                break
            await asyncio.sleep(wait_s)
        if fault.unreachable:
            raise MissingResourceError(
                f"no server at {self.name} after {attempt} attempts ({fault.reason})",
                expected="an OpenAI-compatible server that is running",
                remedy="start it, or --generator.api.base_url where it is",
            )
        reason, seconds = fault.finish_reason, (time.perf_counter() - started) / len(samples)
        return [
            failure(sample.key, fault.reason, self._version, finish_reason=reason, seconds=seconds)
            for sample in samples
        ]

    async def _send(self, client: AsyncOpenAI, body: dict[str, Any]) -> str:
        """Returns the answer's body after one attempt."""
        url, timeout_s = mask(str(client.base_url).rstrip("/")), self._config.api.timeout_s
        fields = {name: value for name, value in body.items() if name not in {"model", "messages"}}
        try:
            async with asyncio.timeout(timeout_s):
                response = await client.chat.completions.with_raw_response.create(
                    model=body["model"], messages=body["messages"], extra_body=fields
                )
        except TimeoutError as error:
            raise Fault(f"{url} did not answer within {timeout_s:g} s") from error
        except self._openai.APIStatusError as error:
            raise read_fault(error, url, time.time()) from None  # its text is the server's, unmasked
        except self._openai.APIConnectionError as error:
            cause = error.__cause__
            refused = type(cause).__name__ == "ConnectError"  # httpx or httpx2
            raise Fault(f"connection to {url} failed: {cause!r}", unreachable=refused) from error
        return response.http_response.text


def read_key(options: ApiOptions, addresses: Sequence[str]) -> str:
    """Returns the key, "" for none, after a check of it and of the servers' addresses."""
    key = read_secret(options.api_key_env) if options.api_key_env else ""
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"the key in the environment variable {options.api_key_env} has characters that HTTP cannot carry",
            expected="printable ASCII characters, in one line",
            remedy=f"set {options.api_key_env} again, to the key alone",
        )
    for address in addresses:
        parts = urlsplit(address)
        if parts.password:
            register(unquote(parts.password))
            register(b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password)}".encode()).decode())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InputError(f"api.base_url is {mask(address)!r}", expected="a URL such as http://localhost:8000/v1")
        if not key and parts.hostname == urlsplit(OPENAI_URL).hostname:
            raise MissingResourceError(
                f"there is no key for {mask(address)}: the environment variable {options.api_key_env} is not set",
                remedy=f"export {options.api_key_env or 'OPENAI_API_KEY'}=..., or --generator.api.base_url of your own",
            )
    return key


def backoff_s(attempt: int) -> float:
    """Returns the seconds to wait after an attempt (from 1): min(30, .5 * 2^(attempt - 1)), half of it random.

    "Equal jitter" of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """
    longest = min(LONGEST_BACKOFF_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30))
    return longest * (1 + random.random()) / 2  # noqa: S311


def read_retry_after(header: str | None, now: float) -> float:
    """Returns the seconds that a Retry-After header asks for (RFC 9110, 10.2.3), a number or a date; else 0."""
    with suppress(ValueError):
        return max(0.0, float(header or 0))
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - now)
    return 0.0


def request_body(config: GeneratorConfig, request: GenerationRequest, n: int, seed: int) -> dict[str, Any]:
    """Returns the JSON body of a request for n samples; null in `api.extra_body` takes a field away."""
    decoding = request.decoding
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "max_tokens": decoding.max_new_tokens,
        "seed": seed,
        "n": n if n > 1 else None,
        "stop": list(decoding.stop) or None,
        # no field of OpenAI's, so it is sent only where it does something
        "repetition_penalty": decoding.repetition_penalty if decoding.repetition_penalty != 1.0 else None,
    }
    return {name: value for name, value in {**body, **config.api.extra_body}.items() if value is not None}


def read_answer(
    text: str, samples: Sequence[SampleKey], stop: Sequence[str], client_version: str, seconds: float
) -> list[Generation]:
    """Returns a generation for each text of an answer; time and written tokens are shared out evenly."""
    generations = []
    try:
        body = parse_json(text)
        usage, choices = body.get("usage") or {}, body["choices"]
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        tokens_in, tokens_out = [None if count is None else int(count) for count in counts]
        names = [str(name) for name in (body.get("model"), body.get("system_fingerprint")) if name]
        version, n = mask(", ".join([client_version, *names])), len(choices)
        for place, (sample, choice) in enumerate(zip(samples, choices, strict=False)):
            content, reason, refusal = _read_choice(choice, stop)
            share = None if tokens_out is None else tokens_out // n + (place < tokens_out % n)
            cost = (tokens_in, share, seconds / n)
            generations.append(Generation(sample.key, content, reason, *cost, version, refusal))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fault(f"the answer is no chat completion ({error!r}): {mask(text)[:200]!r}") from error
    if not generations:
        raise Fault(f"the answer has no choices: {mask(text)[:200]!r}")
    return generations


def _read_choice(choice: dict[str, Any], stop: Sequence[str]) -> tuple[str, FinishReason, str | None]:
    """Returns text, finish reason and refusal. Some servers leave the stop text in: it is cut off."""
    message, reason = choice["message"], choice.get("finish_reason")
    if message.get("refusal") or reason == "content_filter":
        return "", "refused", mask(str(message.get("refusal") or "content filter"))
    content = message.get("content") or ""
    if not isinstance(content, str):
        raise TypeError(f"content is a {type(content).__name__}")
    text = cut_at_stop(content, stop)
    return text, "length" if reason == "length" and text == content else "stop", None


def read_fault(error: APIStatusError, url: str, now: float) -> Exception:
    """Returns the exception to raise for an HTTP error.

    408, 409, 429 and 5xx may pass; 401, 403, 404 and a used-up quota end everything (MissingResourceError); the rest,
    such as 400 and 422, is about one request.
    """
    body, status = error.body, error.status_code
    details = body if isinstance(body, dict) else {}
    message, code = details.get("message") or details.get("detail") or body, details.get("code")
    found = f"{url} answered {status}: {mask(str(message))[:300]}"
    if status in {401, 403}:
        expected, remedy = "a key this server accepts", "set the environment variable that api.api_key_env names"
        return MissingResourceError(found, expected=expected, remedy=remedy)
    if status == 404:
        return MissingResourceError(
            found,
            expected="a model this server has, at a base URL that ends where /chat/completions begins",
            remedy=f"curl {url}/models; then --generator.model or --generator.api.base_url",
        )
    if code == "insufficient_quota":
        return MissingResourceError(found, expected="an account with quota left", remedy="check the plan and billing")
    if status in {408, 409, 429} or status >= 500:
        return Fault(found, read_retry_after(error.response.headers.get("retry-after"), now))
    return Fault(found, None, "refused" if code == "content_filter" else "error")
