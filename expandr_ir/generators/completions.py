"""The chat-completions protocol as pure functions: what is sent, what an answer says, what a refusal means.

Fields are those of OpenAI's API reference ("Create chat completion"); vLLM, transformers serve, llama.cpp and others
speak it with the differences that are named where they matter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import MissingResourceError
from expandr_ir.generators.retry import TransientError
from expandr_ir.records import Decoding, Message


class RejectedError(Exception):
    """The server will not answer this request, however often it is asked.

    Args:
        reason: what it said.
        finish_reason: "refused" where its content filter said no.
    """

    def __init__(self, reason: str, finish_reason: Literal["refused", "error"] = "error") -> None:
        self.finish_reason = finish_reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of an answer; `refusal` says why there is none."""

    text: str
    finish_reason: Literal["stop", "length", "refused"]
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered to one request.

    Args:
        choices: its texts, perhaps fewer than were asked for.
        tokens_in: prompt tokens, where it says.
        tokens_out: tokens written in all choices together, where it says.
        version: the model and build it names.
    """

    choices: tuple[Choice, ...]
    tokens_in: int | None
    tokens_out: int | None
    version: str


def request_body(
    config: GeneratorConfig, messages: Sequence[Message], decoding: Decoding, n: int, seed: int
) -> dict[str, Any]:
    """The JSON body of one request.

    Args:
        config: its model name and `api.extra_body`, which goes last; null there takes a field away.
        messages: the rendered prompt.
        decoding: how to sample. The repetition penalty is no field of OpenAI's and sent only where it is not 1.
        n: samples wanted.
        seed: of the first of them.
    """
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "max_tokens": decoding.max_new_tokens,
        "seed": seed,
        "n": n if n > 1 else None,
        "stop": list(decoding.stop) or None,
        "repetition_penalty": decoding.repetition_penalty if decoding.repetition_penalty != 1.0 else None,
    }
    return {name: value for name, value in {**body, **config.api.extra_body}.items() if value is not None}


def read_answer(text: str) -> Answer:
    """The answer in a response's body.

    Raises:
        TransientError: the body is no chat completion with at least one choice.
    """
    try:
        body = json.loads(text)
        choices = tuple(_choice(choice) for choice in body["choices"])
        usage = body.get("usage") or {}
        named = ", ".join(str(name) for name in (body.get("model"), body.get("system_fingerprint")) if name)
        answer = Answer(choices, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), named)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TransientError(f"the answer is no chat completion ({error!r}): {text[:200]!r}") from error
    if not choices:
        raise TransientError(f"the answer has no choices: {text[:200]!r}")
    return answer


def _count(tokens: Any) -> int | None:
    return None if tokens is None else int(tokens)


def _choice(choice: dict[str, Any]) -> Choice:
    message, reason = choice["message"], choice.get("finish_reason")
    if message.get("refusal") or reason == "content_filter":
        return Choice("", "refused", str(message.get("refusal") or "content filter"))
    text = message.get("content") or ""
    if not isinstance(text, str):
        raise TypeError(f"content is a {type(text).__name__}")
    return Choice(text, "length" if reason == "length" else "stop")


def read_fault(status: int, text: str, retry_after_s: float | None, url: str) -> Exception:
    """What an HTTP error means, as the exception to raise.

    408, 409, 429 and 5xx may pass (TransientError); 401, 403, 404 and a used-up quota end everything
    (MissingResourceError); the rest, such as 400 and 422, is about one request (RejectedError).

    Args:
        status: HTTP status, 400 or more.
        text: the response's body.
        retry_after_s: what its Retry-After asks for.
        url: the server, for the message.
    """
    message, code = _message(text)
    said = f"{url} answered {status}: {message}"
    if status in {401, 403}:
        return MissingResourceError(
            said, expected="a key this server accepts", remedy="set the environment variable that api.api_key_env names"
        )
    if status == 404:
        return MissingResourceError(
            said,
            expected="a model this server has, at a base URL that ends where /chat/completions begins",
            remedy=f"curl {url}/models; then --generator.model or --generator.api.base_url",
        )
    if code == "insufficient_quota":
        return MissingResourceError(said, expected="an account with quota left", remedy="check the plan and billing")
    if status in {408, 409, 429} or status >= 500:
        return TransientError(said, retry_after_s)
    return RejectedError(said, "refused" if code == "content_filter" else "error")


def _message(text: str) -> tuple[str, str | None]:
    """What an error's body says, with its code: OpenAI nests both in "error", FastAPI has "detail"."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return text.strip()[:300], None
    error = body.get("error", body)
    if not isinstance(error, dict):
        return str(error)[:300], None
    message = error.get("message") or error.get("detail") or error
    return str(message)[:300], error.get("code")
