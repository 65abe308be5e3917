"""The chat-completions protocol: servers, requests with their retries, answers and faults.

Fields are those of OpenAI's API reference ("Create chat completion"); vLLM, transformers serve, llama.cpp and others
speak it with the differences that are named where they matter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import re
import time
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError
from expandr_ir.generators.base import GeneratorChangedError, failure, identify, template_arguments, version_at
from expandr_ir.generators.faults import (
    Fault,
    better_address,
    proxy_for,
    read_fault,
    read_retry_after,
    refused_field,
    server_name,
)
from expandr_ir.generators.replies import Reply, judge, provider_fault
from expandr_ir.io.files import is_web_address, parse_json
from expandr_ir.masking import mask, read_secret, register
from expandr_ir.records import Decoding, Generation, GenerationRequest, SampleKey
from expandr_ir.runtime import require

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"  # the client refuses an empty one
FIRST_WAIT_S = 0.5
LONGEST_BACKOFF_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0
REASONING_FIELDS = ("reasoning", "reasoning_content", "reasoning_details", "thinking")
MOST_TOKENS = 2**53  # that a float counts exactly

EMULATED = {"max_tokens", "n", "seed", "stop"}
"""Fields that a server may refuse and texts stay of the same distribution: the limit of tokens has another name there,
n is asked for one at a time, seeds are best effort anyway, and stop texts are cut off here. They change no key."""
CHANGING = {"temperature", "top_p", "repetition_penalty"}
"""Fields without which texts are of another distribution: they get the key of `extra_body: {FIELD: null}`, which is
what a user would have set."""

logger = logging.getLogger(__name__)


class Servers:
    """The servers of one model, usually one.

    Attributes:
        config: the generator's; a field that changes texts and is refused is taken away in its `extra_body`.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        self._openai = require("openai")
        self.config, options = config, config.api
        self._version = f"openai {self._openai.__version__}"
        if options.base_url and options.base_urls:
            raise InputError("both api.base_url and api.base_urls", expected="one of them")
        urls = options.base_urls or [options.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL]
        self._urls = [url.strip().rstrip("/") for url in urls]
        self.addresses = [mask(url) for url in self._urls]
        self.name = " and ".join(self.addresses)
        self._user_fields = {*options.extra_body}  # sent whatever the server says of them
        self._replacements: dict[str, str | None] = {}  # of refused fields of EMULATED; None: nothing is sent
        if len({*self._urls}) < len(self._urls):
            raise InputError(f"api.base_urls are {self.name}", expected="each server once")
        self._key = read_key(options.api_key_env)
        for url in self._urls:
            check_address(url)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[list[AsyncOpenAI]]:
        """Yields a client for each server; they share their connections."""
        # Only here: what is stored is read, and a dry run counts, without a key.
        for url in self._urls:
            require_key(url, self._key, self.config.api.api_key_env)
        # The client's own retries are off: they pass over answers that are broken in the middle, and over a
        # Retry-After of more than two minutes. Its timeout is off, too: it begins again with each byte.
        try:
            make, key = self._openai.AsyncOpenAI, self._key or NO_KEY
            client = make(base_url=OPENAI_URL, api_key=key, max_retries=0, timeout=None)
        except ImportError as error:  # of the HTTP library, for SOCKS
            remedy = "pip install 'httpx[socks]', or unset the proxy"
            raise NotInstalledError(f"the proxy {_proxies()} needs another package: {error}", remedy=remedy) from error
        except ValueError as error:
            raise InputError(
                f"the proxy {_proxies()} cannot be used: {error}",
                expected="http://, https://, socks5:// or socks5h:// in HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",
                remedy="another one, or unset it",
            ) from error
        async with client:
            yield [client.with_options(base_url=url) for url in self._urls]

    async def complete(
        self, clients: Sequence[AsyncOpenAI], request: GenerationRequest, samples: Sequence[SampleKey]
    ) -> list[Generation]:
        """Returns generations of the first samples, one at least: a server may write fewer texts than it should.

        The first server follows from the first sample's key, and each retry goes to the next one. A round of all
        servers is followed by a wait. A retry repeats the whole request, so that each sample keeps its seed; texts that
        came before stay. Samples of which every attempt failed get a failure.
        """
        first, servers = zlib.crc32(samples[0].key.encode()), len(clients)
        attempts = max(self.config.api.max_attempts, servers)
        done: dict[str, Generation] = {}
        for attempt in range(1, attempts + 1):
            try:
                client = clients[(first + attempt) % servers]
                text = await self._send(client, request_body(self.config, request, len(samples), samples[0].seed))
                url = str(client.base_url).rstrip("/")
                answers = read_answer(text, samples, request.decoding, self._version, url)
                done = {answer.key: answer for answer in answers if isinstance(answer, Generation)} | done
                faults = [answer for answer in answers if isinstance(answer, Fault)]
                if not faults:
                    return [done[sample.key] for sample in samples[: len(answers)]]
                fault = faults[0]
            except Fault as error:
                fault = error
            wait_s = 0.0 if attempt % servers else max(fault.retry_after_s or 0.0, backoff_s(attempt // servers))
            if fault.retry_after_s is None or wait_s > LONGEST_RETRY_AFTER_S or attempt == attempts:
                break
            await asyncio.sleep(wait_s)
        if fault.unreachable:
            is_behind_proxy = any(map(proxy_for, self._urls))
            raise MissingResourceError(
                f"no server at {self.name} after {attempt} attempts ({fault.reason})",
                expected="an OpenAI-compatible server that is running" + ", and so is the proxy" * is_behind_proxy,
                remedy=f"export NO_PROXY={urlsplit(self._urls[0]).hostname}, for a server that needs no proxy"
                if is_behind_proxy
                else "start it, or --generator.api.base_url where it is",
            )
        failures = {
            sample.key: failure(sample.key, fault.reason, self._version, finish_reason=fault.finish_reason)
            for sample in samples
        }
        return [*(failures | done).values()]

    async def _send(self, client: AsyncOpenAI, body: dict[str, Any]) -> str:
        """Returns the answer's body after one attempt; a field that the server refuses by name is no attempt."""
        url, timeout_s = str(client.base_url).rstrip("/"), self.config.api.timeout_s
        names = {name: self._replacements.get(name, name) for name in body if name not in {"model", "messages"}}
        fields = {sent: body[name] for name, sent in names.items() if sent}
        try:
            async with asyncio.timeout(timeout_s):
                response = await client.chat.completions.with_raw_response.create(
                    model=body["model"], messages=body["messages"], extra_body=fields
                )
        except TimeoutError as error:
            raise Fault(f"{server_name(mask(url))} did not answer within {timeout_s:g} s") from error
        except self._openai.APIStatusError as error:
            removable = (EMULATED | CHANGING) & fields.keys() - self._user_fields
            if error.status_code in {400, 422} and (name := refused_field(error.body, removable)):
                self._leave_out(name, mask(url), str(error.body))
                return await self._send(client, body)
            retry_after_s = read_retry_after(error.response.headers.get("retry-after"), time.time())
            fault = read_fault(error.status_code, error.body, mask(url), retry_after_s)
            raise fault from None  # the cause's text is the server's, unmasked
        except self._openai.APIConnectionError as error:
            cause = error.__cause__
            refused = type(cause).__name__ in {"ConnectError", "ProxyError"}  # httpx or httpx2
            found = f"connection to {server_name(mask(url))} failed: {mask(repr(cause))}"
            raise Fault(found, unreachable=refused) from error
        return response.http_response.text

    def _leave_out(self, name: str, url: str, message: str) -> None:
        """Sends no such field from here on, and says so once.

        Raises:
            GeneratorChangedError: texts without it are other texts, which have other keys.
        """
        if name in EMULATED and name not in self._replacements:
            named = re.search(r"max_(?:completion|output|new)_tokens", message)
            sent = (named[0] if named else "max_completion_tokens") if name == "max_tokens" else None
            self._replacements[name] = sent
            logger.warning("%s refuses %s: %s from here on", url, name, f"it gets {sent}" if sent else "it is left out")
        if name in CHANGING:
            extra_body = self.config.api.extra_body | {name: None}
            self.config = replace(self.config, api=replace(self.config.api, extra_body=extra_body))
            option = f"--generator.api.extra_body '{json.dumps(extra_body)}'"
            logger.warning("%s refuses %s: it is left out from here on, as with %s", url, name, option)
            raise GeneratorChangedError(
                f"{url} refuses {name}: texts without it have keys of their own",
                expected=f"requests for {identify(self.config)}",
                remedy=option,
            )


def _proxies() -> str:
    """The proxies that the environment names for http and https, masked."""
    return " and ".join(sorted({proxy for scheme in ("http", "https") if (proxy := proxy_for(f"{scheme}://x"))}))


def read_key(variable: str | None) -> str:
    """Returns the key in an environment variable, checked; "" for none."""
    key = read_secret(variable) if variable else ""
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"the key in the environment variable {variable} has characters that HTTP cannot carry",
            expected="printable ASCII characters, in one line",
            remedy=f"set {variable} again, to the key alone",
        )
    return key


def check_address(address: str) -> None:
    """Refuses a base URL that is none; a password in it is masked from then on."""
    if not is_web_address(address):
        raise InputError(f"api.base_url is {mask(address)!r}", expected="a URL such as http://localhost:8000/v1")
    parts = urlsplit(address)
    if parts.password:
        register(unquote(parts.password))
        register(b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password)}".encode()).decode())


def require_key(address: str, key: str, variable: str | None) -> None:
    """Refuses OpenAI's address without a key."""
    if not key and urlsplit(address).hostname == urlsplit(OPENAI_URL).hostname:
        fault = f"the environment variable {variable} is not set" if variable else "api.api_key_env names no variable"
        raise MissingResourceError(
            f"there is no key for {mask(address)}: {fault}",
            remedy=f"export {variable or 'OPENAI_API_KEY'}=..., or --generator.api.base_url of your own",
        )


def backoff_s(attempt: int) -> float:
    """Returns the seconds to wait after an attempt (from 1): min(30, .5 * 2^(attempt - 1)), half of it random.

    "Equal jitter" of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """
    longest = min(LONGEST_BACKOFF_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30))
    return longest * (1 + random.random()) / 2  # noqa: S311


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
    body |= template_arguments(config) | config.api.extra_body
    return {name: value for name, value in body.items() if value is not None}


def read_answer(
    text: str, samples: Sequence[SampleKey], decoding: Decoding, client_version: str, url: str
) -> list[Generation | Fault]:
    """Returns a generation for each text of an answer, or the fault that may pass.

    Written tokens are shared out evenly; the seconds are the caller's to fill in.
    """
    answers: list[Generation | Fault] = []
    try:
        body = parse_json(text)
        if not body.get("choices") and (error := body.get("error")):  # with status 200, as OpenRouter and LM Studio do
            code = error.get("code") if isinstance(error, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            raise read_fault(status, error, mask(url), in_body=True)
        usage, choices = body.get("usage") or {}, body["choices"]
        tokens_in, tokens_out = (read_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        names = [str(name) for name in (body.get("model"), body.get("system_fingerprint")) if name]
        version, n = mask(", ".join([version_at(client_version, url), *names])), len(choices)
        for place, (sample, choice) in enumerate(zip(samples, choices, strict=False)):
            verdict = judge(read_choice(choice, tokens_out is not None), decoding)
            share = None if tokens_out is None else tokens_out // n + (place < tokens_out % n)
            cost = (tokens_in, share, 0.0)
            generation = Generation(sample.key, verdict.text, verdict.finish_reason, *cost, version, verdict.error)
            answers.append(Fault(verdict.error or "") if verdict.may_pass else generation)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fault(
            f"the answer of {_server_at(url)} is no chat completion ({error!r}): {mask(text)[:200]!r}"
        ) from error
    if not answers:
        raise Fault(f"the answer of {_server_at(url)} has no choices: {mask(text)[:200]!r}")
    return answers


def read_count(count: object) -> int | None:
    """Returns a number of tokens; None for what can be none."""
    return int(count) if isinstance(count, int | float) and 0 <= count < MOST_TOKENS else None


def _server_at(url: str) -> str:
    """The server in an error about what it sends, with the address to try where this one looks wrong."""
    better = better_address(mask(url))
    return server_name(mask(url)) + (f" (try {better})" if better else "")


def read_choice(choice: dict[str, Any], has_counts: bool = True) -> Reply:
    """Returns a choice of an answer as a reply; content may be a list of parts, and reasoning has several names."""
    message = choice["message"]
    content, has_reasoning = message.get("content"), any(message.get(name) for name in REASONING_FIELDS)
    if isinstance(content, list):  # Mistral: {"type": "thinking", ...}, {"type": "text", "text": ...}
        has_reasoning |= any(part.get("type") in {"thinking", "reasoning"} for part in content)
        content = "".join([part["text"] for part in content if part.get("type") == "text"])
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is a {type(content).__name__}")
    calls = [*(message.get("tool_calls") or ()), *filter(None, [message.get("function_call")])]
    error = choice.get("error")
    return Reply(
        content,
        choice.get("finish_reason"),
        error=str(error) if error else provider_fault(choice.get("native_finish_reason")),
        refusal=message.get("refusal") and str(message["refusal"]),
        tool=next((str((call.get("function") or call).get("name") or call) for call in calls), None),
        has_reasoning=has_reasoning,
        has_counts=has_counts,
    )
