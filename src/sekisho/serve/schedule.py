"""Who works on the engine's slots, and who makes room: pure decisions for two lanes. Events in, actions out; no clock, no IO.

RT (interactive) starts at once: when no slot is free, the youngest BE (batch) holder is stopped. BE takes every slot that RT leaves, oldest
request first, and comes back at its old place when it was stopped. **Ageing** keeps it alive: when the BE lane has stood still for
`ageing` seconds, its oldest request joins RT's line behind those already there (strict order); once started, it is not
stopped before it has made progress and `quantum` seconds have passed since. At most one request is promoted at a time, so a
long backlog cannot take RT's slots.

Decisions in RT also have places of their own (`kept`), which no text takes: one that finds such a place free goes there, past the line, and
nobody makes room for it. Nothing else in here changes with them.

A slot is held, free, or in transfer (its holder was told to stop and the engine has not let go of it yet). A slot in transfer is promised to
nobody: when it comes free it goes to the head of the line, so a waiter that leaves meanwhile takes nothing with it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass

from ..core.engine import Lane
from .rules import LANES, Action, Promote, Refuse, Rules, Start, Stop, Work

_SMOOTH = 0.2
"""Weight of the newest hold in the running mean that estimates are made from."""
_FIRST_GUESS = 1.0
"""Seconds a request is thought to hold its slot before any has ended."""


@dataclass(frozen=True)
class _Promotion:
    """The one promoted request: its place in RT's order, and when it may be stopped again (None until it progressed)."""

    id: int
    number: int
    until: float | None = None


class Schedule:
    """The state of both lanes. Each event takes the time in seconds on any clock that never goes back, and returns what is to be done.

    Reporting an id that is not known is harmless: a cancellation and an end may cross.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._works: dict[int, Work] = {}
        self._lines: dict[Lane, list[Work]] = {"rt": [], "be": []}  # waiting, by number
        self._busy: dict[int, Work] = {}  # held and in transfer, never more than there are slots
        self._kept: dict[int, Work] = {}  # the same on the places kept for decisions
        self._count = 0
        self._caches: dict[int, tuple[int, int]] = {}  # seat: (whose cache lies there, when it was taken)
        self._promotion: _Promotion | None = None
        self._still_since = 0.0
        self._holds: dict[Lane, float] = dict.fromkeys(LANES, _FIRST_GUESS)

    # Events

    def arrived(self, id: int, lane: Lane, now: float, decision: bool = False) -> list[Action]:
        """A new request. It is refused when its lane's queue is full and no slot is on its way to it."""
        if lane == "be" and self._oldest_be() is None:
            self._still_since = now
        work = self._works[id] = Work(id, lane, self._number(), decision=decision)
        self._lines[lane].append(work)
        told = self._settled(now)
        limit = self.rules.rt_queue if lane == "rt" else self.rules.be_queue
        coming = lane == "rt" and self._entitled() <= self._transfers()
        if work.phase != "waiting" or len(self._lines[lane]) <= limit or coming:
            return told
        self._lines[lane].remove(work)
        del self._works[id]
        return [*told, Refuse(id, max(1, math.ceil(self.estimate(lane))))]

    def progressed(self, id: int, now: float) -> list[Action]:
        """A holder has got a step further that is not lost when it is stopped."""
        work = self._busy.get(id)
        if work is not None and work.lane == "be" and work.phase == "held":
            self._still_since = now
            if self._promotion and self._promotion.id == id and self._promotion.until is None:
                self._promotion = _Promotion(id, self._promotion.number, now + self.rules.quantum)
        return self._settled(now)

    def stopped(self, id: int, now: float) -> list[Action]:
        """The engine has let go of a request that was told to stop; it waits again, unless its caller is gone."""
        work = self._works.get(id)
        if work is None or work.phase != "transfer":
            return []
        if work.leaving:
            return self.ended(id, now)
        del self._busy[id]
        work.phase, work.seat = "waiting", None
        insort(self._lines[work.lane], work, key=_number_of)
        return self._settled(now)

    def ended(self, id: int, now: float) -> list[Action]:
        """A request came to its end, good or bad, and the engine is done with it. It does not come back."""
        work = self._works.pop(id, None)
        if work is None:
            return []
        if self._busy.pop(id, None):
            self._note_hold(work, now)
        elif self._kept.pop(id, None) is None:
            self._lines[work.lane].remove(work)
        self._forget_promotion(id)
        return self._settled(now)

    def left(self, id: int, now: float) -> list[Action]:
        """The caller of a request is gone. A holder is stopped; its slot comes free with `stopped` or `ended`."""
        work = self._works.get(id)
        if work is None or work.leaving:
            return []
        if work.phase == "waiting":
            return self.ended(id, now)
        told: list[Action] = [Stop(id)] if work.phase == "held" else []
        work.phase, work.leaving = "transfer", True
        self._forget_promotion(id)
        return [*told, *self._settled(now)]

    def ticked(self, now: float) -> list[Action]:
        """Time has passed; see `wake`."""
        return self._settled(now)

    # Questions

    def wake(self) -> float | None:
        """The time at which `ticked` has something to decide; None when only another event can bring one."""
        if self._promotion is not None:
            return self._promotion.until
        return self._still_since + self.rules.ageing if self._oldest_be() else None

    def counts(self) -> dict[str, int]:
        """Slots by state: held_rt, held_be, transfer, free. They always add up to the rules' slots and kept places."""
        works = [*self._busy.values(), *self._kept.values()]
        held = {f"held_{lane}": sum(w.lane == lane and w.phase == "held" for w in works) for lane in LANES}
        free = self.rules.slots + self.rules.kept - len(works)
        return {**held, "transfer": sum(w.phase == "transfer" for w in works), "free": free}

    def waiting(self, lane: Lane) -> int:
        """How many requests wait in a lane."""
        return len(self._lines[lane])

    def line(self) -> Iterator[int]:
        """Ids of the waiting requests in the order in which they will be started, as things stand."""
        rt, be = self._lines["rt"], self._lines["be"]
        first, rest = be[: self._owed()], be[self._owed() :]
        promoted = rest[:1] if rest and self._is_promoted(rest[0]) else []
        middle = sorted([*rt, *promoted], key=self._turn)
        return (w.id for w in [*first, *middle, *rest[len(promoted) :]])

    def is_protected(self, id: int) -> bool:
        """Whether a holder must not be stopped for RT now."""
        return self._promotion is not None and self._promotion.id == id

    def estimate(self, lane: Lane, id: int | None = None) -> float:
        """Seconds until a request would start: of the waiting `id`, or of one that arrived in `lane` now.

        The work ahead of it, by the running mean of how long a request of its lane holds a slot, over all slots. RT that can make room waits for
        nothing. An estimate, not a promise: it knows neither the length of the requests ahead nor who will arrive.
        """
        work = None if id is None else self._works.get(id)
        own = self._lines[lane]
        place = len(own) if work is None else bisect_left(own, work.number, key=_number_of)
        other = len(self._lines["rt"]) if lane == "be" else 0
        room = self.rules.slots - len(self._busy)
        if lane == "rt":
            room += self._transfers() + max(0, len(self._held("be")) - self.rules.share)
        if room > place + other:
            return 0.0
        return ((place + 1) * self._holds[lane] + other * self._holds["rt"]) / self.rules.slots

    # Decisions

    def _settled(self, now: float) -> list[Action]:
        """Promote what has aged, fill what is free, and make room for RT that still waits."""
        told = self._aged(now)
        while len(self._kept) < self.rules.kept and (decision := self._decision()):
            told.append(self._start(decision, now, self._kept))
        while len(self._busy) < self.rules.slots and (work := self._next()):
            told.append(self._start(work, now, self._busy))
        while victim := self._victim():
            victim.phase = "transfer"
            told.append(Stop(victim.id))
        return told

    def _aged(self, now: float) -> list[Action]:
        """End a promotion that has had its quantum; make one when the BE lane stood still for too long."""
        if self._promotion and self._promotion.until is not None and now >= self._promotion.until:
            self._promotion, self._still_since = None, now
        oldest = self._oldest_be()
        if self._promotion or oldest is None or now - self._still_since < self.rules.ageing:
            return []
        self._promotion = _Promotion(oldest.id, self._number())
        return [Promote(oldest.id)]

    def _decision(self) -> Work | None:
        """The waiting RT decision that gets the next free kept place."""
        return next((w for w in self._lines["rt"] if w.decision), None)

    def _next(self) -> Work | None:
        """The waiting request that gets the next free slot: a share that is owed, RT and the promoted one by number, BE by age.

        BE waits for an older one in transfer, which may be back in a moment.
        """
        rt, be = (self._lines[lane][0] if self._lines[lane] else None for lane in LANES)
        if be and any(w.phase == "transfer" and not w.leaving and w.number < be.number for w in self._be()):
            be = None
        if be and self._owed():
            return be
        if rt and be and self._is_promoted(be):
            return min(rt, be, key=self._turn)
        return rt or be

    def _victim(self) -> Work | None:
        """The youngest BE holder that may be stopped, when RT waits and fewer slots are on their way than are due."""
        held = self._held("be")
        if not self._lines["rt"] or self._transfers() >= self._entitled() or len(held) <= self.rules.share:
            return None
        return max((w for w in held if not self.is_protected(w.id)), key=_number_of, default=None)

    def _entitled(self) -> int:
        """Waiting requests that come before BE's ordinary line."""
        owed, be = self._owed(), self._lines["be"]
        promoted = len(be) > owed and self._is_promoted(be[owed])
        return len(self._lines["rt"]) + min(owed, len(be)) + promoted

    def _start(self, work: Work, now: float, places: dict[int, Work]) -> Start:
        self._lines[work.lane].remove(work)
        most = self.rules.slots + self.rules.spare
        seat = self._seat(work, range(most) if places is self._busy else range(most, most + self.rules.kept))
        self._caches[seat] = (work.id, self._number())
        places[work.id] = work
        work.phase, work.seat, work.started = "held", seat, now
        return Start(work.id, seat)

    def _seat(self, work: Work, seats: range) -> int:
        """A seat nobody sits on: the one with its own cache, else one whose cache nobody will want, else the longest unused."""
        taken = {w.seat for w in (*self._busy.values(), *self._kept.values())}

        def price(seat: int) -> tuple[int, int]:
            owner, since = self._caches.get(seat, (None, -1))
            return (0 if owner == work.id else 2 if owner in self._works else 1), since

        return min((s for s in seats if s not in taken), key=price)

    # Bookkeeping

    def _number(self) -> int:
        self._count += 1
        return self._count

    def _turn(self, work: Work) -> int:
        """Place in RT's order; a promoted request has the one it got with its promotion."""
        return self._promotion.number if self._promotion and self._promotion.id == work.id else work.number

    def _be(self) -> list[Work]:
        return [w for w in self._busy.values() if w.lane == "be"]

    def _held(self, lane: Lane) -> list[Work]:
        return [w for w in self._busy.values() if w.lane == lane and w.phase == "held"]

    def _transfers(self) -> int:
        return sum(w.phase == "transfer" for w in self._busy.values())

    def _owed(self) -> int:
        """How many slots BE is below its share."""
        return max(0, self.rules.share - len(self._held("be")))

    def _oldest_be(self) -> Work | None:
        alive = [w for w in self._be() if not w.leaving] + self._lines["be"][:1]
        return min(alive, key=_number_of, default=None)

    def _is_promoted(self, work: Work) -> bool:
        return self.is_protected(work.id)

    def _forget_promotion(self, id: int) -> None:
        """A promoted request is gone. The lane's clock is left alone, so that the next one does not wait anew for nothing."""
        if self.is_protected(id):
            self._promotion = None

    def _note_hold(self, work: Work, now: float) -> None:
        """Learn from a hold that has ended; the end of BE work is progress of its lane."""
        self._holds[work.lane] += _SMOOTH * (now - work.started - self._holds[work.lane])
        if work.lane == "be" and not work.leaving:
            self._still_since = now


def _number_of(work: Work) -> int:
    return work.number
