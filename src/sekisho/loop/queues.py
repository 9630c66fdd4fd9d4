"""A place in a lane's bounded queue, and the clock of one request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .. import metrics
from ..core.engine import Lane
from ..core.errors import OverloadedError


@contextmanager
def place(
    task: str, lane: Lane, limit: int, taken: dict[Lane, int], retry_after: Callable[[Lane], int]
) -> Iterator[None]:
    """Take a place in a lane while a request of `task` is worked on.

    Args:
        limit: places the lane has.
        taken: those that are taken, by lane; kept up to date here.
        retry_after: seconds after which somebody who is refused may try again.

    Raises:
        OverloadedError: when no place is left.
    """
    if taken[lane] >= limit:
        metrics.REFUSED.inc()
        raise OverloadedError(
            "Too many requests wait.", "Try again after the stated seconds.", retry_after(lane)
        )
    _move(taken, lane, 1)
    start = time.monotonic()
    try:
        yield
    finally:
        _move(taken, lane, -1)
        metrics.soon(_judged, task, time.monotonic() - start)


def _move(taken: dict[Lane, int], lane: Lane, by: int) -> None:
    taken[lane] += by
    metrics.soon(lambda: metrics.WAITING.set(sum(taken.values())))


def _judged(task: str, seconds: float) -> None:
    metrics.JUDGE_SECONDS.labels(task).observe(seconds)
