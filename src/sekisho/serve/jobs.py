"""A request on its way through a lane: what it asks of the engine, what it has got so far, and who still wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.engine import Lane


class Run(Protocol):
    """Engine work on a slot. Begun again after a stop, it goes on from what the job has kept."""

    def __call__(self, job: Job, slot: int) -> Coroutine[Any, Any, None]:
        """Do what is left of the job, on a slot of the engine."""
        ...


@dataclass(eq=False)
class Job:
    """A request on its way through a lane.

    Attributes:
        out: what it has given: pieces of text, or scores; an exception is the last.
        tokens: those of its text so far, while it can be taken up again.
        task: its work in the engine, while it holds a slot.
        stopping: whether that work was told to stop.
        done: whether everything it was asked for is in `out`; what is left of its work is tidying up.
    """

    id: int
    lane: Lane
    arrived: float
    deadline: float
    run: Run
    out: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    tokens: list[int] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    started: bool = False
    answered: bool = False
    stopping: bool = False
    done: bool = False
    left: bool = False
    tries: int = 1

    def seconds_left(self) -> float:
        """Seconds until its deadline, at least a moment."""
        return max(0.001, self.deadline - asyncio.get_running_loop().time())
