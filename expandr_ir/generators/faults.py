"""A server's errors, by what follows: another attempt, a failed request, the command's end, a field left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from expandr_ir.errors import MissingResourceError
from expandr_ir.masking import mask


@dataclass(eq=False)
class Fault(Exception):  # noqa: N818
    """A failed attempt: the reason, and the seconds until the next one may come (None: never, it is this request's)."""

    reason: str
    retry_after_s: float | None = 0.0
    finish_reason: Literal["refused", "error"] = "error"
    unreachable: bool = False


def read_retry_after(header: str | None, now: float) -> float:
    """Returns the seconds that a Retry-After header asks for (RFC 9110, 10.2.3), a number or a date; else 0."""
    with suppress(ValueError):
        return max(0.0, float(header or 0))
    with suppress(ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - now)
    return 0.0


_MONEY = re.compile(r"insufficient[ _](?:quota|balance|credits?|funds)", re.IGNORECASE)
_BILL = re.compile(r"billing|credit balance", re.IGNORECASE)  # Gemini says so of each minute's limit (429), too
_KEY = re.compile(r"(?:invalid|incorrect)[ _]api[ _]key|api key (?:not valid|not found|expired)", re.IGNORECASE)
_MODEL = re.compile(
    r"model[ _]not[ _](?:found|exist)|\bmodel\b.{0,80} (?:does not|doesn't) exist|invalid model name", re.IGNORECASE
)
_FILTER = re.compile(
    r"content[ _](?:filter|policy|exists risk|management)|moderation|(?:was|been) flagged", re.IGNORECASE
)


def read_fault(status: int, error: object, url: str, retry_after_s: float = 0.0, *, in_body: bool = False) -> Exception:
    """Returns the exception to raise for an error that a server answers with.

    No money, a wrong key, a missing model or a wrong address end everything, whatever their status
    (MissingResourceError); 408, 409, 429 and 5xx may pass; the rest, such as 400 and 422, is about one request.
    `in_body`: the status is the error's own, the answer's is 200.
    """
    details = error if isinstance(error, dict) else {}
    message = str(details.get("message") or details.get("detail") or error)
    words = f"{details.get('code')} {details.get('type')} {message}" if status < 500 else ""
    found = f"{server_name(url)} answered {'with an error' if in_body else status}: {mask(message)[:300]}"
    if _FILTER.search(words):
        return Fault(found, None, "refused")
    model = better_address(url) or f"curl {url}/models; then --generator.model or --generator.api.base_url"
    ends = [
        (
            status == 402 or _MONEY.search(words) or (status != 429 and _BILL.search(words)),
            "an account with quota left",
            "check the plan, the balance and the billing",
        ),
        (
            status in {401, 403} or _KEY.search(words),
            "a key this server accepts",
            "set the environment variable that api.api_key_env names",
        ),
        (
            status in {404, 405} or _MODEL.search(words),
            "a model this server has, at a base URL that ends where /chat/completions begins",
            model,
        ),
        (status == 407, "a proxy that lets requests through", "user and password in the proxy's URL, or NO_PROXY"),
    ]
    for applies, expected, remedy in ends:
        if applies:
            return MissingResourceError(found, expected=expected, remedy=remedy)
    may_pass = status in {408, 409, 429} or status >= 500
    return Fault(found, retry_after_s if may_pass else None)


def better_address(url: str) -> str:
    """Returns what to type where the base URL lacks its version, or holds the endpoint too; "" where it looks right."""
    base, path = re.sub(r"/(?:chat/)?completions$", "", url), urlsplit(url).path
    if base == url and re.search(r"/v\d", path):
        return ""
    return f"--generator.api.base_url {base if base != url else f'{url}/v1'}"


_REFUSES = re.compile(
    r"support|unknown|unexpected|unrecognized|not (?:permitted|allowed|available)|not a valid (?:field|parameter)|"
    r"extra|invalid (?:field|parameter)|deprecated|cannot both|cannot be (?:set|used|specified)|only one",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"too (?:large|long|small|high|low)|context length|(?:greater|less) than|at (?:least|most)|between", re.IGNORECASE
)


def refused_field(error: object, fields: Collection[str]) -> str | None:
    """Returns the one of these fields of a request that an error (400 or 422) says the server does not take.

    OpenAI names it as `param`, FastAPI as `loc`, others in their message. A value out of range is not meant.
    """
    for details in _parts(error):
        message = str(details.get("message") or details.get("msg") or details.get("detail") or details.get("error"))
        words = f"{details.get('code')} {details.get('type')} {message}"
        if "n" in fields and re.search("only one completion", message, re.IGNORECASE):  # llama.cpp
            return "n"
        if not _REFUSES.search(words) or _VALUE.search(message):
            continue
        where = details.get("loc")
        for name in (details.get("param"), *(where if isinstance(where, list) else ())):
            if isinstance(name, str) and name in fields:
                return name
        places = {name: match.start() for name in fields if (match := _mention(name).search(message))}
        if places:  # of two that exclude each other the second goes
            return (max if "both" in message else min)(places, key=lambda name: places[name])
    return None


def _mention(name: str) -> re.Pattern[str]:
    """A field's name in a message; a single letter in quotes only."""
    return re.compile(rf"['\"`]{name}['\"`]" if len(name) == 1 else rf"(?<!\w){name}(?!\w)")


def _parts(error: object) -> Iterable[Mapping[str, Any]]:
    """The errors in a body: FastAPI lists several."""
    details = error.get("detail") if isinstance(error, dict) else None
    if isinstance(details, list):
        return [part for part in details if isinstance(part, dict)]
    return [error] if isinstance(error, dict) else [{"message": str(error)}]


def proxy_for(url: str) -> str | None:
    """Returns the proxy that the environment names for a URL, masked; None where there is none."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return mask(proxy) if proxy and parts.hostname and not proxy_bypass(parts.hostname) else None


def server_name(url: str) -> str:
    """Returns the server's URL, with the proxy on the way to it."""
    proxy = proxy_for(url)
    return f"{url} (through the proxy {proxy})" if proxy else url
