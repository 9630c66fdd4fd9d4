from __future__ import annotations

import asyncio

import pytest

from sekisho import metrics


@pytest.fixture(autouse=True)
def settled():
    metrics.settle()


def test_where_no_loop_runs_a_number_is_noted_at_once():
    noted = []
    metrics.soon(noted.append, 1)
    assert noted == [1]


def test_in_a_loop_it_is_noted_a_little_later_in_order():
    async def play():
        noted = []
        for i in range(3):
            metrics.soon(noted.append, i)
        at_once = list(noted)
        await asyncio.sleep(0.05)
        return at_once, noted

    assert asyncio.run(play()) == ([], [0, 1, 2])


def test_a_loop_that_ended_loses_no_number():
    noted = []

    async def first():
        metrics.soon(noted.append, 1)

    async def second():
        metrics.soon(noted.append, 2)
        await asyncio.sleep(0.05)

    asyncio.run(first())
    assert noted == []
    asyncio.run(second())
    assert noted == [1, 2]


def test_whoever_wants_the_numbers_now_has_them(caplog):
    noted = []

    async def play():
        metrics.soon(noted.append, 1)
        metrics.soon(lambda: 1 / 0)
        metrics.soon(noted.append, 2)
        metrics.settle()
        assert noted == [1, 2]

    asyncio.run(play())
    assert "a number was not noted" in caplog.text
