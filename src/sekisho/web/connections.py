"""Connections: how many may be open, how long one may be silent, and what is answered to what is no HTTP.

A connection that waits for a request costs its client nothing and the server a file. So there is a bound below the limit on open files, the one that
has waited longest makes room for the next, and a request's header has to arrive in time.
"""

from __future__ import annotations

import asyncio
import functools
import http
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from .. import metrics
from ..core.canonical import new_id
from ..core.errors import MalformedError, OverloadedError, SekishoError
from .access import REQUEST_ID
from .ahead import Ahead
from .errors import render
from .gathering import Gathering
from .lazy_h11 import LazyConnection
from .waiting import GONE

HEADER_SECONDS = 20.0
"""From a connection's opening, or the end of its last answer, to the end of the next request's header."""
_WANTED_FILES = 4096
_OWN_FILES = 128
"""Kept for what is no connection: the ledger's readers, the engine's pipes and connections, a model that is being read."""
_QUIET_SECONDS = 60.0

_log = logging.getLogger("sekisho.web")


class Crowd:
    """The connections of one server.

    Attributes:
        most: how many may be open.
        backlog: how many are accepted in one go, before any of them is counted.
        waiting: those without a request under way; the one that has waited longest comes first.
    """

    def __init__(self, files: int, header_seconds: float = HEADER_SECONDS) -> None:
        self.backlog = max(1, min(128, files // 16))
        # Four times: being accepted, being set up, being counted, being closed.
        self.most = max(1, files - 4 * self.backlog - min(_OWN_FILES, files // 4))
        self.header_seconds = header_seconds
        self.waiting: dict[Connection, None] = {}
        self.say = Seldom()


class Connection(H11Protocol):
    """One connection, as uvicorn has it, with a bound on their number and a clock for the header."""

    def __init__(self, *args: Any, crowd: Crowd, **more: Any) -> None:
        super().__init__(*args, **more)
        self._crowd = crowd
        self._clock: asyncio.TimerHandle | None = None
        self.conn = cast(h11.Connection, LazyConnection(self.conn))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in. When there are too many, one that waits is closed, or this one is turned away."""
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, Gathering(transport, self.loop))
        self._watch()
        if len(self.connections) > self._crowd.most:
            self._crowd.say(_log, f"{self._crowd.most} connections are open; one is closed for each new one.")
            next(iter(self._crowd.waiting))._make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and look whether a request has begun."""
        super().data_received(data)
        self._watch()

    def handle_events(self) -> None:
        """Go on with what has arrived; the answer to a new request may go ahead of the library's notes."""
        before = self.cycle
        super().handle_events()
        cycle = self.cycle
        if cycle is not None and cycle is not before:
            cycle.scope["extensions"] = {GONE: {"ask": lambda: cycle.disconnected}}
            lazy = cast(LazyConnection, self.conn)
            cycle.send = Ahead(cycle, lazy)  # type: ignore[assignment, method-assign]

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the shape of every other error."""
        self._refuse(MalformedError("The request is not HTTP/1.1.", "Send it with an HTTP client."))

    def _watch(self) -> None:
        """Start the clock when no request is under way, stop it when one is. What trickles in does not turn it back."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way or self.transport.is_closing():
            self._rest()
        elif self._clock is None:
            self._crowd.waiting[self] = None
            self._clock = self.loop.call_later(self._crowd.header_seconds, self._too_slow)

    def _rest(self) -> None:
        self._crowd.waiting.pop(self, None)
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_slow(self) -> None:
        """Close. Who had begun a header is told why; who was silent may not expect an answer."""
        if self.conn.trailing_data[0]:
            self._refuse(MalformedError("The request's header did not arrive in time.", "Send it again."))
        else:
            self.transport.close()

    def _make_room(self, newest: Connection) -> None:
        """Close this connection for another; when it is itself the newest, all others are at work."""
        if self is newest:
            metrics.REFUSED.inc()
            self._refuse(OverloadedError("Too many connections are open.", "Try again in a moment."))
        else:
            self._rest()
            self.transport.abort()

    def _refuse(self, error: SekishoError) -> None:
        """Answer with an error, unless an answer has begun, and close."""
        self._rest()
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(_raw(error))
        self.transport.close()


def _raw(error: SekishoError) -> bytes:
    """An error as bytes on the wire: before there is a request, there is no application to write it."""
    answer = render(error, "")
    heads = [*answer.raw_headers, (REQUEST_ID.encode(), new_id("req").encode()), (b"connection", b"close")]
    first = f"HTTP/1.1 {answer.status_code} {http.HTTPStatus(answer.status_code).phrase}".encode()
    return b"\r\n".join([first, *(k + b": " + v for k, v in heads), b"", bytes(answer.body)])


def configured(app: FastAPI, crowd: Crowd, **more: Any) -> uvicorn.Config:
    """How uvicorn serves the application."""
    protocol = functools.partial(Connection, crowd=crowd)
    return uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], protocol),
        ws="none",
        backlog=crowd.backlog,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        **more,
    )


def open_files() -> int:
    """How many files this process may have open, after raising its limit as far as is wanted and allowed."""
    if sys.platform == "win32":
        return _WANTED_FILES
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return limit
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):  # a system may have a further bound that it tells nobody
        return soft
    return limit


def hush_accepting(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop say only now and then that it cannot accept; it would write a traceback for every try."""
    say = Seldom()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context["message"] == "socket.accept() out of system resource":
            say(_log, f"No connection can be accepted: {context.get('exception')}.")
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


class Seldom:
    """Says something at most once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._next = clock, float("-inf")

    def __call__(self, log: logging.Logger, words: str) -> None:
        """Write a warning, unless one was written in the last minute."""
        if self._clock() >= self._next:
            self._next = self._clock() + _QUIET_SECONDS
            log.warning(words)
