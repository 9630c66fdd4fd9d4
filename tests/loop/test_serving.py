from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from sekisho import wiring
from sekisho.core.errors import ShelfError
from sekisho.loop.serving import PromotionWatch, open_judge
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
