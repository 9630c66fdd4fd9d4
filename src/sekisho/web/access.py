"""The door: who may come in, an id for every request, and no exception that leaves without an answer."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.canonical import new_id
from ..core.errors import AccessError, HostError, SekishoError
from .errors import render, unexpected

REQUEST_ID = "x-typesafe-request-id"
"""Header of every answer; judgements carry the same id as their link `request`."""
_OPEN = frozenset({"/healthz"})
"""Paths that need no token: a supervisor has none."""

_log = logging.getLogger("sekisho.web")


class Door:
    """ASGI middleware around the whole app.

    Args:
        tokens: bearer tokens; with none, only clients that call this machine by a loopback name come in, and no page of another site.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[str]) -> None:
        self._app = app
        self._tokens = [_digest(t.encode("utf-8")) for t in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = new_id("req")
        reply = _Reply(send, request_id)
        if scope["method"] == "HEAD":  # as GET; the server below leaves the body out
            scope = {**scope, "method": "GET"}
        try:
            self.check(Headers(scope=scope), scope["path"])
            await self._app(scope, receive, reply)
        except ClientDisconnect:
            return
        except SekishoError as e:
            await render(e, scope["path"])(scope, receive, reply)
        except Exception:
            _log.exception("%s %s (%s) failed", scope["method"], scope["path"], request_id)
            if not reply.started:
                await unexpected(request_id, scope["path"])(scope, receive, reply)

    def check(self, headers: Headers, path: str) -> None:
        """Raise AccessError for a missing or wrong token, HostError for a name or an origin that is not ours."""
        if not self._tokens:
            _check_host(headers)
        elif path not in _OPEN and not self._knows(headers.get("authorization", "")):
            raise AccessError(
                "The bearer token is missing or wrong.", "Send Authorization: Bearer and a token."
            )

    def _knows(self, authorization: str) -> bool:
        """Whether the header holds a token; it takes as long for a wrong one as for a right one."""
        scheme, _, token = authorization.partition(" ")
        given = _digest(token.strip().encode("latin-1", "replace"))
        found = [hmac.compare_digest(given, known) for known in self._tokens]
        return scheme.lower() == "bearer" and any(found)


class _Reply:
    """`send` that adds what every answer carries, and knows whether the answer has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._id, self.started = send, request_id, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers.setdefault(REQUEST_ID, self._id)
            headers.setdefault("cache-control", "no-store")
            headers.setdefault("x-content-type-options", "nosniff")
        await self._send(message)


def _check_host(headers: Headers) -> None:
    """Without tokens, the browser is the way in: a foreign name that resolves to this machine, or a page of another site."""
    host = headers.get("host", "")
    if not _is_loopback(host):
        raise HostError(
            f"The host {host!r} is not this machine.", "Use 127.0.0.1 or localhost, or set `tokens`."
        )
    origin = headers.get("origin")
    if origin is not None and _netloc(origin) != host.lower():
        raise HostError(f"The origin {origin!r} is another site.", "Call from this server's own address.")


def _netloc(url: str) -> str:
    """Host and port of a URL in lower case; empty for what is no URL, such as the origin `null`."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
