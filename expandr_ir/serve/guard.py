"""The checks of a request before it is read (sender, origin, size), and the headers of every answer."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from expandr_ir.serve.faults import RequestError, body_of
from expandr_ir.serve.options import is_loopback

MOST_BYTES, BODY_S = 512 * 1024, 10.0
"""The largest body of a request, and the seconds that it may take to arrive."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
OPEN_PATHS = ("/", "/health", "/openapi.json", "/static/")
"""Paths that need no token, and hold no data."""


class RefusedError(RequestError):
    """A request that is not let in."""

    def __init__(self, status: int, found: str, **parts: Any) -> None:
        super().__init__(found, **parts)
        self.status = status


class Guard:
    """Lets in requests with the token or, without one, of this machine's own pages and programs.

    A page of another site cannot send them for its reader: neither across origins, nor by a name that it points to
    this machine.
    """

    def __init__(self, app: ASGIApp, token: str = "") -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, its body read, or answers why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                have = {name.lower() for name, _ in message["headers"]}
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *((name, value) for name, value in more if name not in have)]
            await send(message)

        try:
            self._check(scope)
            body = await _read(scope, receive)
        except RefusedError as error:
            headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
            await JSONResponse(body_of(error), error.status, headers)(scope, receive, send_headers)
            return
        pending = [body]

        async def replay() -> Message:
            return {"type": "http.request", "body": pending.pop()} if pending else await receive()

        await self._app(scope, replay, send_headers)

    def _check(self, scope: Scope) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._token and not is_loopback(_hostname(headers.get("host", ""))):
            raise RefusedError(421, "the request names another host", expected="localhost, or a server with a token")
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(OPEN_PATHS[-1]):
            return
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise RefusedError(403, "the request comes from a page of another site")
        if self._token:
            sent = headers.get("x-api-key", headers.get("authorization", "").removeprefix("Bearer "))
            if not hmac.compare_digest(sent.encode(), self._token.encode()):
                raise RefusedError(401, "the token is missing or wrong", expected="Authorization: Bearer TOKEN")


async def _read(scope: Scope, receive: Receive) -> bytes:
    too_large = RefusedError(413, f"the body has more than {MOST_BYTES:,} bytes")
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if length.isdigit() and int(length) > MOST_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > MOST_BYTES:
                    raise too_large
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError as error:
        raise RefusedError(408, f"the body did not arrive within {BODY_S:g} s") from error


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
