"""One deadline for a whole call, however many awaits it takes: waiting in line counts like computing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from ..core.errors import EngineTimeoutError

T = TypeVar("T")


def deadline_in(timeout: float) -> float:
    """The running loop's time at which `timeout` seconds are over."""
    return asyncio.get_running_loop().time() + timeout


async def by(deadline: float, work: Awaitable[T]) -> T:
    """Await `work` until the loop's time is `deadline`; it is cancelled then.

    An async generator calls this for each of its awaits: a timeout around a `yield` would cancel whoever happens to read.

    Raises:
        EngineTimeoutError: past the deadline.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        raise EngineTimeoutError(
            "The engine did not answer in time.", "Try again, or allow more time."
        ) from None
