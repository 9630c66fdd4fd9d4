"""The words of the schedule: the rules it keeps, the requests it knows, and what it has done about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.engine import Lane

Phase = Literal["waiting", "held", "transfer"]
LANES: tuple[Lane, Lane] = ("rt", "be")
KEPT = 1
"""Places an engine has beyond those for texts, so that a decision somebody waits for never waits for a whole text."""


@dataclass(frozen=True)
class Rules:
    """What the lanes are run by.

    Attributes:
        slots: requests worked on at once.
        spare: seats beyond the slots, in which the cache of a stopped request may survive.
        share: slots that RT does not take away from BE, and that BE gets back first.
        rt_queue, be_queue: requests that may wait in a lane; one more is refused. What was stopped always may come back.
        ageing: seconds the BE lane stands still before its oldest request is promoted.
        quantum: seconds a promoted request keeps its slot after its first progress.
        kept: places beyond slots and spare that only decisions in RT take; nobody makes room there.
    """

    slots: int = 2
    spare: int = 0
    share: int = 0
    rt_queue: int = 256
    be_queue: int = 256
    ageing: float = 30.0
    quantum: float = 1.0
    kept: int = 0

    def __post_init__(self) -> None:
        if self.slots < 1 or not 0 <= self.share <= self.slots or min(self.rt_queue, self.be_queue) < 0:
            raise ValueError("slots from 1, share from 0 to slots, queues from 0")
        if min(self.spare, self.kept) < 0 or not (self.ageing > 0 and self.quantum >= 0):
            raise ValueError("ageing above 0, spare, kept and quantum from 0")


@dataclass(frozen=True)
class Start:
    """Begin or resume `id` on the engine's slot `seat`."""

    id: int
    seat: int


@dataclass(frozen=True)
class Stop:
    """Cancel `id` in the engine, then report `stopped` (or `ended`, if it had come to its end)."""

    id: int


@dataclass(frozen=True)
class Refuse:
    """`id` may not even wait; try again after `retry_after` whole seconds."""

    id: int
    retry_after: int


@dataclass(frozen=True)
class Promote:
    """`id` has been promoted by age. Nothing is to be done; for the record."""

    id: int


Action = Start | Stop | Refuse | Promote


@dataclass
class Work:
    """A request the schedule knows. `number` is its place in the order of arrivals; `started` belongs to its latest start.

    A decision is over after one reading; a text takes as long as it takes.
    """

    id: int
    lane: Lane
    number: int
    phase: Phase = "waiting"
    seat: int | None = None
    leaving: bool = False
    started: float = 0.0
    decision: bool = False
