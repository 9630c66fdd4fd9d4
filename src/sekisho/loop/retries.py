"""A slow answer arrives as three POSTs. They are one request: one judgement, one answer."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from .. import metrics

T = TypeVar("T")
Gone = Callable[[], bool]
"""Whether a client's connection is gone."""
_KEEP_SECONDS = 60.0
"""A client's last retry comes within its budget of 30 seconds; the book keeps an answer twice as long."""
_MOST = 1024


class _Work(Generic[T]):
    """One request's work.

    Attributes:
        ended: whether it came to its end, `failed` whether without an answer, so that a retry has to begin anew.
    """

    def __init__(self, id: str, at: float, client: Gone) -> None:
        self.id, self.at = id, at
        self.ended = self.failed = False
        self._clients, self._waiting = [client], list[asyncio.Future[T]]()
        self._left = False

    @property
    def left(self) -> bool:
        """Whether all who waited for it have gone away without the answer."""
        return self._left if self.ended else all(gone() for gone in self._clients)

    async def done(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work, for oneself and for those who join."""
        try:
            answer = await work
        except BaseException as error:
            self.failed = True
            for waits in self._end():
                waits.set_exception(error)
            raise
        self._answer = answer
        for waits in self._end():
            waits.set_result(answer)
        return answer

    def _end(self) -> list[asyncio.Future[T]]:
        """Note the end; return those who still wait."""
        self._left, self.ended = self.left, True
        return [waits for waits in self._waiting if not waits.done()]

    async def joined(self, client: Gone) -> T:
        """Wait for another's work, or take its answer."""
        if self.ended:
            self._left = False
            return self._answer
        waits: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._clients.append(client)
        self._waiting.append(waits)
        return await waits


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
        self,
        key: str,
        id: str,
        retry: bool,
        work: Callable[[str | None], Coroutine[Any, Any, T]],
        gone: Gone,
    ) -> tuple[str, T]:
        """Return the result of `work`, or of the same request's earlier work, with the id of the request that began it.

        Args:
            id: id of this request.
            retry: whether the client says that it asked before.
            work: is given the id of the failed request that this one repeats, or None.
            gone: whether this request's client went away; it is asked now and then, and stops nothing.
        """
        self._forget_old()
        known = self._works.get(key)
        if known is not None and (retry or known.left) and not known.failed:
            metrics.RETRIES.inc()
            return known.id, await known.joined(gone)
        repeats = known.id if known is not None and retry else None
        new = self._works[key] = _Work[T](id, self._clock(), gone)
        self._works.move_to_end(key)
        return id, await new.done(work(repeats))

    def _forget_old(self) -> None:
        """Drop finished work from the old end until what is left is young and little; what is not finished stays, and holds nothing up."""
        old: list[str] = []
        for key, work in self._works.items():
            if self._clock() - work.at <= _KEEP_SECONDS and len(self._works) - len(old) <= _MOST:
                break
            if work.ended:
                old.append(key)
        for key in old:
            del self._works[key]
