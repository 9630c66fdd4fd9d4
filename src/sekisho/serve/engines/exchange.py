"""Short exchanges with the llama.cpp child: JSON over kept connections, and nothing else of HTTP.

A decision is two of them. A client for all of HTTP takes about a millisecond of this process for each, which is a good part of what a gateway costs.
Streams, which are few and long, go over `httpx`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...core.errors import EngineError

IDLE = 2.0
"""Seconds an idle connection is kept; the server closes its own after 5, and a request must never meet that moment."""
_HEAD = 1 << 16


class BrokenError(EngineError):
    """A connection broke in the middle of an exchange."""


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status_code: int
    text: str


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    since: float = 0.0


class Exchange:
    """Connections to one server on loopback, each for one exchange at a time.

    Args:
        address: `http://host:port`.
        key: bearer token.
    """

    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._head = (
            f"Host: {parts.netloc}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        )
        self._idle: deque[_Connection] = deque()
        self._closed = False

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        """Post JSON and read the answer to its end. Cancelled, it drops the connection, which the server notices.

        Raises:
            BrokenError: when no whole answer came.
        """
        sent = json.dumps(body).encode()
        connection = await self._connection()
        whole = False
        try:
            request = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(sent)}\r\n\r\n"
            connection.writer.write(request.encode() + sent)
            head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, length, stays = _read_head(head)
            reply = Reply(status, (await connection.reader.readexactly(length)).decode("utf-8"))
            whole = stays
            return reply
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as e:
            raise BrokenError(
                f"The connection to llama.cpp broke ({type(e).__name__}).", "Try again in a moment."
            ) from e
        finally:
            self._give_back(connection, whole)

    async def _connection(self) -> _Connection:
        """The one that was used last, or a new one."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.since < IDLE and not connection.reader.at_eof():
                return connection
            connection.writer.close()
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=_HEAD)
        except OSError as e:
            raise BrokenError(
                f"llama.cpp takes no connection ({type(e).__name__}).", "Try again in a moment."
            ) from e
        return _Connection(reader, writer)

    def _give_back(self, connection: _Connection, whole: bool) -> None:
        if not whole or self._closed:
            connection.writer.transport.abort()
            return
        connection.since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def close(self) -> None:
        """Drop every idle connection; those in use are dropped at the end of their exchange."""
        self._closed = True
        while self._idle:
            self._idle.pop().writer.transport.abort()


def _read_head(head: str) -> tuple[int, int, bool]:
    """Status, length of the body, and whether the connection stays. Raises ValueError for what this does not speak."""
    first, *lines = head.lower().split("\r\n")
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    stays = told.get("connection", "").strip() != "close"
    return int("".join(first.split(" ", 2)[1:2])), int(told.get("content-length", "")), stays
