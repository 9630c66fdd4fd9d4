from __future__ import annotations

import asyncio
import threading

import pytest

from sekisho.core.canonical import new_id, utc_now
from sekisho.core.errors import LedgerError
from sekisho.core.records import Judgement, Stamp
from sekisho.loop.keeping import Keeper, Sealing

STAMP = Stamp(engine="fake", model="m", model_digest="sha256:0")


def judgement() -> Judgement:
    return Judgement(id=new_id("jdg"), at=utc_now(), task="question", decision="true", stamp=STAMP)


@pytest.fixture
def where(house, monkeypatch):
    """The threads in which the ledger committed."""
    threads = []
    transact = house.ledger._transact
    monkeypatch.setattr(
        house.ledger, "_transact", lambda batch: (threads.append(threading.current_thread()), transact(batch))
    )
    return threads


@pytest.mark.parametrize(
    ("alone", "pace", "there"), [(False, 0.003, False), (True, 0.003, True), (False, 0.001, True)]
)
def test_who_is_alone_commits_on_the_event_loop_and_all_do_when_the_disk_is_very_quick(
    house, where, alone, pace, there
):
    house.ledger._pace = pace
    (kept,) = asyncio.run(Keeper(house.ledger).keep([judgement()], {"state": "x"}, alone=alone))
    assert [t is threading.main_thread() for t in where] == [there]
    assert house.ledger.content(kept.content) == {"state": "x"}


def test_who_is_alone_waits_in_a_thread_when_the_disk_is_slow(house, where):
    house.ledger._pace = 1.0
    asyncio.run(Keeper(house.ledger).keep([judgement()], {}, alone=True))
    assert [t is threading.main_thread() for t in where] == [False]


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_content_is_sealed_once_early_or_late(pause):
    async def play():
        made = []
        sealing = Sealing(lambda: made.append(1) or {"state": "x"})
        await asyncio.sleep(pause)
        assert bool(made) == (pause > 0)
        sealed = sealing.done()
        await asyncio.sleep(0.02)
        return made, sealed

    made, sealed = asyncio.run(play())
    assert made == [1]
    assert sealed.body == '{"state":"x"}'


def test_content_that_cannot_be_sealed_is_told_when_it_is_wanted():
    async def play():
        sealing = Sealing(lambda: float("nan"))
        await asyncio.sleep(0.02)
        with pytest.raises(LedgerError):
            sealing.done()

    asyncio.run(play())


def test_what_is_too_late_is_not_released_to_whoever_is_alone(house, where):
    house.ledger._pace = 0.0
    with pytest.raises(LedgerError, match="in time"):
        asyncio.run(Keeper(house.ledger).keep([judgement()], {}, until=0.0, alone=True))
