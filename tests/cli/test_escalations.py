from __future__ import annotations

import pytest

from sekisho.core.canonical import new_id, utc_now
from sekisho.core.records import Judgement, Stamp


@pytest.fixture
def escalated(house):
    stamp = Stamp(engine="fake", model="m", model_digest="sha256:0")
    made = [
        Judgement(id=new_id("jdg"), at=at, task="gate", decision="ESCALATE", stamp=stamp)
        for at in (utc_now(), "2026-01-01T00:00:00.000000Z")
    ]
    house.ledger.append(made)
    return [j.id for j in made]


def test_the_queue_from_the_command_line(cli, escalated):
    new, old = escalated
    assert new in cli("escalations", "list", "--state", "open").out
    assert cli("escalations", "take", new, "--by", "hana").code == 0
    wrong = cli("escalations", "decide", new, "--outcome", "ALLOW", "--reason", "x", "--by", "ken")
    assert "taken by hana" in wrong.err
    assert cli("escalations", "hand-back", new, "--by", "hana").code == 0
    assert cli("escalations", "take", new, "--by", "ken").code == 0
    assert cli("escalations", "decide", new, "--outcome", "DENY", "--reason", "x", "--by", "ken").code == 0
    assert cli("escalations", "show", new).document["outcome"] == "DENY"
    assert cli("escalations", "expire", "--json").document == {"expired": [old]}
    assert cli("escalations", "expire", "--json").document == {"expired": []}
    assert cli("escalations", "list", "--json").document == {"escalations": [], "next": None}
    assert "expire" in cli("audit", "show", "--kind", "escalation").out
