"""Refuse requests that must not be answered, and send headers that keep browsers from helping an attacker."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from lit_cnn.serve.limits import Limits, RateLimit, RefusedError, host_of, is_loopback
from lit_cnn.utils.console import say

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ANSWERS = "/api/"  # what needs the token
_WRONG_TOKENS = 10  # of a client at once, and then one in
_WRONG_TOKEN_SECONDS = 6.0
# scripts and styles of this server alone, no frames, no forms that go anywhere, no other address
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """Checks in front of an ASGI application.

    Without a token only requests to a loopback name are taken, which a page of another site cannot send: by DNS
    rebinding its name leads here, and by a form its Origin is another. With a token no such page has it.

    Args:
        app: the application.
        limits: of the server.

    Attributes:
        refused: requests that were not answered.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._rate = RateLimit(limits.rate)
        self._wrong = RateLimit(1 / _WRONG_TOKEN_SECONDS, _WRONG_TOKENS)
        self._busy, self.refused = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.refused += message["status"] >= 400
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        try:
            self._check(scope)
            counted = scope["path"].startswith(ANSWERS) and scope["method"] == "POST"
            if counted and self._busy >= self._limits.waiting:
                raise RefusedError(503, f"busy with {self._busy} other images: try again", 1.0)
            self._busy += counted
            try:
                await self._app(scope, receive, send_guarded)
            finally:
                self._busy -= counted
        except RefusedError as error:
            await respond(send_guarded, error)
        except Exception as error:  # a mistake of the server's, which goes on for the others
            say(f"error: {type(error).__name__}: {error}", error=True)
            if not started:
                await respond(send_guarded, RefusedError(500, "internal error"))

    def _check(self, scope: Scope) -> None:
        """Refuse a request by its head."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not host:
            raise RefusedError(400, "there is no Host header")
        token, answers = self._limits.token, scope["path"].startswith(ANSWERS)
        if not token:
            if not is_loopback(host_of(host)):
                raise RefusedError(421, "this server answers to localhost and 127.0.0.1 only")
            origin = headers.get("origin")
            if headers.get("sec-fetch-site") == "cross-site" and scope["method"] != "GET":
                raise RefusedError(403, "a page of another site may not send images here")
            if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                raise RefusedError(403, "a page of another site may not send images here")
        if not answers:
            return
        client = scope["client"][0] if scope.get("client") else ""
        if token:
            self._check_token(client, headers.get("authorization", ""))
        if scope["method"] == "POST" and (wait := self._rate.take(client)):
            raise RefusedError(429, f"more than {self._limits.rate:g} images a second: wait", wait)

    def _check_token(self, client: str, given: str) -> None:
        if wait := self._wrong.take(client, 0):
            raise RefusedError(429, "too many wrong tokens: wait", wait)
        scheme, _, bearer = given.partition(" ")
        right = secrets.compare_digest(bearer.strip().encode("latin-1"), self._limits.token.encode())
        if scheme.lower() == "bearer" and right:
            return
        if given:
            self._wrong.take(client)
        raise RefusedError(401, "the token is wrong" if given else "a token is needed: Authorization: Bearer TOKEN")


async def respond(send: Send, error: RefusedError) -> None:
    """Send an error as one line of JSON."""
    body = problem(error.reason)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(key.encode(), value.encode()) for key, value in headers_of(error).items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def problem(reason: str) -> bytes:
    """The body of an error."""
    return json.dumps({"error": " ".join(reason.split())}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def headers_of(error: RefusedError) -> dict[str, str]:
    """Headers that go with an error."""
    headers = {"retry-after": str(max(1, round(error.wait)))} if error.wait else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status in (408, 413):  # the rest of the body is not read
        headers["connection"] = "close"
    return headers
