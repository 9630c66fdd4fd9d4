"""A second far server behind the first, for those who named one. Every answer says which of them gave it.

The first is asked whenever it is up; what it does not answer, the second is asked, with what is left of the deadline. A text goes to the second only
before its first piece: two servers do not write the same text. What is wrong with a request is wrong with both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress

from ... import metrics
from ...core.engine import Backend, EngineInfo, Message, Piece, Sampling
from ...core.errors import EngineError, SekishoError
from ...core.question import OptionScores, Question
from ..deadline import deadline_in

_SHARE = 0.5
"""Part of a decision's time that the first may take; the rest is the second's."""
_AGAIN = 5.0
"""Seconds between two tries of a first server that was not there at the start."""
_log = logging.getLogger("sekisho.remote")


class Reserve:
    """Two far servers, one of them a fallback that somebody chose. Fulfils `core.engine.Backend`."""

    def __init__(self, first: Backend, second: Backend, again: float = _AGAIN) -> None:
        self._first, self._second, self._again = first, second, again
        self._up = False
        self._waker: asyncio.Task[None] | None = None

    @property
    def info(self) -> EngineInfo:
        """The first server; what the second one answers says so itself."""
        return self._first.info

    async def start(self) -> None:
        """Start both. Raises EngineError when the second is not there: then it is no fallback."""
        await self._second.start()
        try:
            await self._first.start()
            self._up = True
        except EngineError as e:
            _log.warning("the first server does not answer, the fallback does: %s", e)
            self._waker = asyncio.create_task(self._wake())

    async def stop(self) -> None:
        """Stop both; safe to call twice."""
        waker, self._waker, self._up = self._waker, None, False
        if waker is not None:
            waker.cancel()
            with suppress(asyncio.CancelledError):
                await waker
        await self._first.stop()
        await self._second.stop()

    async def _wake(self) -> None:
        """Start the first server once it is there."""
        while not self._up:
            await asyncio.sleep(self._again)
            with suppress(SekishoError):
                await self._first.start()
                self._up = True
                _log.info("the first server answers")

    async def healthy(self) -> bool:
        """Whether one of them would answer."""
        return (self._up and await self._first.healthy()) or await self._second.healthy()

    async def ask(
        self, state: str, questions: Sequence[Question], timeout: float, slot: int | None = None
    ) -> list[OptionScores]:
        """Score every question on one server: the first, or all of them on the second."""
        until = deadline_in(timeout)
        if self._up:
            try:
                found = await self._first.ask(state, questions, _SHARE * timeout, slot)
                return [s.model_copy(update={"by": _name(self._first.info)}) for s in found]
            except EngineError as e:
                self._note(e)
        left = max(0.001, until - asyncio.get_running_loop().time())
        found = await self._second.ask(state, questions, left, slot)
        return [s.model_copy(update={"by": _second_name(self._second.info)}) for s in found]

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        timeout: float,
        slot: int | None = None,
        written: Sequence[int] | None = None,
    ) -> AsyncIterator[Piece]:
        """Stream an answer from the first server, or, when not even its first piece came, from the second."""
        until, begun = deadline_in(timeout), False
        if self._up:
            try:
                async with aclosing(
                    self._first.generate(messages, sampling, timeout, slot, written)
                ) as pieces:  # type: ignore[type-var]
                    async for piece in pieces:
                        begun = True
                        yield piece.model_copy(update={"by": _name(self._first.info)})
                    return
            except EngineError as e:
                if begun:
                    raise
                self._note(e)
        left = max(0.001, until - asyncio.get_running_loop().time())
        async with aclosing(self._second.generate(messages, sampling, left, slot, written)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece.model_copy(update={"by": _second_name(self._second.info)})

    async def count(self, text: str) -> int:
        """Number of tokens of `text`, as the first server counts, or the second."""
        if self._up:
            with suppress(EngineError):
                return await self._first.count(text)
        return await self._second.count(text)

    def _note(self, error: EngineError) -> None:
        metrics.FALLBACKS.inc()
        _log.warning("the fallback is asked: %s", error.what)


def _name(info: EngineInfo) -> tuple[str, str]:
    return info.engine, info.model_digest


def _second_name(info: EngineInfo) -> tuple[str, str]:
    return f"{info.engine}+fallback", info.model_digest
