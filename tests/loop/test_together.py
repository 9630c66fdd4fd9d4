"""Appends of one event loop: together, each all or nothing, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from sekisho.core.canonical import new_id, utc_now
from sekisho.core.errors import ConflictError, LedgerError
from sekisho.core.records import Judgement, Stamp
from sekisho.loop.together import Together

STAMP = Stamp(engine="fake", model="m", model_digest="sha256:0")
SLOW, FAST = 1.0, 0.0


def judgement(id: str | None = None) -> Judgement:
    return Judgement(id=id or new_id("jdg"), at=utc_now(), task="question", decision="true", stamp=STAMP)


@pytest.fixture(params=[SLOW, FAST], ids=["in a thread", "on the loop"])
def ledger(house, request):
    """A ledger whose disk is always as slow or as quick."""
    house.ledger.__class__ = type(
        "Still", (type(house.ledger),), {"_pace": property(lambda _: request.param, lambda *_: None)}
    )
    return house.ledger


@pytest.fixture
def batches(ledger, monkeypatch):
    """Size and thread of every commit."""
    seen, transact = [], ledger._transact

    def watched(batch):
        seen.append((len(batch), threading.current_thread() is threading.main_thread()))
        transact(batch)

    monkeypatch.setattr(ledger, "_transact", watched)
    return seen


def test_those_of_one_turn_share_a_commit_where_it_belongs(ledger, batches):
    async def play():
        together = Together(ledger)
        return await asyncio.gather(*(together.append([judgement()]) for _ in range(20)))

    found = asyncio.run(play())
    assert [entry.seq for (entry,) in found] == list(range(1, 21))
    assert batches == [(20, ledger._pace == FAST)]
    assert ledger.verify().ok


def test_those_that_come_while_one_is_in_flight_share_the_next(ledger, batches):
    async def writer(together):
        for _ in range(10):
            await together.append([judgement()])

    async def play():
        together = Together(ledger)
        await asyncio.gather(*(writer(together) for _ in range(8)))

    asyncio.run(play())
    assert ledger.count() == 80
    assert len(batches) < 40
    assert ledger.verify().ok


def test_one_that_is_refused_takes_no_other_with_it(ledger):
    async def play():
        together = Together(ledger)
        names = ("a", "taken", "b", "a")
        return await asyncio.gather(*(together.append([judgement(n)]) for n in names), return_exceptions=True)

    ledger.append([judgement("taken")])
    one, taken, two, again = asyncio.run(play())
    assert [one[0].id, two[0].id] == ["a", "b"]
    assert isinstance(taken, ConflictError)
    assert isinstance(again, ConflictError)
    assert ledger.count() == 3


def test_who_is_gone_holds_nobody_up(ledger):
    async def play():
        together = Together(ledger)
        gone = asyncio.create_task(together.append([judgement("gone")]))
        stays = asyncio.create_task(together.append([judgement("stays")]))
        await asyncio.sleep(0)
        gone.cancel()
        (entry,) = await stays
        assert gone.cancelled() or await asyncio.gather(gone, return_exceptions=True)
        await together.append([judgement("later")])
        return entry.id

    assert asyncio.run(play()) == "stays"
    assert [e.id for e in ledger.entries()] == ["stays", "later"]


def test_a_closed_ledger_is_told_to_everybody(ledger):
    async def play():
        together = Together(ledger)
        return await asyncio.gather(
            *(together.append([judgement()]) for _ in range(3)), return_exceptions=True
        )

    ledger._queue.close()
    errors = asyncio.run(play())
    assert all(isinstance(e, LedgerError) and "closed" in str(e) for e in errors)
    assert len({id(e) for e in errors}) == 3


def test_whatever_a_commit_ends_with_is_an_error_and_the_next_goes_on(ledger, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    async def play():
        together = Together(ledger)
        with monkeypatch.context() as patched:
            patched.setattr(ledger, "_transact", broken)
            with pytest.raises(LedgerError, match="not known to be durable"):
                await together.append([judgement()])
        return await asyncio.wait_for(together.append([judgement("next")]), 10)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    try:
        assert loop.run_until_complete(play())[0].id == "next"
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_a_loop_that_ended_in_the_middle_does_not_bind_the_next(ledger, monkeypatch):
    together, transact = Together(ledger), ledger._transact
    monkeypatch.setattr(ledger, "_transact", lambda batch: (time.sleep(0.2), transact(batch)))

    async def leave():
        task = asyncio.create_task(together.append([judgement()]))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    assert asyncio.run(together.append([judgement("next")]))[0].id == "next"
