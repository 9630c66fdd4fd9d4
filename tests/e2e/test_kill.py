from __future__ import annotations

import os
from pathlib import Path

import pytest

from sekisho.ledger.store import Ledger

from .running import KINDS, kill_under_load, sekisho

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def test_every_answer_a_client_received_is_in_the_ledger_after_kill_9(promoted: Path) -> None:
    received = kill_under_load(promoted, times=int(os.environ.get("SOAK_KILLS", "4")))
    assert len(received) >= 20, "the load was too small to prove anything"
    assert {kind for kind, _, _ in received} == set(KINDS)
    with Ledger.open(promoted / "ledger.sqlite") as ledger:
        for _, judgement, decision in received:
            entry = ledger.get(judgement)
            assert entry is not None, judgement
            assert entry.body["decision"] == decision
        assert ledger.verify().ok
    assert sekisho(promoted, "audit", "verify")["ok"]
