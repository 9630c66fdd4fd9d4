from __future__ import annotations

import contextlib
import re
import socket
import threading
import time

import pytest
import uvicorn

from sekisho.web import ahead
from sekisho.web.app import bind
from sekisho.web.connections import Crowd, configured

BODY = b'{"a": 1}'
PLAIN = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
POSTED = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 3\r\n\r\nabc"


class Told:
    """An application that answers what it is told."""

    def __init__(self) -> None:
        self.status, self.headers, self.pieces = 200, [(b"content-length", b"8")], [BODY]
        self.reads, self.ends = True, ""

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        while self.reads and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if self.ends == "raise":
            raise RuntimeError("broken")
        for i, piece in enumerate(self.pieces if not self.ends else [], 1):
            await send({"type": "http.response.body", "body": piece, "more_body": i < len(self.pieces)})


@contextlib.contextmanager
def serving(app):
    listener = bind("127.0.0.1", 0)
    config = configured(app, Crowd(1024), timeout_graceful_shutdown=1)
    config.lifespan = "off"
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def told():
    app = Told()
    with serving(app) as app.port:
        yield app


@pytest.fixture(autouse=True)
def fresh(told):
    port = told.port
    told.__init__()
    told.port = port


def heard(told, sent: bytes, quiet: float = 0.15) -> tuple[bytes, bool]:
    """What comes back, without its date, until the far side is silent for a while; and whether it closed."""
    got, closed = b"", False
    with socket.create_connection(("127.0.0.1", told.port), timeout=5) as opened:
        opened.sendall(sent)
        opened.settimeout(5)
        with contextlib.suppress(TimeoutError):
            while part := opened.recv(1 << 16):
                got += part
                opened.settimeout(quiet)
            closed = True
    return re.sub(rb"date: [^\r]*", b"date: now", got), closed


def ways(told, sent: bytes, monkeypatch) -> tuple[list[bytes], tuple[bytes, bool], tuple[bytes, bool]]:
    """What went ahead, the answer with it, and the answer without."""
    gone, raw = [], ahead._raw

    def noted(*args):
        gone.append(raw(*args))
        return gone[-1]

    with monkeypatch.context() as patch:
        patch.setattr(ahead, "_raw", noted)
        first = heard(told, sent)
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "_is_plain", lambda *_: False)
        second = heard(told, sent)
    return [g for g in gone if g is not None], first, second


@pytest.mark.parametrize("sent", [PLAIN, POSTED, PLAIN * 3, POSTED + PLAIN])
def test_what_goes_ahead_is_what_the_library_would_have_sent(told, sent, monkeypatch):
    told.headers = [
        *told.headers,
        (b"content-type", b"application/json"),
        (b"x-said", "ä b".encode("latin-1")),
    ]
    gone, first, second = ways(told, sent, monkeypatch)
    assert len(gone) == sent.count(b"HTTP/1.1")
    assert first == second
    assert first[0].count(BODY) == len(gone)


@pytest.mark.parametrize(
    "sent",
    [
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"host", b"connection: close\r\nhost"),
        PLAIN.replace(b"GET", b"HEAD"),
        PLAIN.replace(b"host", b"connection: upgrade\r\nupgrade: h2c\r\nhost"),
        POSTED.replace(b"host", b"expect: 100-continue\r\nhost"),
        PLAIN.replace(b"host", b"connection: close\r\nhost") + PLAIN,
    ],
)
def test_requests_with_conditions_go_their_ordinary_way(told, sent, monkeypatch):
    gone, first, second = ways(told, sent, monkeypatch)
    assert gone == []
    assert first == second
    assert b"HTTP/1.1 200 OK" in first[0]


def test_an_answer_before_the_end_of_the_body_goes_its_ordinary_way(told, monkeypatch):
    told.reads = False
    gone, first, second = ways(told, POSTED[:-2], monkeypatch)
    assert gone == []
    assert first == second


@pytest.mark.parametrize(
    ("status", "headers", "pieces"),
    [
        (200, [], [BODY]),
        (200, [(b"content-length", b"8")], [BODY[:4], BODY[4:]]),
        (200, [(b"content-length", b"8"), (b"connection", b"close")], [BODY]),
        (204, [(b"content-length", b"0")], [b""]),
        (304, [(b"content-length", b"8")], [b""]),
        (200, [(b"content-length", b"40000")], [b"x" * 40000]),
        (200, [(b"content-length", b"8"), (b"transfer-encoding", b"chunked")], [BODY]),
        (200, [(b"content-length", b"8"), (b"Transfer-Encoding", b"chunked")], [BODY]),
        (200, [(b"content-length", b"8"), (b"Content-Length", b"9")], [BODY]),
        (200, [(b"content-length", b"8"), (b"Connection", b"close")], [BODY]),
        (200, [(b"content-length", b"8"), (b"x-empty", b"")], [BODY]),
        (200, [(b"content-length", b"9")], [BODY]),
        (200, [(b"content-length", b"8"), (b"x-cut", b"a\r\nx-more: b")], [BODY]),
        (200, [(b"content-length", b"8"), (b"x-cut", b"a\0b")], [BODY]),
        (200, [(b"content-length", b"8"), (b"x cut", b"a")], [BODY]),
    ],
)
def test_answers_with_conditions_go_their_ordinary_way(told, status, headers, pieces, monkeypatch):
    told.status, told.headers, told.pieces = status, headers, pieces
    gone, first, second = ways(told, PLAIN, monkeypatch)
    assert gone == []
    assert first == second
    assert b"x-more: b" not in first[0]


@pytest.mark.parametrize("ends", ["raise", "return"])
def test_an_answer_without_its_body_is_cut_off(told, ends, monkeypatch):
    told.ends = ends
    _, first, second = ways(told, PLAIN, monkeypatch)
    assert first[1] is second[1] is True


@pytest.mark.parametrize("status", [200, 201, 400, 404, 422, 429, 500, 503, 299])
def test_every_status_has_its_phrase(told, status, monkeypatch):
    told.status = status
    gone, first, second = ways(told, PLAIN, monkeypatch)
    assert len(gone) == 1
    assert first == second


def test_what_is_no_http_after_a_whole_answer_is_refused_as_before(told, monkeypatch):
    gone, first, second = ways(told, PLAIN + b"\x00\x01nonsense\r\n\r\n", monkeypatch)
    plain = [re.sub(rb"req_\w+|req-\w+", b"id", said) for said, _ in (first, second)]
    assert len(gone) == 1
    assert plain[0].count(b"HTTP/1.1 ") == plain[1].count(b"HTTP/1.1 ") == 2
    assert b" 400 " in first[0]
    assert first[1] is second[1] is True
