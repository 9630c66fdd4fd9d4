"""What loads and runs a server is itself tried out, on a server in this process, so that no soak is empty."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from web import makers

from .running import KINDS, Load, running


def test_a_load_receives_answers_of_every_kind(tmp_path: Path) -> None:
    with makers.house(tmp_path) as house, makers.live(house, makers.judge_over(house)) as address:
        load, until = Load(address, clients=2), time.monotonic() + 20
        while {kind for kind, _, _ in load.received} != set(KINDS) and time.monotonic() < until:
            time.sleep(0.05)
        received = load.stop()
        assert {kind for kind, _, _ in received} == set(KINDS)
        for _, judgement, decision in received:
            entry = house.ledger.get(judgement)
            assert entry is not None
            assert entry.body["decision"] == decision


_TALKATIVE = """
import sys
print("serves at http://127.0.0.1:1", flush=True)
print("x" * 200_000, flush=True)
open("all said", "w").close()
sys.stdin.read()
"""


def test_a_server_that_writes_much_is_not_held_up(tmp_path: Path) -> None:
    with running([sys.executable, "-c", _TALKATIVE], tmp_path) as (_, address):
        assert address == "http://127.0.0.1:1"
        until = time.monotonic() + 10
        while not (tmp_path / "all said").exists() and time.monotonic() < until:
            time.sleep(0.02)
    assert (tmp_path / "all said").exists()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no model')"]
    with pytest.raises(AssertionError, match="no model"), running(command, tmp_path):
        pass
