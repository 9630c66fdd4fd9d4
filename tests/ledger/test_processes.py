from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sekisho.ledger import schema
from sekisho.ledger.store import MAX_PAGE, Ledger

from .makers import judgement

APPENDER = Path(__file__).with_name("appender.py")
KILLS = int(os.environ.get("SOAK_LEDGER_KILLS", "20"))
WRITERS = 16


def start(path: Path, threads: int, how_many: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(APPENDER), str(path), str(threads)] + ([str(how_many)] if how_many else [])
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def acknowledged(output: bytes) -> list[tuple[str, ...]]:
    """(seq, id, digest) of each whole line; a line cut by the kill was not received."""
    return [tuple(line.decode().split()) for line in output.splitlines(keepends=True) if line.endswith(b"\n")]


@pytest.mark.slow
def test_kills_under_sixteen_writers_lose_nothing_that_was_acknowledged(path):
    chance = random.Random(7)
    received: list[tuple[str, ...]] = []
    for _ in range(KILLS):
        child = start(path, threads=WRITERS)
        output = b"".join(child.stdout.readline() for _ in range(chance.randint(1, 40)))
        time.sleep(chance.random() * 0.02)
        child.kill()
        output += child.stdout.read()
        assert child.wait() == -signal.SIGKILL
        fresh = acknowledged(output)
        received += fresh
        # Reading needs no repair first, and neither does the next writer.
        with Ledger.open(path, read_only=True) as reader:
            assert all(
                (e := reader.get(id)) is not None and (str(e.seq), e.digest) == (s, d) for s, id, d in fresh
            )
    assert len(received) >= KILLS
    with Ledger.open(path) as ledger:
        assert schema.migrate(ledger._writer) == 0
        found = ledger.verify()
        assert (found.ok, found.problem) == (True, None)
        assert found.entries >= len(received)
        stored = {}
        while page := ledger.entries(after=len(stored), limit=MAX_PAGE):
            stored.update({(str(e.seq), e.id, e.digest): e for e in page})
        assert set(received) <= stored.keys()
        assert all(ledger.content(e.body["content"]) == "text " * 50 for e in list(stored.values())[-50:])
        assert ledger.append([judgement()])[0].seq == found.entries + 1


def test_two_processes_and_a_reader_share_one_ledger(path):
    children = [start(path, threads=2, how_many=60) for _ in range(2)]
    with Ledger.open(path) as here:
        own = [here.append([judgement()])[0] for _ in range(40)]
        outputs = [c.communicate()[0] for c in children]
        assert [c.returncode for c in children] == [0, 0]
        lines = [acknowledged(o) for o in outputs]
        assert [len(x) for x in lines] == [120, 120]
        seqs = sorted([int(s) for x in lines for s, _, _ in x] + [e.seq for e in own])
        assert seqs == list(range(1, 281))
        assert here.verify().ok
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
