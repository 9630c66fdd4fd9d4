"""What loads and runs a server is itself tried out, on a server in this process, so that no soak is empty."""

from __future__ import annotations

import time
from pathlib import Path

from web import makers

from .running import KINDS, Load


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
