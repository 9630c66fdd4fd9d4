"""An h11 connection that is told of plain requests only when it has to know of them.

A plain request is one of HTTP/1.1 that arrives whole, in one piece, with nothing after it, and says nothing about the connection itself. Reading it by h11's own
grammar (RFC 9110, 5; RFC 9112, 3) takes a tenth of what h11 takes, which notes a state for every part. When anything else happens before its answer has left
whole, h11 reads the same bytes, and from then on decides as ever.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import h11

_FIRST = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/[\x21-\x7e]*) HTTP/1\.1")
_LINE = re.compile(rb"([-!#$%&'*+.^_`|~0-9a-zA-Z]+):[ \t]*([^\x00\s]+(?:[ \t]+[^\x00\s]+)*)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CONDITIONS = frozenset((b"connection", b"expect", b"transfer-encoding", b"upgrade"))
_LONGEST = 1 << 13
"""Bytes of a plain request's head."""


class LazyConnection:
    """Stands before an `h11.Connection` and has its interface, as far as uvicorn uses it."""

    def __init__(self, real: h11.Connection) -> None:
        self._real = real
        self._untold = b""
        self._events: deque[h11.Event] = deque()

    @property
    def is_untold(self) -> bool:
        """Whether h11 knows nothing of the request that is being answered."""
        return bool(self._untold)

    def settle(self) -> None:
        """The request has been answered whole; h11 need not know that there was one."""
        self._untold = b""
        self._events.clear()

    def tell(self) -> None:
        """Let h11 read the request it knows nothing of."""
        if self._untold:
            raw = self._untold
            self.settle()
            self._real.receive_data(raw)
            while not isinstance(self._real.next_event(), h11.EndOfMessage):
                pass

    def receive_data(self, data: bytes) -> None:
        """As h11's."""
        events = plain_request(data) if not self._untold and self._is_new() else None
        if events is None:
            self.tell()
            self._real.receive_data(data)
        else:
            self._untold, self._events = data, deque(events)

    def _is_new(self) -> bool:
        """Whether h11 waits for the first byte of a request."""
        return self._real.states == _NEW and self._real.trailing_data == (b"", False)

    def next_event(self) -> Any:
        """As h11's."""
        if self._events:
            return self._events.popleft()
        return h11.NEED_DATA if self._untold else self._real.next_event()

    @property
    def our_state(self) -> Any:
        """As h11's."""
        return h11.SEND_RESPONSE if self._untold else self._real.our_state

    @property
    def their_state(self) -> Any:
        """As h11's."""
        return h11.DONE if self._untold else self._real.their_state

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """As h11's."""
        return not self._untold and self._real.they_are_waiting_for_100_continue

    @property
    def trailing_data(self) -> tuple[bytes, bool]:
        """As h11's."""
        return self._real.trailing_data

    def send(self, event: Any) -> bytes | None:
        """As h11's."""
        self.tell()
        sent: bytes | None = self._real.send(event)
        return sent

    def start_next_cycle(self) -> None:
        """As h11's."""
        self.tell()
        self._real.start_next_cycle()


_NEW = {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}


def plain_request(data: bytes) -> list[h11.Event] | None:
    """The events of a plain request; None when it is anything else."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, _, rest = head.partition(b"\r\n")
    if not end or len(head) > _LONGEST or (said := _FIRST.fullmatch(first)) is None:
        return None
    headers = _headers(rest)
    if headers is None or not _is_whole(headers, body):
        return None
    request = h11.Request(method=said[1], target=said[2], headers=headers, _parsed=True)
    return [request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]


def _headers(lines: bytes) -> list[tuple[bytes, bytes]] | None:
    """Names in small letters, and values; None when a line is none, or none of ours."""
    found = []
    for line in lines.split(b"\r\n"):
        if (said := _LINE.fullmatch(line)) is None:
            return None
        found.append((said[1].lower(), said[2]))
    return found


def _is_whole(headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
    """Whether there is one host, nothing about the connection, and as much of a body as is said."""
    names = [name for name, _ in headers]
    if names.count(b"host") != 1 or not _CONDITIONS.isdisjoint(names):
        return False
    lengths = [value for name, value in headers if name == b"content-length"]
    if not lengths:
        return not body
    return len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]) is not None and int(lengths[0]) == len(body)
