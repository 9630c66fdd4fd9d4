from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.web.lazy_h11 import LazyConnection, plain_request

PLAIN = b"POST /a?b=c HTTP/1.1\r\nHost: here\r\nX-A:  b  c \t\r\nContent-Length: 3\r\n\r\nabc"


def read(conn, data: bytes) -> list:
    """What h11, or what stands before it, makes of the bytes: events in plain values, the last of them the one that asks for more."""
    conn.receive_data(data)
    found = []
    while True:
        try:
            event = conn.next_event()
        except h11.RemoteProtocolError:
            return [*found, "no HTTP"]
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return [*found, event]
        if isinstance(event, h11.Request):
            found.append((event.method, event.target, event.http_version, list(event.headers)))
        else:
            found.append((type(event), bytes(getattr(event, "data", b""))))
        if isinstance(event, h11.ConnectionClosed):
            return found


def server() -> h11.Connection:
    return h11.Connection(h11.SERVER)


def test_a_plain_request_is_read_without_h11():
    conn = LazyConnection(server())
    assert read(conn, PLAIN) == read(server(), PLAIN)
    assert conn.is_untold
    assert (conn.our_state, conn.their_state) == (h11.SEND_RESPONSE, h11.DONE)
    assert conn.trailing_data == (b"", False)


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-1],
        PLAIN + b"x",
        PLAIN[:30],
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"Host", b"Hose"),
        PLAIN.replace(b"X-A", b"host"),
        PLAIN.replace(b"X-A:  b", b"Connection: close"),
        PLAIN.replace(b"X-A:  b  c", b"Expect: 100-continue"),
        PLAIN.replace(b"X-A:  b  c", b"Upgrade: h2c"),
        PLAIN.replace(b"X-A:  b  c", b"Transfer-Encoding: chunked"),
        PLAIN.replace(b"X-A:  b  c", b"Content-Length: 3"),
        PLAIN.replace(b"X-A:  b  c", b"Content-Length: 4"),
        PLAIN.replace(b"X-A:", b"X-A :"),
        PLAIN.replace(b"X-A:", b" X-A:"),
        PLAIN.replace(b"b  c", b"b\nc"),
        PLAIN.replace(b"b  c", b"b\0c"),
        PLAIN.replace(b"b  c", b""),
        PLAIN.replace(b"3", b"+3"),
        PLAIN.replace(b"3", b"-3"),
        PLAIN.replace(b"3", b"0x3"),
        PLAIN.replace(b"/a", b"*"),
        PLAIN.replace(b"/a", b"/\xc3"),
        PLAIN.replace(b"POST", b"HEAD"),
        PLAIN.replace(b"POST", b"CONNECT"),
        PLAIN.replace(b"\r\n", b"\n"),
        PLAIN.replace(b"b  c", b"b" * 9000),
        b"",
    ],
)
def test_everything_else_is_h11s(data):
    assert plain_request(data) is None
    conn = LazyConnection(server())
    assert read(conn, data) == read(server(), data)
    assert not conn.is_untold


PARTS = st.sampled_from(
    [
        *(b"GET POST PUT HEAD / /a?b HTTP/1.1 HTTP/1.0 Host host: content-length: 0 1 3 abc : x-a \r \n \r\n \t \0".split(b" ")),
        b" ",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n",
        b"content-length: 3\r\n",
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"\xff",
    ]
)  # fmt: skip


@given(st.lists(PARTS, max_size=12).map(b"".join), st.sampled_from([b"", b"GET / HTTP/1.1\r\nhost: a\r\n"]))
def test_whatever_is_taken_for_plain_h11_reads_alike(tail, start):
    data = start + tail
    conn = LazyConnection(server())
    assert read(conn, data) == read(server(), data)


@given(st.lists(st.sampled_from([PLAIN, PLAIN[:40], PLAIN[40:], PLAIN[:-1], b"c", b"\0"]), max_size=5))
def test_told_late_h11_goes_on_as_if_told_at_once(pieces):
    lazy, plain = LazyConnection(server()), server()
    for piece in pieces:
        assert read(lazy, piece) == read(plain, piece)
        assert (lazy.our_state, lazy.their_state) == (plain.our_state, plain.their_state)
    lazy.tell()
    assert (lazy.our_state, lazy.their_state) == (plain.our_state, plain.their_state)
    assert lazy.trailing_data == plain.trailing_data


def test_after_a_request_that_h11_never_heard_of_comes_the_next():
    conn = LazyConnection(server())
    for _ in range(3):
        assert len(read(conn, PLAIN)) == 4
        conn.settle()
        assert (conn.our_state, conn.their_state) == (h11.IDLE, h11.IDLE)
    assert read(conn, b"GET") == [h11.NEED_DATA]


def test_an_answer_that_h11_writes_makes_it_read_first():
    conn, told = LazyConnection(server()), server()
    read(conn, PLAIN)
    read(told, PLAIN)
    answer = h11.Response(status_code=200, headers=[("content-length", "0")])
    assert conn.send(answer) == told.send(answer)
    assert conn.send(h11.EndOfMessage()) == told.send(h11.EndOfMessage())
    conn.start_next_cycle()
    assert read(conn, PLAIN)[0][0] == b"POST"
