"""Exchanges with the llama.cpp child: JSON over kept connections, and nothing else of HTTP.

A decision is one of them, or two when its state spells a control token; a text is two, and the answer of the second comes in pieces. A client for all of HTTP takes about a millisecond of this process for an exchange and a
third of one for a piece, which is a good part of what a gateway costs.
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
_LONGEST_PIECE = 1 << 24
"""Bytes of one chunk of a stream that are read; what llama.cpp sends has a few hundred."""


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


class Stream:
    """An answer that comes in pieces, over a connection of its own: llama.cpp closes many after a stream."""

    def __init__(self, connection: _Connection, status_code: int, length: int | None) -> None:
        self.status_code = status_code
        self._reader, self._writer, self._length = connection.reader, connection.writer, length
        self._rest, self._ended = b"", False

    async def line(self) -> str | None:
        """The next line without its end; None after the last. Raises BrokenError when the stream breaks off."""
        try:
            while b"\n" not in self._rest and not self._ended:
                self._rest += await self._piece()
            line, _, self._rest = self._rest.partition(b"\n")
            return line.decode("utf-8").rstrip("\r") if line or self._rest or not self._ended else None
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as e:
            raise _broken(e) from e

    async def text(self) -> str:
        """All that is left. Raises BrokenError as `line`."""
        lines = []
        while (line := await self.line()) is not None:
            lines.append(line)
        return "\n".join(lines)

    async def _piece(self) -> bytes:
        if self._length is not None:
            self._ended = True
            return await self._reader.readexactly(self._length)
        size = int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        if not 0 <= size <= _LONGEST_PIECE:
            raise ValueError(size)
        self._ended = size == 0
        return (await self._reader.readexactly(size + 2))[:-2]

    def close(self) -> None:
        """Drop the connection; the server notices and stops writing."""
        self._writer.transport.abort()


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
        connection = await self._connection()
        whole = False
        try:
            status, length, stays = await self._sent(connection, path, body)
            if length is None:
                raise ValueError(length)
            reply = Reply(status, (await connection.reader.readexactly(length)).decode("utf-8"))
            whole = stays
            return reply
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as e:
            raise _broken(e) from e
        finally:
            self._give_back(connection, whole)

    async def stream(self, path: str, body: dict[str, Any]) -> Stream:
        """Post JSON and read the head of an answer that comes in pieces; whoever gets it closes it. Raises BrokenError when no head came."""
        connection = await self._connection()
        begun = False
        try:
            status, length, _ = await self._sent(connection, path, body, "Connection: close\r\n")
            begun = True
            return Stream(connection, status, length)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as e:
            raise _broken(e) from e
        finally:
            if not begun:
                self._give_back(connection, False)

    async def _sent(
        self, connection: _Connection, path: str, body: dict[str, Any], more: str = ""
    ) -> tuple[int, int | None, bool]:
        """Send a request; its answer's head, as `_read_head`."""
        sent = json.dumps(body).encode()
        request = f"POST {path} HTTP/1.1\r\n{self._head}{more}Content-Length: {len(sent)}\r\n\r\n"
        connection.writer.write(request.encode() + sent)
        return _read_head((await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1"))

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


def _broken(error: Exception) -> BrokenError:
    return BrokenError(
        f"The connection to llama.cpp broke ({type(error).__name__}).", "Try again in a moment."
    )


def _read_head(head: str) -> tuple[int, int | None, bool]:
    """Status, length of the body or None when it comes in chunks, and whether the connection stays. Raises ValueError for what this does not speak."""
    first, *lines = head.lower().split("\r\n")
    told = {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}
    status, stays = int("".join(first.split(" ", 2)[1:2])), told.get("connection", "") != "close"
    if told.get("transfer-encoding") == "chunked":
        return status, None, stays
    return status, int(told.get("content-length", "")), stays
