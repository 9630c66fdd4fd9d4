from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from sekisho import wiring
from sekisho.core.engine import Message, Sampling
from sekisho.core.errors import ShelfError
from sekisho.loop.judge import Judge
from sekisho.loop.serving import PromotionWatch, open_judge
from sekisho.serve.engines.fake import FakeEngine, Script
from sekisho.shelf import Release, Shelf
from web import makers


def test_a_broken_release_is_not_read_again_at_once_and_another_is(
    house: wiring.House, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = Shelf.release

    def counted(self: Shelf, tagged: str) -> tuple[Path, Release]:
        read.append(tagged)
        return real(self, tagged)

    monkeypatch.setattr(Shelf, "release", counted)

    async def run() -> None:
        first = makers.promote(house, "first")
        judge = await open_judge(house)
        watch = PromotionWatch(house, judge, drain_seconds=0)
        broken = makers.promote(house, "broken")
        (house.shelf.get("releases", broken) / "scope.json").write_text("{}")
        with pytest.raises(ShelfError):
            await watch.look()
        assert not await watch.look()
        assert read == [first, broken]
        third = makers.promote(house, "third")
        assert await watch.look()
        assert judge.serving.stamp.model_digest == third
        await watch.stop()

    asyncio.run(run())


def test_a_promotion_is_taken_up_without_holding_up_the_loop(
    house: wiring.House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Shelf.release

    def slow(self: Shelf, tagged: str) -> tuple[Path, Release]:
        time.sleep(1.0)
        return real(self, tagged)

    async def run() -> float:
        makers.promote(house, "first")
        judge = await open_judge(house)
        watch = PromotionWatch(house, judge, drain_seconds=0)
        makers.promote(house, "second")
        monkeypatch.setattr(Shelf, "release", slow)
        looking, longest = asyncio.create_task(watch.look()), 0.0
        while not looking.done():
            start = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - start)
        assert await looking
        await watch.stop()
        return longest

    assert asyncio.run(run()) < 0.8


def test_an_engine_that_is_idle_is_stopped_at_once_and_one_that_writes_when_it_has_written(
    house: wiring.House,
) -> None:
    async def gone(engine: FakeEngine) -> bool:
        until = time.monotonic() + 5
        while await engine.healthy() and time.monotonic() < until:
            await asyncio.sleep(0.02)
        return not await engine.healthy()

    def backend(judge: Judge) -> FakeEngine:
        script = Script(probabilities=makers.sure_of("ALLOW"), text="a long text " * 5)
        engine = judge.serving.engine.engine
        engine.script = script
        return engine

    async def run() -> None:
        makers.promote(house, "first")
        judge = await open_judge(house)
        watch, first = PromotionWatch(house, judge), backend(judge)
        makers.promote(house, "second")
        assert await watch.look()
        assert await gone(first)
        second = backend(judge)
        second.script.delay = 0.05
        said = [Message(role="user", content=makers.FAMILIAR)]
        chat = await judge.chat(said, Sampling())
        assert chat.judgement.decision == "ALLOW"
        makers.promote(house, "third")
        assert await watch.look()
        await asyncio.sleep(0.3)  # nobody has begun to read, and still it waits
        text = "".join([p.text async for p in chat.pieces])
        assert text == "a long text " * 5
        assert await gone(second)
        assert (await judge.serving.engine.healthy()) is True
        await watch.stop()

    asyncio.run(run())


def test_the_old_engine_has_as_long_as_the_longest_request_may_take(house: wiring.House) -> None:
    async def run() -> float:
        makers.promote(house, "first")
        judge = await open_judge(house)
        await judge.serving.engine.stop()
        return judge.longest_seconds

    assert asyncio.run(run()) >= 2 * house.settings.batch_deadline_seconds
