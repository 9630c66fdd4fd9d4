"""What a client received of a stream is in the ledger, whatever happened in the middle of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from sekisho.core.engine import Message, Piece, Sampling
from sekisho.core.errors import LedgerError
from sekisho.core.records import Stamp
from sekisho.ledger import schema, views
from sekisho.ledger.store import Ledger
from sekisho.loop import audit, retain, streams
from sekisho.serve.engines.fake import Script

from . import makers
from .streamer import TEXT

STAMP = Stamp(engine="fake", model="m", model_digest="sha256:0")
TESTS = Path(__file__).parents[1]
CHAT = {
    "model": makers.MODEL,
    "messages": [{"role": "user", "content": makers.FAMILIAR}],
    "max_tokens": 30_000,
    "stream": True,
}


@contextlib.contextmanager
def server(home: Path):
    """`streamer.py` and its address; killed at the end."""
    path = os.pathsep.join((str(TESTS), str(TESTS.parent / "src")))
    command = [sys.executable, "-m", "web.streamer", str(home)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def read_until_killed(process, address: str, characters: int) -> tuple[str, str]:
    """Read a stream, kill the server once so many characters came, and read what is still on its way; gate's judgement and text."""
    text, gate = "", ""
    with (
        httpx.Client(base_url=address, timeout=30) as client,
        contextlib.suppress(httpx.HTTPError),
        client.stream("POST", "/v1/chat/completions", json=CHAT) as response,
    ):
        for line in response.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line[6:])
                gate = chunk.get("x_sekisho", {}).get("judgement", gate)
                text += chunk["choices"][0]["delta"].get("content", "")
            if len(text) > characters and process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(20)
    return gate, text


@pytest.mark.skipif(os.name == "nt", reason="there is no kill -9")
def test_what_a_client_received_is_in_the_ledger_after_kill_9_in_the_middle(tmp_path):
    with server(tmp_path) as (process, address):
        gate, received = read_until_killed(process, address, 700)
    assert len(received) > 700
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.entries(task="chat") == []  # the record that closes a stream never came
        (shown,) = audit.show(ledger, id=gate)
        kept = "".join(s["kept"]["answer"] for s in shown["stretches"])
        assert kept.startswith(received)
        assert TEXT.startswith(kept)
        assert [s["place"] for s in shown["stretches"]] == list(range(len(shown["stretches"])))
        assert ledger.verify().ok
        retain.erase(ledger, gate, "asked for", "a test")
        assert [s["kept"] for s in audit.show(ledger, id=gate)[0]["stretches"]] == [None] * len(
            shown["stretches"]
        )
        assert ledger.verify().ok
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not [p for p in files if b"word77 word78" in p.read_bytes()]


@pytest.fixture
def writing(engine):
    """The engine writes words without pause."""
    engine.script = Script(probabilities=makers.sure_of("ALLOW"), text=TEXT[:3000])
    return engine


def pieces_of(judge, streamed=True):
    """The chat's outcome, and its pieces as an iterator."""
    messages = [Message(role="user", content=makers.FAMILIAR)]
    return judge.chat(messages, Sampling(max_tokens=30_000), streamed=streamed)


def test_each_piece_is_durable_before_it_leaves_and_the_ledger_is_not_flooded(house, judge, writing):
    async def run() -> tuple[str, str, int]:
        chat = await pieces_of(judge)
        text, pieces = "", 0
        async for piece in chat.pieces:
            text, pieces = text + piece.text, pieces + 1
            gate = house.ledger.get(chat.judgement.id)
            closing_record = house.ledger.entries(task="chat")
            kept = [
                house.ledger.content(e.body["content"])["answer"] for e in views.stretches(house.ledger, gate)
            ]
            whole = [house.ledger.content(e.body["content"])["answer"] for e in closing_record]
            assert text in ("".join(kept), *whole)
        return chat.judgement.id, text, pieces

    gate, text, pieces = asyncio.run(run())
    assert text == TEXT[:3000]
    assert 10 <= pieces <= 3000 / streams.LENGTH + 2
    (record,) = house.ledger.entries(task="chat")
    assert house.ledger.content(record.body["content"]) == {"answer": text}
    assert views.stretches(house.ledger, record) == views.stretches(house.ledger, house.ledger.get(gate))


def test_a_slow_text_still_flows(house, judge, writing, monkeypatch):
    monkeypatch.setattr(streams, "SECONDS", 0.05)
    writing.script.text, writing.script.delay = TEXT[:80], 0.03

    async def run() -> list[str]:
        return [p.text async for p in (await pieces_of(judge)).pieces]

    found = asyncio.run(run())
    assert "".join(found) == TEXT[:80]
    assert len(found[0]) == writing.script.piece
    assert len(found) >= 6


def test_an_answer_in_one_piece_has_one_record(house, judge, writing):
    async def run() -> str:
        return "".join([p.text async for p in (await pieces_of(judge, streamed=False)).pieces])

    assert asyncio.run(run()) == TEXT[:3000]
    assert len(house.ledger.entries(task="chat")) == 1
    assert house.ledger.count("stretch") == 0


def test_a_ledger_that_is_locked_in_the_middle_lets_nothing_out(house, judge, writing, monkeypatch):
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)

    async def run() -> tuple[str, str]:
        house.ledger._writer.execute("PRAGMA busy_timeout = 100")
        chat = await pieces_of(judge)
        text = ""
        with closing(sqlite3.connect(house.ledger.path, isolation_level=None)) as other:
            try:
                async for piece in chat.pieces:
                    text += piece.text
                    if len(text) > 500 and not other.in_transaction:
                        other.execute("BEGIN IMMEDIATE")
            except LedgerError as e:
                assert "locked" in e.what  # noqa: PT017
                return chat.judgement.id, text
        raise AssertionError("the stream went on")

    gate, text = asyncio.run(run())
    found = views.stretches(house.ledger, house.ledger.get(gate))
    assert "".join(house.ledger.content(e.body["content"])["answer"] for e in found) == text


def test_a_stream_over_http_shows_its_stretches_with_the_judgement(client, house, writing):
    with client.stream("POST", "/v1/chat/completions", json=CHAT) as response:
        lines = [json.loads(x[6:]) for x in response.iter_lines() if x.startswith("data: {")]
    found = client.get(f"/v1/judgements/{lines[0]['x_sekisho']['judgement']}").json()
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in lines)
    kept = "".join(s["kept"]["answer"] for s in found["stretches"])
    assert said == TEXT[:3000]
    assert said.startswith(kept)
    assert len(kept) > 2000


def test_the_last_piece_brings_what_was_held_back(house):
    held = streams.Stretches(house.ledger, "jdg_x", lambda by: STAMP)

    async def run() -> list[str]:
        first = await held.take(Piece(text="a"))
        assert await held.take(Piece(text="b")) is None
        return [first.text, held.close(Piece(text="c", finish="stop")).text]

    assert asyncio.run(run()) == ["a", "bc"]
