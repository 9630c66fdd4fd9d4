"""A whole answer is on its way before the HTTP library has heard of it: what the library then notes down, nobody has to wait for; of a plain request it
is told nothing at all.

Only what the library would have sent byte for byte is sent so: an answer of known, moderate length, to a plain request of HTTP/1.1 that has been read to its
end and leaves the connection open. Everything else goes its ordinary way.
"""

from __future__ import annotations

import http
import re
from typing import Any

import h11
from starlette.types import Message
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

from .lazy_h11 import LazyConnection

_MOST = 1 << 15
"""Bytes of a body that goes ahead; a larger one may have to wait for the client to read."""
_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9a-zA-Z-]+: [^\x00\s]+(?:[ \t]+[^\x00\s]+)*\r\n)+")
"""Header lines as RFC 9110, 5.5 and 5.6.2 have them."""
_PHRASES = {s.value: s.phrase.encode() for s in http.HTTPStatus}


class Ahead:
    """The `send` of one request's cycle."""

    def __init__(self, cycle: RequestResponseCycle, conn: LazyConnection) -> None:
        self._cycle, self._conn = cycle, conn
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        """Take one message. The head of a whole answer is kept for its body, which follows at once."""
        if self._head is None and _has_length(message) and _is_plain(self._cycle, self._conn):
            self._head, self._cycle.response_started = message, True
            return
        head, self._head = self._head, None
        if head is None:
            await self._told(message)
            return
        self._cycle.response_started = False  # as far as the library knows
        if (raw := _raw(self._cycle, self._conn, head, message)) is None:
            await self._told(head)
            await self._told(message)
        else:
            await self._gone(raw, head, message)

    async def _gone(self, raw: bytes, head: Message, body: Message) -> None:
        """Send, then let the library note down what was sent, if it knows of the request."""
        cycle, transport = self._cycle, self._cycle.transport
        transport.write(raw)
        if self._conn.is_untold:
            self._conn.settle()
            cycle.response_started = cycle.response_complete = True
            cycle.message_event.set()
            cycle.on_response()
            return
        cycle.transport = _Said(transport)  # type: ignore[assignment]
        try:
            await self._told(head)
            await self._told(body)
        finally:
            cycle.transport = transport

    async def _told(self, message: Message) -> None:
        await RequestResponseCycle.send(self._cycle, message)  # type: ignore[arg-type]


class _Said:
    """A transport over which everything has been said already."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Nothing is left to be sent."""


def _has_length(message: Message) -> bool:
    return message["type"] == "http.response.start" and any(
        k == b"content-length" for k, _ in message.get("headers", ())
    )


def _is_plain(cycle: RequestResponseCycle, conn: LazyConnection) -> bool:
    """Whether an answer needs nothing but its own headers and its body, and is not the last on its connection."""
    return (
        cycle.keep_alive
        and not (cycle.disconnected or cycle.response_started or cycle.flow.write_paused)
        and not cycle.transport.is_closing()
        and (conn.is_untold or _was_plain(cycle))
    )


def _was_plain(cycle: RequestResponseCycle) -> bool:
    """Whether a request that the library has read might have been read without it."""
    scope = cycle.scope
    return (
        scope["http_version"] == "1.1"
        and scope["method"] in ("GET", "POST", "PUT", "PATCH", "DELETE")
        and not any(k in (b"connection", b"upgrade", b"expect") for k, _ in scope["headers"])
        and cycle.conn.their_state is h11.DONE
        and cycle.conn.our_state is h11.SEND_RESPONSE
    )


def _raw(cycle: RequestResponseCycle, conn: LazyConnection, head: Message, body: Message) -> bytes | None:
    """The answer as bytes on the wire; None when it has to go its ordinary way."""
    content, status = body.get("body", b""), head["status"]
    if body["type"] != "http.response.body" or body.get("more_body") or len(content) > _MOST:
        return None
    if not _is_plain(cycle, conn) or status < 200 or status in (204, 205, 304):
        return None
    headers = [*cycle.default_headers, *head.get("headers", ())]
    names = [k.lower() for k, _ in headers]
    if b"transfer-encoding" in names or b"connection" in names or names.count(b"content-length") != 1:
        return None
    if headers[names.index(b"content-length")][1] != b"%d" % len(content):
        return None
    lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
    if lines.count(b"\n") != len(headers) or not _LINES.fullmatch(lines):
        return None  # the library says what is wrong with it
    return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, _PHRASES.get(status, b""), lines, bytes(content))
