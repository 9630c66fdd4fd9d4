"""Exchanges with the llama.cpp child: JSON over kept connections, and nothing else of HTTP.

A decision is one of them, or two when its state spells a control token; a text is two, and the answer of the second comes in pieces. A client for all of HTTP takes about a millisecond of this process for an exchange and a
third of one for a piece, which is a good part of what a gateway costs.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import Any, cast
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


class _Pipe(asyncio.Protocol):
    """A connection for one exchange at a time. What asyncio's streams do beside it for any protocol is half of what an exchange costs.

    Attributes:
        since: the loop's time at which it was last used.
        is_open: whether the server has it open, as far as is known.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.since, self.is_open = 0.0, True
        self._came = bytearray()
        self._whole: asyncio.Future[tuple[int, bytes, bool]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio has it."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """As asyncio has it."""
        self._came += data
        if self._whole is None or self._whole.done():
            self.is_open = False  # nobody had asked
            return
        try:
            answer = _whole(self._came)
        except ValueError as e:
            self._whole.set_exception(e)
        else:
            if answer is not None:
                self._whole.set_result(answer)

    def eof_received(self) -> None:
        """As asyncio has it; the transport closes itself."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio has it."""
        self.is_open = False
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(exc if isinstance(exc, OSError) else EOFError())

    async def ask(self, request: bytes) -> tuple[int, bytes, bool]:
        """Send a request; status, body, and whether the connection stays. Raises OSError, EOFError or ValueError for no whole answer."""
        self._came.clear()
        self._whole = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._whole

    def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The same connection as asyncio's streams."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_HEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        return reader, asyncio.StreamWriter(self.transport, protocol, reader, loop)


class Stream:
    """An answer that comes in pieces, over a connection of its own: llama.cpp closes many after a stream."""

    def __init__(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        status_code: int,
        length: int | None,
    ) -> None:
        self.status_code = status_code
        self._reader, self._writer, self._length = *streams, length
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
        self._idle: deque[_Pipe] = deque()
        self._closed = False

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        """Post JSON and read the answer to its end. Cancelled, it drops the connection, which the server notices.

        Raises:
            BrokenError: when no whole answer came.
        """
        pipe = await self._pipe()
        stays = False
        try:
            status, content, stays = await pipe.ask(self._request(path, body))
            return Reply(status, content.decode("utf-8"))
        except (OSError, EOFError, ValueError) as e:
            stays = False
            raise _broken(e) from e
        finally:
            self._give_back(pipe, stays)

    async def stream(self, path: str, body: dict[str, Any]) -> Stream:
        """Post JSON and read the head of an answer that comes in pieces; whoever gets it closes it. Raises BrokenError when no head came."""
        reader, writer = (await self._pipe()).streams()
        begun = False
        try:
            writer.write(self._request(path, body, "Connection: close\r\n"))
            status, length, _ = _read_head((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            begun = True
            return Stream((reader, writer), status, length)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as e:
            raise _broken(e) from e
        finally:
            if not begun:
                writer.transport.abort()

    def _request(self, path: str, body: dict[str, Any], more: str = "") -> bytes:
        sent = json.dumps(body).encode()
        return (
            f"POST {path} HTTP/1.1\r\n{self._head}{more}Content-Length: {len(sent)}\r\n\r\n".encode() + sent
        )

    async def _pipe(self) -> _Pipe:
        """The one that was used last, or a new one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._idle:
            pipe = self._idle.pop()
            if now - pipe.since < IDLE and pipe.is_open:
                return pipe
            pipe.transport.close()
        try:
            _, pipe = await loop.create_connection(_Pipe, self._host, self._port)
        except OSError as e:
            raise BrokenError(
                f"llama.cpp takes no connection ({type(e).__name__}).", "Try again in a moment."
            ) from e
        return pipe

    def _give_back(self, pipe: _Pipe, stays: bool) -> None:
        if not stays or self._closed or not pipe.is_open:
            pipe.transport.abort()
            return
        pipe.since = asyncio.get_running_loop().time()
        self._idle.append(pipe)

    def close(self) -> None:
        """Drop every idle connection; those in use are dropped at the end of their exchange."""
        self._closed = True
        while self._idle:
            self._idle.pop().transport.abort()


def _broken(error: Exception) -> BrokenError:
    return BrokenError(
        f"The connection to llama.cpp broke ({type(error).__name__}).", "Try again in a moment."
    )


def _whole(came: bytearray) -> tuple[int, bytes, bool] | None:
    """Status, body and whether the connection stays; None while some is missing. Raises ValueError for what this does not speak."""
    end = came.find(b"\r\n\r\n", 0, _HEAD)
    if end < 0:
        if len(came) > _HEAD:
            raise ValueError("a head without an end")
        return None
    status, length, stays = _read_head(came[: end + 4].decode("latin-1"))
    if length is None or length < 0:
        raise ValueError(length)
    if len(came) < end + 4 + length:
        return None
    return status, bytes(came[end + 4 :][:length]), stays and len(came) == end + 4 + length


def _read_head(head: str) -> tuple[int, int | None, bool]:
    """Status, length of the body or None when it comes in chunks, and whether the connection stays. Raises ValueError for what this does not speak."""
    first, *lines = head.lower().split("\r\n")
    told = {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}
    status, stays = int("".join(first.split(" ", 2)[1:2])), told.get("connection", "") != "close"
    if told.get("transfer-encoding") == "chunked":
        return status, None, stays
    return status, int(told.get("content-length", "")), stays
