"""The door: who may come in, an id for every request, and no exception that leaves without an answer."""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import logging
import math
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import metrics
from ..core.access import EVERYTHING, Caller, secret_digest
from ..core.canonical import new_id
from ..core.errors import AccessError, HostError, OverloadedError, ScopeError, SekishoError
from ..loop.keys import Ring
from .errors import render, unexpected
from .scopes import OPEN, wanted
from .straight import Endpoint

REQUEST_ID = "x-typesafe-request-id"
"""Header of every answer; judgements carry the same id as their link `request`."""
_ANYBODY = Caller(None, None, EVERYTHING)
"""Who comes with a bearer token of the settings, or by loopback where none is asked for."""

_BATCH = "/be/"
"""Before a path: for clients that can be told an address and nothing else."""

_log = logging.getLogger("sekisho.web")


class Door:
    """ASGI middleware around the whole app.

    Args:
        tokens: bearer tokens of the settings; each opens everything.
        ring: the API keys. While there is no token and there never was a key, only clients that call this machine by a loopback name
            come in, and no page of another site.
        batch: further bearer tokens, whose requests take the batch lane.
        origins: other sites whose pages may call this server; none by default.
        straight: routes that are called without asking the framework, by method and path.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Sequence[str],
        ring: Ring,
        batch: Sequence[str] = (),
        origins: Sequence[str] = (),
        straight: Mapping[tuple[str, str], Endpoint] | None = None,
    ) -> None:
        self._app, self._straight = app, straight or {}
        self._origins = frozenset(o.lower().rstrip("/") for o in origins)
        self._tokens = [_digest(t.encode("utf-8")) for t in (*tokens, *batch)]
        self._batch = [_digest(t.encode("utf-8")) for t in batch]
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _without_lane(scope)
        request_id = scope["state"]["request_id"] = new_id("req")
        friend = self._friend(Headers(scope=scope))
        reply = _Reply(send, request_id, friend)
        if friend and scope["method"] == "OPTIONS":
            await _preflight(scope, receive, reply)
            return
        if scope["method"] == "HEAD":  # as GET; the server below leaves the body out
            scope = {**scope, "method": "GET"}
        try:
            await self._ring.refresh()
            headers = Headers(scope=scope)
            scope["state"]["caller"] = self.check(headers, scope["method"], scope["path"])
            if _knows(headers.get("authorization", ""), self._batch):
                scope["state"]["lanes"] |= {"token": "be"}
            await self._answer(scope, receive, reply)
        except ClientDisconnect:
            return
        except Exception as e:
            if isinstance(e, SekishoError) and not reply.started:
                await render(e, scope["path"])(scope, receive, reply)
                return
            _log.exception("%s %s (%s) failed", scope["method"], scope["path"], request_id)
            if not reply.started:
                await unexpected(request_id, scope["path"])(scope, receive, reply)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._straight.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self._app(scope, receive, send)
        else:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

    def check(self, headers: Headers, method: str, path: str) -> Caller:
        """Return who comes in.

        Raises:
            AccessError: for a missing or wrong token or key; HostError for a name or an origin that is not ours.
            ScopeError: for a key that may not do this; OverloadedError for one that asks too often.
        """
        if not self._tokens and not self._ring.ever:
            _check_host(headers, self._friend(headers))
            return _ANYBODY
        if path in OPEN:
            return Caller(None, None, frozenset())
        caller = self._caller(headers.get("authorization", ""))
        if caller is None:
            raise _refused("token", AccessError("The API key or token is missing or wrong.", _SEND))
        if not caller.may(needed := wanted(method, path)):
            what = f"This key may not {method} {path}."
            raise _refused("scope", ScopeError(what, f"It needs the scope {' or '.join(sorted(needed))}."))
        if seconds := self._ring.wait(caller):
            what, do = "This key asks too often.", f"It may ask {caller.per_minute} times a minute."
            raise _refused("rate", OverloadedError(what, do, math.ceil(seconds)))
        return caller

    def _friend(self, headers: Headers) -> str | None:
        """The origin of a page that may call this server; None for every other."""
        origin = headers.get("origin", "")
        return origin if origin.lower() in self._origins else None

    def _caller(self, authorization: str) -> Caller | None:
        """Whose token or key the header holds; it takes as long for a wrong token as for a right one.

        Keys are looked up by digest: what the time of that tells is about a digest, from which nobody gets back to a key.
        """
        if _knows(authorization, self._tokens):
            return _ANYBODY
        raw = _bearer(authorization)
        return None if raw is None else self._ring.find(secret_digest(raw.decode("utf-8", "replace")))


_SEND = "Send Authorization: Bearer and a key."


def _refused(why: str, error: SekishoError) -> SekishoError:
    metrics.ACCESS_REFUSED.labels(why).inc()
    return error


def _bearer(authorization: str) -> bytes | None:
    """The secret of a bearer header; None for any other."""
    scheme, _, token = authorization.partition(" ")
    return token.strip().encode("latin-1", "replace") if scheme.lower() == "bearer" else None


def _knows(authorization: str, tokens: Sequence[bytes]) -> bool:
    """Whether the header holds one of the tokens; it takes as long for a wrong one as for a right one."""
    if not tokens:
        return False
    raw = _bearer(authorization)
    given = _digest(raw or b"")
    found = [hmac.compare_digest(given, known) for known in tokens]
    return raw is not None and any(found)


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

    def __init__(self, send: Send, request_id: str, friend: str | None = None) -> None:
        self._send, self._id, self._friend, self.started = send, request_id, friend, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers.setdefault(REQUEST_ID, self._id)
            headers.setdefault("cache-control", "no-store")
            headers.setdefault("x-content-type-options", "nosniff")
            if self._friend:
                headers["access-control-allow-origin"] = self._friend
                headers["access-control-expose-headers"] = REQUEST_ID
                headers.add_vary_header("origin")
        await self._send(message)


async def _preflight(scope: Scope, receive: Receive, send: Send) -> None:
    """What a browser asks before it lets a page of a friendly origin call."""
    allowed = {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "600",
    }
    await Response(status_code=204, headers=allowed)(scope, receive, send)


def _check_host(headers: Headers, friend: str | None = None) -> None:
    """Without tokens, the browser is the way in: a foreign name that resolves to this machine, or a page of another site."""
    host = headers.get("host", "")
    if not _is_loopback(host):
        raise HostError(
            f"The host {host!r} is not this machine.",
            "Use 127.0.0.1 or localhost, or make an API key with `sekisho keys make`.",
        )
    origin = headers.get("origin")
    if origin is not None and friend is None and _netloc(origin) != host.lower():
        raise HostError(f"The origin {origin!r} is another site.", "Call from this server's own address.")


def _netloc(url: str) -> str:
    """Host and port of a URL in lower case; empty for what is no URL, such as the origin `null`."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


@functools.lru_cache(256)
def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
