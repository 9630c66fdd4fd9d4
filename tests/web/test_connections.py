from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import resource
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import httpx
import pytest

from sekisho.web.connections import Crowd, Seldom, hush_accepting, open_files
from sekisho.web.gathering import Gathering

from . import makers
from .makers import promote

FEW = 120


def connect(address, sent=b""):
    url = urlsplit(address)
    opened = socket.create_connection((url.hostname, url.port), timeout=10)
    opened.sendall(sent)
    return opened


def rest(opened) -> bytes:
    """Everything until the server closes; empty when it only closes."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while part := opened.recv(65536):
            got += part
    return got


_SERVE = """
import sys
from sekisho.core.settings import load
from sekisho.web.app import serve
serve(load(flags={"home": sys.argv[1], "share": sys.argv[2], "engine": "fake", "port": 0}, env={}))
"""


def test_with_few_files_and_many_half_sent_headers_it_serves_and_its_log_stays_small(tmp_path):
    with makers.house(tmp_path) as house:
        promote(house, "served")
    command = [sys.executable, "-c", _SERVE, str(tmp_path), str(makers.ROOT)]
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEKISHO_")}
    said = tmp_path / "said"
    with said.open("wb") as log, contextlib.ExitStack() as stack:
        server = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=env,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW)),
        )
        stack.enter_context(server)
        stack.callback(server.kill)
        address = re.search(r"http://\S+", server.stdout.readline())[0]
        for _ in range(FEW - 10):
            stack.enter_context(connect(address, b"GET /"))
        time.sleep(1.5)
        for _ in range(3):
            answer = httpx.post(f"{address}/v1/gate", json={"text": makers.FAMILIAR}, timeout=5)
            assert answer.status_code == 200
    assert said.stat().st_size < 10_000
    assert b"connections are open" in said.read_bytes()


def test_half_a_header_is_answered_and_silence_is_closed_after_a_while(house, judge):
    with makers.live(house, judge, Crowd(1024, header_seconds=0.3)) as address:
        start = time.monotonic()
        with connect(address, b"GET /healthz HTTP/1.1\r\nhost") as half, connect(address) as silent:
            for _ in range(3):
                time.sleep(0.05)
                half.sendall(b"x")  # what trickles in buys no time
            assert rest(half).startswith(b"HTTP/1.1 400 ")
            assert rest(silent) == b""
        assert 0.25 < time.monotonic() - start < 2


def test_a_request_under_way_and_a_body_that_is_slow_have_no_clock(house, judge, engine):
    engine.script.delay = 0.6
    body = json.dumps({"text": makers.FAMILIAR}).encode()
    head = f"POST /v1/gate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    crowd = Crowd(1024, header_seconds=0.3)
    with makers.live(house, judge, crowd) as address, connect(address, head.encode() + body[:5]) as slow:
        time.sleep(0.5)
        slow.sendall(body[5:])
        assert rest(slow).startswith(b"HTTP/1.1 200 ")


def test_an_ended_answer_does_not_keep_a_connection_whose_body_never_ends(house, judge):
    head = b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
    crowd = Crowd(1024, header_seconds=0.3)
    with makers.live(house, judge, crowd) as address, connect(address, head) as endless:
        time.sleep(0.1)
        endless.sendall(b"x")
        answer = rest(endless)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_the_one_that_waited_longest_makes_room(house, judge):
    crowd = Crowd(1024)
    crowd.most = 2
    with (
        makers.live(house, judge, crowd) as address,
        connect(address, b"GET /") as first,
        connect(address, b"GET /") as second,
    ):
        time.sleep(0.1)
        assert httpx.get(f"{address}/v1/models").status_code == 200
        assert rest(first) == b""
        second.sendall(b"v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert rest(second).startswith(b"HTTP/1.1 200 ")


def test_when_all_are_at_work_a_new_one_is_turned_away_in_shape(house, judge, engine):
    engine.script.delay = 0.5
    crowd = Crowd(1024)
    crowd.most = 1
    body = json.dumps({"text": makers.FAMILIAR}).encode()
    head = f"POST /v1/gate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    with makers.live(house, judge, crowd) as address, connect(address, head.encode() + body) as working:
        time.sleep(0.1)
        refused = httpx.get(f"{address}/v1/models")
        assert rest(working).startswith(b"HTTP/1.1 200 ")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["detail"]["error_type"] == "overloaded"


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\nbroken\r\n\r\n"])
def test_what_is_no_http_is_answered_like_every_other_error(live, sent):
    with connect(live, sent) as opened:
        head, _, body = rest(opened).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"x-typesafe-request-id: req_" in head
    assert json.loads(body)["detail"]["error_type"] == "malformed_body"


def test_an_endless_header_is_cut_off(live):
    line = b"x-long: " + b"y" * 4000 + b"\r\n"

    def send_on(opened):
        for _ in range(1000):
            opened.sendall(line)
            time.sleep(0.001)

    with (
        connect(live, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n") as opened,
        pytest.raises(ConnectionError),
    ):
        send_on(opened)
    with connect(live, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + 3 * line) as opened:
        time.sleep(0.1)
        opened.sendall(b"\r\n")
        assert opened.recv(12) == b"HTTP/1.1 200"


def test_requests_may_be_sent_ahead(live):
    one = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
    last = one.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with connect(live, 20 * one + last) as opened:
        assert rest(opened).count(b"HTTP/1.1 200 ") == 21


def test_a_hang_up_is_noticed_although_a_request_was_sent_ahead(house, judge, engine):
    engine.script.delay = 0.5
    body = json.dumps({"text": makers.FAMILIAR}).encode()
    head = f"POST /v1/gate HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    ahead = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with makers.live(house, judge, Crowd(1024)) as address:
        before = house.ledger.count("judgement")
        with connect(address, head.encode() + body + ahead):
            time.sleep(0.2)
        time.sleep(0.6)
        assert house.ledger.count("judgement") == before


def test_a_trailer_is_no_header(tmp_path):
    with makers.house(tmp_path, tokens="secret") as house:
        promote(house, "served")
        head = b"POST /v1/gate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        sent = head + b"0\r\nauthorization: Bearer secret\r\n\r\n"
        with makers.live(house, makers.judge_over(house)) as address, connect(address, sent) as opened:
            assert rest(opened).startswith(b"HTTP/1.1 401 ")


def test_who_asks_for_another_protocol_is_answered_in_this_one(live):
    """Java's client offers HTTP/2 with every request that has a body."""
    body = json.dumps({"text": makers.FAMILIAR}).encode()
    head = (
        "POST /v1/gate HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
    )
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    with connect(live) as opened:
        for cut in (len(request), len(request) - len(body), 30):
            opened.sendall(request[:cut])
            time.sleep(0.05)
            opened.sendall(request[cut:])
            assert opened.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_head_and_body_leave_in_one_piece():
    class Wire:
        def __init__(self):
            self.sent, self.closed = [], False

        def write(self, data):
            self.sent.append(data)

        def is_closing(self):
            return self.closed

        def close(self):
            self.closed = True

    async def play():
        wire = Wire()
        gathering = Gathering(wire, asyncio.get_running_loop())
        gathering.write(b"HTTP/1.1 200 OK\r\n\r\n")
        gathering.write(b"body")
        gathering.write(b"more")
        gathering.write(b"HTTP/1.1 200 OK\r\n\r\n")
        assert len(wire.sent) == 2
        await asyncio.sleep(0)  # a stream's head does not wait for its first piece
        assert len(wire.sent) == 3
        gathering.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        gathering.close()
        await asyncio.sleep(0)
        return wire.sent

    ok = b"HTTP/1.1 200 OK\r\n\r\n"
    assert asyncio.run(play()) == [ok + b"body", b"more", ok, b"HTTP/1.1 204 No Content\r\n\r\n"]


def test_head_is_get_without_a_body(live):
    for path in ("/healthz", "/v1/models", "/metrics"):
        head = httpx.head(live + path)
        assert (head.status_code, head.content) == (200, b"")
    assert httpx.head(f"{live}/v1/gate").status_code == 405


@pytest.mark.parametrize("files", [64, FEW, 1024, 4096])
def test_the_crowd_leaves_files_for_the_house(files):
    crowd = Crowd(files)
    assert crowd.most > 0
    assert crowd.backlog > 0
    assert crowd.most + 4 * crowd.backlog <= files - min(128, files // 4)


def test_the_limit_on_files_is_raised_as_far_as_it_may_be():
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 500));"
        "from sekisho.web.connections import open_files;"
        "print(open_files(), *r.getrlimit(r.RLIMIT_NOFILE), open_files())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["500", "500", "500", "500"]
    assert 0 < open_files() <= 4096


def test_accepting_that_fails_is_said_once_a_minute_and_other_faults_always(caplog):
    async def story():
        loop = asyncio.get_running_loop()
        hush_accepting(loop)
        for _ in range(100):
            loop.call_exception_handler(
                {"message": "socket.accept() out of system resource", "exception": OSError(24, "files")}
            )
        loop.call_exception_handler({"message": "something else"})

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert [r.name for r in caplog.records] == ["sekisho.web", "asyncio"]
    assert caplog.records[0].exc_info is None


def test_seldom_speaks_again_after_a_minute(caplog):
    now = [0.0]
    say = Seldom(lambda: now[0])
    for at in (0.0, 59.0, 61.0):
        now[0] = at
        say(logging.getLogger("x"), "words")
    assert len(caplog.records) == 2
