"""Dynamic batching: pairs from all requests wait in one line; whatever waits when the model is free is read in together.

One thread reads. A pair is answered by what it was submitted with, so a swap never mixes answers; only pairs of one width and one variant
share a batch. Nobody waits for a batch to fill: while one is read, the next one gathers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ..core.errors import EngineError, OverloadedError, SekishoError

Row = tuple[float, ...]


@dataclass
class _Wanted:
    """One row that waits: what reads it, the row, and where the answer goes."""

    variant: Any
    row: Any
    place: int
    group: _Group


class _Group:
    """The rows of one call; its future holds all answers in order, or the first error."""

    def __init__(self, count: int) -> None:
        self.future: Future[list[Row]] = Future()
        self._left, self._claimed = count, False
        self._rows: list[Row] = [()] * count

    def claim(self) -> bool:
        """Whether somebody still waits; from then on nobody can take the call back, so an answer never meets a cancelled future."""
        if not self._claimed:
            self._claimed = self.future.set_running_or_notify_cancel() if not self.future.done() else False
        return self._claimed and not self.future.done()

    def put(self, place: int, row: Row) -> None:
        self._rows[place] = row
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result(list(self._rows))

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Batcher:
    """Reads rows in batches, in a thread of its own.

    Args:
        read: gives the answers to rows of one width by one variant.
        most: rows of a batch.
        line: rows that may wait; more are refused.
    """

    def __init__(
        self, read: Callable[[Any, Sequence[Any]], list[Row]], most: int = 32, line: int = 20_000
    ) -> None:
        self._read, self._most, self._longest = read, most, line
        self._line: deque[_Wanted] = deque()
        self._more = threading.Condition()
        self._closed = False
        self.batches, self.rows = 0, 0
        self._thread = threading.Thread(target=self._run, name="nli", daemon=True)
        self._thread.start()

    def submit(self, variant: Any, rows: Sequence[Any]) -> Future[list[Row]]:
        """Put rows in line; the future has their answers in order.

        Raises:
            OverloadedError: the line would become too long.
            EngineError: it was closed.
        """
        group = _Group(len(rows))
        if not rows:
            group.future.set_result([])
            return group.future
        with self._more:
            if self._closed:
                raise EngineError("The classifier was stopped.", "Start the server again.")
            if len(self._line) + len(rows) > self._longest:
                raise OverloadedError(f"{len(self._line)} pairs wait already.", "Try again.", 1)
            self._line.extend(_Wanted(variant, row, i, group) for i, row in enumerate(rows))
            self._more.notify()
        return group.future

    def close(self) -> None:
        """Stop; whoever waits is told."""
        with self._more:
            self._closed = True
            waiting, self._line = list(self._line), deque()
            self._more.notify()
        for wanted in waiting:
            wanted.group.fail(EngineError("The classifier was stopped.", "Start the server again."))
        self._thread.join(30)

    def _run(self) -> None:
        while True:
            with self._more:
                while not self._line and not self._closed:
                    self._more.wait()
                if self._closed:
                    return
                batch = self._take()
            self._answer(batch)

    def _take(self) -> list[_Wanted]:
        """The oldest row, and others of its width and variant in their order; those whose client has gone are dropped."""
        while self._line and not self._line[0].group.claim():
            self._line.popleft()
        if not self._line:
            return []
        first, batch, rest = self._line[0], list[_Wanted](), deque[_Wanted]()
        while self._line and len(batch) < self._most:
            wanted = self._line.popleft()
            if wanted is not first and not wanted.group.claim():
                continue
            fits = wanted.variant is first.variant and wanted.row.width == first.row.width
            (batch if fits else rest).append(wanted)
        rest.extend(self._line)
        self._line = rest
        return batch

    def _answer(self, batch: list[_Wanted]) -> None:
        if not batch:
            return
        self.batches, self.rows = self.batches + 1, self.rows + len(batch)
        try:
            rows = self._read(batch[0].variant, [w.row for w in batch])
            for wanted, row in zip(batch, rows, strict=True):
                wanted.group.put(wanted.place, row)
        except Exception as e:
            error = (
                e
                if isinstance(e, SekishoError)
                else EngineError(f"The classifier failed: {type(e).__name__}: {e}.", "See the log.")
            )
            for wanted in batch:
                wanted.group.fail(error)
