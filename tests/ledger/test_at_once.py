"""Commits by whoever is alone: the same as any other, and never a wait for somebody else."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing

import pytest

from sekisho.core.errors import ConflictError, LedgerError
from sekisho.ledger.store import QUICK, Ledger

from .makers import judgement


@pytest.fixture
def quick(ledger):
    """A ledger whose disk has been quick for a while."""
    ledger._pace = 0.0
    return ledger


def test_a_new_ledger_waits_until_it_knows_its_disk(ledger):
    assert ledger.append_at_once([judgement("j0")]) is None
    assert ledger.count() == 0


def test_what_is_appended_at_once_is_in_the_chain_like_the_rest(quick):
    sealed = quick.seal({"state": "x"})
    (one,) = quick.append_at_once([judgement("j1").model_copy(update={"content": sealed.digest})], [sealed])
    quick.append([judgement("j2")])
    assert quick.append_at_once([judgement("j3")])
    assert [e.id for e in quick.entries()] == ["j1", "j2", "j3"]
    assert quick.content(one.body["content"]) == {"state": "x"}
    assert quick.verify().ok


def test_a_taken_id_and_a_wrong_digest_are_told(quick):
    quick.append([judgement("j1")])
    with pytest.raises(ConflictError):
        quick.append_at_once([judgement("j1")])
    sealed = quick.seal("x")
    with pytest.raises(LedgerError, match="does not have its digest"):
        quick.append_at_once([], [type(sealed)("sha256:0", sealed.salt, sealed.body)])
    assert quick.append_at_once([judgement("j2")])


def test_it_does_not_wait_for_another_process_and_the_next_append_does(quick, path):
    quick.append([judgement("j0")])
    quick._pace = 0.0
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        assert quick.append_at_once([judgement("j1")]) is None
        assert time.monotonic() - start < 1.0  # a writer's patience is five
        waits = threading.Thread(target=lambda: quick.append([judgement("j2")]))
        waits.start()
        time.sleep(0.3)
        assert waits.is_alive()
        other.execute("ROLLBACK")
        waits.join(5)
    assert [e.id for e in quick.entries()] == ["j0", "j2"]
    assert quick.problem is None


def test_it_does_not_wait_for_another_thread(quick, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    commit = quick._queue._commit

    def slow(batch):
        begun.set()
        go.wait(5)
        commit(batch)

    monkeypatch.setattr(quick._queue, "_commit", slow)
    waits = threading.Thread(target=lambda: quick.append([judgement("j1")]))
    waits.start()
    begun.wait(5)
    assert quick.append_at_once([judgement("j2")]) is None
    go.set()
    waits.join(5)
    assert [e.id for e in quick.entries()] == ["j1"]


def test_who_appends_while_somebody_commits_at_once_comes_after(quick, monkeypatch):
    """The one who leads at once wakes those who came meanwhile."""
    transact, begun = quick._transact, threading.Event()

    def slow(batch):
        begun.set()
        time.sleep(0.2)
        transact(batch)

    monkeypatch.setattr(quick, "_transact", slow)
    waits = threading.Thread(target=lambda: (begun.wait(5), quick.append([judgement("j2")])))
    waits.start()
    assert quick.append_at_once([judgement("j1")])
    waits.join(5)
    assert [e.id for e in quick.entries()] == ["j1", "j2"]


def test_a_slow_disk_is_left_to_threads_until_it_is_quick_again(quick, monkeypatch):
    transact = quick._transact

    def slow(batch):
        time.sleep(8 * QUICK)
        transact(batch)

    with monkeypatch.context() as patched:
        patched.setattr(quick, "_transact", slow)
        quick.append([judgement("slow")])
    assert quick.append_at_once([judgement("j1")]) is None
    for i in range(20):
        quick.append([judgement(f"k{i}")])
    assert quick.append_at_once([judgement("j1")])


def test_many_threads_each_way_lose_nothing(quick):
    lost = []

    def work(name):
        for i in range(40):
            record = [judgement(f"{name}-{i}")]
            if not (quick.append_at_once(record) or quick.append(record)):
                lost.append((name, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not lost
    assert quick.count() == 160
    assert quick.verify().ok


def test_a_read_only_or_closed_ledger_says_so(quick, path):
    quick.append([judgement("j1")])
    with Ledger.open(path, read_only=True) as other, pytest.raises(LedgerError, match="read-only"):
        other.append_at_once([judgement("j2")])
    quick.close()
    assert quick.append_at_once([judgement("j3")]) is None  # and `append` says that it is closed
