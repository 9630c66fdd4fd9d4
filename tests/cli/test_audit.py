from __future__ import annotations

import json
import sqlite3

import pytest

from sekisho.cli.audit import _SUMMARIES
from sekisho.core.records import KINDS

from .conftest import ASKED


def test_a_whole_ledger_is_whole(cli, promoted):
    found = cli("audit", "verify", "--json")
    assert found.code == 0
    assert found.document["ok"] is True
    assert found.document["entries"] > 0
    assert "whole" in cli("audit", "verify").out


@pytest.mark.parametrize(
    "command",
    [
        ["verify"],
        ["show"],
        ["prove", "jdg_x"],
        ["export", "all.jsonl"],
        ["checkpoint"],
        ["retain"],
        ["erase", "jdg_x", "--reason", "why"],
        ["hold", "*", "--reason", "why"],
    ],
)
def test_without_a_ledger_that_is_said_and_none_is_made(cli, tmp_path, command):
    home = tmp_path / "empty"
    ended = cli("audit", *command, "--home", str(home))
    assert ended.code == 2
    assert f"There is no ledger at {home / 'ledger.sqlite'}" in ended.err
    assert not home.exists()


def test_show_filters_and_pages(cli, promoted):
    everything = cli("audit", "show", "--json", "--oldest-first", "--limit", "100").document
    assert [e["seq"] for e in everything] == list(range(1, len(everything) + 1))
    proofs = cli("audit", "show", "--json", "--kind", "proof").document
    assert [e["kind"] for e in proofs] == ["proof", "proof"]
    assert proofs[0]["seq"] > proofs[1]["seq"]
    page = cli("audit", "show", "--json", "--limit", "1").document
    rest = cli("audit", "show", "--json", "--after", str(page[0]["seq"])).document
    assert [e["seq"] for e in [*page, *rest]] == [e["seq"] for e in reversed(everything)]
    shown = cli("audit", "show").out
    assert all(e["id"] in shown for e in everything)


def test_one_record_comes_with_its_content_and_corrections(cli, promoted):
    judged = cli("judge", "gate", "--text", ASKED, "--json").document
    cli("correct", judged["id"], "--label", "DENY", "--reason", "a test")
    whole = cli("audit", "show", judged["id"]).document
    assert whole["content"]["requests"] == [ASKED]
    assert [c["label"] for c in whole["corrections"]] == ["DENY"]
    assert cli("audit", "show", "jdg_none").code == 2


def test_limits_outside_the_ledger_are_refused(cli):
    for wrong in (["--limit", "0"], ["--limit", "100000000"], ["--after", "-1"], ["--after", str(1 << 70)]):
        ended = cli("audit", "show", *wrong)
        assert ended.code == 2
        assert "Traceback" not in ended.err
    assert cli("audit", "show", "--task", "gate", "--decision", "MAYBE").code == 2


def test_a_changed_entry_is_named_and_ends_with_1(cli, promoted, house):
    house.close()
    with sqlite3.connect(house.ledger.path) as db:
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        body = json.loads(db.execute("SELECT body FROM entries WHERE seq = 3").fetchone()[0])
        body["passed"] = not body["passed"]
        db.execute("UPDATE entries SET body = ? WHERE seq = 3", (json.dumps(body),))
    db.close()
    found = cli("audit", "verify", "--json")
    assert (found.code, found.document["ok"], found.document["first_bad_seq"]) == (1, False, 3)
    shown = cli("audit", "verify")
    assert shown.code == 1
    assert "NOT WHOLE" in shown.out


def test_every_kind_of_record_has_a_line():
    assert set(_SUMMARIES) == set(KINDS)
