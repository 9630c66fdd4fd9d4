"""A slow answer arrives as three POSTs. They are one request: one judgement, one answer."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .. import metrics

T = TypeVar("T")
_KEEP_SECONDS = 60.0
"""A client's last retry comes within its budget of 30 seconds; the book keeps an answer twice as long."""
_MOST = 1024


@dataclass
class _Work(Generic[T]):
    """One request's work. `left` is set while all who waited for it have gone away without the answer."""

    id: str
    at: float
    task: asyncio.Task[T]
    waiting: int = 0
    left: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended without an answer, so that a retry has to begin anew."""
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


class RetryBook(Generic[T]):
    """Work in flight and just done, by key (client, lane and body digest).

    A repeated request joins the first one's work when the client says it is a retry, or when the first one's connection is gone. Work whose
    client left goes on: its judgement is written, and the retry finds it. Two clients that merely ask the same thing are never joined,
    and a retry of work that failed begins anew, told what it repeats.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._works: OrderedDict[str, _Work[T]] = OrderedDict()

    async def run(
        self, key: str, id: str, retry: bool, work: Callable[[str | None], Coroutine[Any, Any, T]]
    ) -> tuple[str, T]:
        """Return the result of `work`, or of the same request's earlier work, with the id of the request that began it.

        Args:
            id: id of this request.
            retry: whether the client says that it asked before.
            work: is given the id of the failed request that this one repeats, or None.
        """
        self._forget_old()
        known = self._works.get(key)
        if known is not None and (retry or known.left) and not known.failed:
            metrics.RETRIES.inc()
            return known.id, await self._wait(known)
        repeats = known.id if known is not None and retry else None
        new = _Work(id, self._clock(), asyncio.create_task(work(repeats)))
        new.task.add_done_callback(_seen)
        self._works[key] = new
        self._works.move_to_end(key)
        return id, await self._wait(new)

    async def close(self) -> None:
        """Wait for all work under way; each piece has its own deadline."""
        await asyncio.gather(*(w.task for w in self._works.values()), return_exceptions=True)

    async def _wait(self, work: _Work[T]) -> T:
        work.left = False
        work.waiting += 1
        try:
            return await asyncio.shield(work.task)
        except asyncio.CancelledError:
            work.left = work.waiting == 1
            raise
        finally:
            work.waiting -= 1

    def _forget_old(self) -> None:
        """Drop finished work from the old end until what is left is young and little; what is not finished stays, and holds nothing up."""
        gone: list[str] = []
        for key, work in self._works.items():
            if self._clock() - work.at <= _KEEP_SECONDS and len(self._works) - len(gone) <= _MOST:
                break
            if work.task.done():
                gone.append(key)
        for key in gone:
            del self._works[key]


def _seen(task: asyncio.Task[Any]) -> None:
    """Take note of an error whose client is gone; otherwise the event loop complains that nobody looked at it."""
    if not task.cancelled():
        task.exception()
