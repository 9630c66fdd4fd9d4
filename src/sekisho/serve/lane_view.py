"""An engine that two lanes share, as one of the lanes has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Protocol

from ..core.engine import EngineInfo, Lane, Message, Piece, Sampling
from ..core.question import OptionScores, Question


class Shared(Protocol):
    """What a view needs of the lanes: the methods of an engine, told the lane."""

    @property
    def info(self) -> EngineInfo:
        """What is being served."""
        ...

    async def start(self) -> None:
        """See `core.engine.Engine`."""
        ...

    async def stop(self) -> None:
        """See `core.engine.Engine`."""
        ...

    async def healthy(self) -> bool:
        """See `core.engine.Engine`."""
        ...

    async def count(self, text: str) -> int:
        """See `core.engine.Engine`."""
        ...

    async def ask(
        self, state: str, questions: Sequence[Question], timeout: float, lane: Lane
    ) -> list[OptionScores]:
        """As `Engine.ask`, in a lane."""
        ...

    def generate(
        self, messages: Sequence[Message], sampling: Sampling, timeout: float, lane: Lane
    ) -> AsyncIterator[Piece]:
        """As `Engine.generate`, in a lane."""
        ...


class LaneView:
    """A `Lanes` as one lane has it: an `Engine` whose every piece of work goes through that lane."""

    def __init__(self, lanes: Shared, lane: Lane) -> None:
        self._lanes, self._lane = lanes, lane
        self.start: Callable[[], Coroutine[Any, Any, None]] = lanes.start
        self.stop: Callable[[], Coroutine[Any, Any, None]] = lanes.stop
        self.healthy: Callable[[], Coroutine[Any, Any, bool]] = lanes.healthy
        self.count: Callable[[str], Coroutine[Any, Any, int]] = lanes.count

    @property
    def info(self) -> EngineInfo:
        """What is being served."""
        return self._lanes.info

    async def ask(self, state: str, questions: Sequence[Question], timeout: float) -> list[OptionScores]:
        """See `Lanes.ask`."""
        return await self._lanes.ask(state, questions, timeout, self._lane)

    def generate(
        self, messages: Sequence[Message], sampling: Sampling, timeout: float
    ) -> AsyncIterator[Piece]:
        """See `Lanes.generate`."""
        return self._lanes.generate(messages, sampling, timeout, self._lane)
