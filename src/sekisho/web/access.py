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

_BATCH = "/be/"
"""Before a path: for clients that can be told an address and nothing else."""

_log = logging.getLogger("sekisho.web")


class Door:
    """ASGI middleware around the whole app.

    Args:
        batch: bearer tokens whose requests take the batch lane.
        tokens: bearer tokens; with none, only clients that call this machine by a loopback name come in, and no page of another site.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[str], batch: Sequence[str] = ()) -> None:
        self._app = app
        self._tokens = [_digest(t.encode("utf-8")) for t in (*tokens, *batch)]
        self._batch = [_digest(t.encode("utf-8")) for t in batch]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _without_lane(scope)
        request_id = scope["state"]["request_id"] = new_id("req")
        reply = _Reply(send, request_id)
        try:
            headers = Headers(scope=scope)
            self.check(headers, scope["path"])
            if self._knows(headers.get("authorization", ""), self._batch):
                scope["state"]["lanes"] |= {"token": "be"}
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
        elif path not in _OPEN and not self._knows(headers.get("authorization", ""), self._tokens):
            raise AccessError(
                "The bearer token is missing or wrong.", "Send Authorization: Bearer and a token."
            )

    @staticmethod
    def _knows(authorization: str, tokens: Sequence[bytes]) -> bool:
        """Whether the header holds one of the tokens; it takes as long for a wrong one as for a right one."""
        scheme, _, token = authorization.partition(" ")
        given = _digest(token.strip().encode("latin-1", "replace"))
        found = [hmac.compare_digest(given, known) for known in tokens]
        return scheme.lower() == "bearer" and any(found)


def _without_lane(scope: Scope) -> Scope:
    """The request as it would be without `/be` before its path, with a note of the lane it asks for so."""
    state = {**scope.get("state", {}), "lanes": {}}
    path = scope["path"]
    if not path.startswith(_BATCH):
        return {**scope, "state": state}
    state["lanes"]["address"] = "be"
    plain = path[len(_BATCH) - 1 :]
    return {**scope, "state": state, "path": plain, "raw_path": plain.encode("utf-8")}


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
    if origin is not None and urlsplit_netloc(origin) != host.lower():
        raise HostError(f"The origin {origin!r} is another site.", "Call from this server's own address.")


def urlsplit_netloc(url: str) -> str:
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
