from __future__ import annotations

import asyncio

import pytest

from sekisho.core.errors import EngineError
from sekisho.loop.retries import RetryBook


def stays() -> bool:
    return False


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Work:
    """Counts how often it began; ends when told, or fails."""

    def __init__(self, fail: bool = False) -> None:
        self.begun, self.repeats, self.fail, self.go = 0, [], fail, asyncio.Event()

    async def __call__(self, repeats: str | None) -> str:
        self.begun += 1
        self.repeats.append(repeats)
        await self.go.wait()
        if self.fail:
            raise EngineError("down")
        return f"answer {self.begun}"


def test_a_retry_joins_the_work_under_way():
    async def story():
        book, work = RetryBook(), Work()
        first = asyncio.create_task(book.run("k", "req_1", False, work, stays))
        await asyncio.sleep(0)
        second = asyncio.create_task(book.run("k", "req_2", True, work, stays))
        await asyncio.sleep(0)
        work.go.set()
        assert await first == await second == ("req_1", "answer 1")
        assert work.begun == 1

    asyncio.run(story())


def test_two_clients_that_ask_the_same_are_not_joined():
    async def story():
        book, work = RetryBook(), Work()
        work.go.set()
        assert await book.run("k", "req_1", False, work, stays) == ("req_1", "answer 1")
        assert await book.run("k", "req_2", False, work, stays) == ("req_2", "answer 2")

    asyncio.run(story())


@pytest.mark.parametrize("late", [False, True])
def test_work_whose_client_left_goes_on_and_the_next_one_finds_it(late):
    async def story():
        book, work, left = RetryBook(), Work(), []
        first = asyncio.create_task(book.run("k", "req_1", False, work, lambda: bool(left)))
        await asyncio.sleep(0.01)
        left.append(True)
        if late:
            work.go.set()
            await asyncio.sleep(0.01)
        again = asyncio.create_task(book.run("k", "req_2", False, work, stays))
        await asyncio.sleep(0)
        work.go.set()
        assert await again == await first == ("req_1", "answer 1")
        # It was taken once; the next one who asks the same without saying "again" is somebody else.
        assert (await book.run("k", "req_3", False, work, stays))[0] == "req_3"

    asyncio.run(story())


def test_who_got_the_answer_has_not_left_when_the_connection_closes_later():
    async def story():
        book, work, left = RetryBook(), Work(), []
        work.go.set()
        await book.run("k", "req_1", False, work, lambda: bool(left))
        left.append(True)
        assert (await book.run("k", "req_2", False, work, stays))[0] == "req_2"

    asyncio.run(story())


def test_a_retry_of_failed_work_begins_anew_and_knows_what_it_repeats():
    async def story():
        book, bad, good = RetryBook(), Work(fail=True), Work()
        bad.go.set()
        good.go.set()
        with pytest.raises(EngineError):
            await book.run("k", "req_1", False, bad, stays)
        assert await book.run("k", "req_2", True, good, stays) == ("req_2", "answer 1")
        assert good.repeats == ["req_1"]

    asyncio.run(story())


def test_an_answer_is_kept_for_a_minute_and_the_book_stays_small(monkeypatch):
    monkeypatch.setattr("sekisho.loop.retries._MOST", 10)

    async def story():
        clock = Clock()
        book, work = RetryBook(clock), Work()
        work.go.set()
        await book.run("k", "req_1", False, work, stays)
        clock.now = 59.0
        assert (await book.run("k", "req_2", True, work, stays))[0] == "req_1"
        clock.now = 61.0
        assert (await book.run("k", "req_3", True, work, stays))[0] == "req_3"
        for i in range(100):
            await book.run(f"k{i}", f"req_{i}", False, work, stays)
        assert len(book._works) <= 11

    asyncio.run(story())


def test_work_that_does_not_end_keeps_no_finished_work_in_the_book(monkeypatch):
    monkeypatch.setattr("sekisho.loop.retries._MOST", 10)

    async def story():
        clock = Clock()
        book, slow, quick = RetryBook(clock), Work(), Work()
        quick.go.set()
        first = asyncio.create_task(book.run("slow", "req_0", False, slow, stays))
        await asyncio.sleep(0)
        for i in range(50):
            await book.run(f"k{i}", f"req_{i}", False, quick, stays)
        assert len(book._works) <= 11
        clock.now = 61.0
        await book.run("last", "req_l", False, quick, stays)
        assert list(book._works) == ["slow", "last"]
        slow.go.set()
        assert await first == ("req_0", "answer 1")

    asyncio.run(story())


def test_a_joined_retry_that_hangs_up_leaves_the_work_to_the_one_who_still_waits():
    async def story():
        book, work = RetryBook(), Work()
        first = asyncio.create_task(book.run("k", "req_1", False, work, stays))
        await asyncio.sleep(0.01)
        retry = asyncio.create_task(book.run("k", "req_2", True, work, lambda: True))
        await asyncio.sleep(0.01)
        stranger = asyncio.create_task(book.run("k", "req_3", False, work, stays))
        await asyncio.sleep(0.01)
        retry.cancel()
        work.go.set()
        assert (await first)[0] == "req_1"
        assert (await stranger)[0] == "req_3"

    asyncio.run(story())


def test_those_who_joined_hear_of_a_failure_and_of_the_end():
    async def story(end):
        book, work = RetryBook(), Work(fail=True)
        first = asyncio.create_task(book.run("k", "req_1", False, work, stays))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(book.run("k", "req_2", True, work, stays))
        await asyncio.sleep(0.01)
        end(first, work)
        told = await asyncio.gather(first, second, return_exceptions=True)
        work.fail = False
        work.go.set()
        assert await book.run("k", "req_3", True, work, stays) == ("req_3", "answer 2")
        return {type(e) for e in told}

    assert asyncio.run(story(lambda first, work: work.go.set())) == {EngineError}
    assert asyncio.run(story(lambda first, work: first.cancel())) == {asyncio.CancelledError}
