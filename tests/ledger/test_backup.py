from __future__ import annotations

import os
import threading

import pytest

from sekisho.core.errors import InputError, LedgerError
from sekisho.ledger import backup as room
from sekisho.ledger.backup import back_up
from sekisho.ledger.store import Ledger

from .makers import drop_guards, judgement


def fill(ledger, name, count=20):
    sealed = [ledger.seal(f"{name} {i}") for i in range(count)]
    ledger.append([judgement(f"{name}{i}", content=s.digest) for i, s in enumerate(sealed)], sealed)
    return sealed


def test_a_copy_has_everything_and_can_take_the_ledgers_place(ledger, tmp_path):
    sealed = fill(ledger, "kept")
    head = back_up(ledger, tmp_path / "copy.sqlite")
    assert head == ledger.head()
    if os.name != "nt":
        assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == 0o600
    with Ledger.open(tmp_path / "copy.sqlite") as copy:
        assert copy.verify().ok
        assert copy.content(sealed[3].digest) == "kept 3"
        assert copy.append([judgement("after")])[0].seq == head.seq + 1
    assert not list(tmp_path.glob(".*part*"))


def test_others_write_meanwhile_and_the_copy_is_of_one_moment(ledger, tmp_path):
    fill(ledger, "before", 200)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            ledger.append([judgement()])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        heads = [back_up(ledger, tmp_path / f"{i}.sqlite") for i in range(3)]
    finally:
        stop.set()
        thread.join()
    assert heads[0].seq <= heads[1].seq <= heads[2].seq <= ledger.head().seq
    with Ledger.open(tmp_path / "2.sqlite", read_only=True) as copy:
        assert copy.head() == heads[2]


def test_what_stands_there_is_not_overwritten_and_a_bad_copy_gets_no_name(ledger, path, tmp_path):
    fill(ledger, "x")
    (tmp_path / "there").write_text("mine")
    for wrong in (tmp_path / "there", tmp_path / "no folder" / "a"):
        with pytest.raises(InputError):
            back_up(ledger, wrong)
    assert (tmp_path / "there").read_text() == "mine"
    drop_guards(ledger._writer)
    ledger._writer.execute("UPDATE entries SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 2")
    with pytest.raises(LedgerError, match="not whole"):
        back_up(ledger, tmp_path / "bad.sqlite")
    assert sorted(p.name for p in tmp_path.iterdir() if "bad" in p.name) == []


def test_a_disk_that_takes_nothing_is_a_ledger_error(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(
        room, "_audited", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(LedgerError, match="No space left"):
        back_up(ledger, tmp_path / "copy.sqlite")
    assert not list(tmp_path.glob("*copy*"))
