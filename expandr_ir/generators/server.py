"""One OpenAI-compatible server: where it is, the key it gets, and one request with its retries."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from expandr_ir.config import ApiOptions
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators.base import require
from expandr_ir.generators.completions import Answer, read_answer, read_fault
from expandr_ir.generators.retry import TransientError, read_retry_after, with_retries

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"  # the client refuses an empty one


class UnreachableError(TransientError):
    """Nothing listens at the server's address."""


class Server:
    """A server's address and key, and how patient one is with it.

    The openai client's own retries are switched off: they pass over answers that are broken in the middle, and over a
    Retry-After of more than two minutes.

    Raises:
        InputError: the base URL is none.
        MissingResourceError: the server is OpenAI's and there is no key.
        NotInstalledError: the openai package is missing.
    """

    def __init__(self, options: ApiOptions) -> None:
        self._openai = require("openai")
        self._options = options
        self.version = f"openai {self._openai.__version__}"
        self.url = (options.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InputError(f"api.base_url is {self.url!r}", expected="a URL such as http://localhost:8000/v1")
        self._key = os.environ.get(options.api_key_env, "") if options.api_key_env else ""
        if not self._key and parts.hostname == urlsplit(OPENAI_URL).hostname:
            raise MissingResourceError(
                f"there is no key for {self.url}: the environment variable {options.api_key_env} is not set",
                remedy=f"export {options.api_key_env or 'OPENAI_API_KEY'}=..., or --generator.api.base_url of your own",
            )

    def connect(self) -> AsyncOpenAI:
        """A client for `complete`, to be closed by the caller."""
        client: AsyncOpenAI = self._openai.AsyncOpenAI(
            base_url=self.url, api_key=self._key or NO_KEY, max_retries=0, timeout=None
        )
        return client

    async def complete(self, client: AsyncOpenAI, body: dict[str, Any]) -> Answer:
        """The answer to one request, tried at most `max_attempts` times of `timeout_s` seconds each.

        Args:
            client: of `connect`.
            body: the JSON body.

        Raises:
            TransientError: the last attempt failed too.
            RejectedError: the server will not answer this request.
            MissingResourceError: nothing listens there, or it will not answer any request of this kind.
        """
        try:
            return await with_retries(lambda: self.send(client, body), max_attempts=self._options.max_attempts)
        except UnreachableError as error:
            raise MissingResourceError(
                f"no server at {self.url} after {self._options.max_attempts} attempts ({error})",
                expected="an OpenAI-compatible server that is running",
                remedy="start it, or --generator.api.base_url where it is",
            ) from error

    async def send(self, client: AsyncOpenAI, body: dict[str, Any]) -> Answer:
        """The answer to one request, tried once.

        Raises:
            TransientError: it may pass; UnreachableError where nothing listens.
            RejectedError, MissingResourceError: as `complete`.
        """
        fields = {name: value for name, value in body.items() if name not in {"model", "messages"}}
        try:
            async with asyncio.timeout(self._options.timeout_s):
                response = await client.chat.completions.with_raw_response.create(
                    model=body["model"], messages=body["messages"], extra_body=fields
                )
        except TimeoutError as error:
            raise TransientError(f"{self.url} did not answer within {self._options.timeout_s:g} s") from error
        except self._openai.APIStatusError as error:
            raise self._fault(error) from error
        except self._openai.APIConnectionError as error:
            cause = error.__cause__
            kind = UnreachableError if type(cause).__name__ == "ConnectError" else TransientError  # httpx or httpx2
            raise kind(f"connection to {self.url} failed: {cause!r}") from error
        return read_answer(response.http_response.text)

    def _fault(self, error: APIStatusError) -> Exception:
        response = error.response
        text = response.text.replace(self._key, "***") if self._key else response.text
        retry_after_s = read_retry_after(response.headers.get("retry-after"), time.time())
        return read_fault(response.status_code, text, retry_after_s, self.url)
