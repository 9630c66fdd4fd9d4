"""Random histories of both lanes against what the schedule promises; the machine below keeps its own books and trusts none of its."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sekisho.serve.rules import Promote, Refuse, Rules, Start, Stop
from sekisho.serve.schedule import Schedule

HISTORIES = int(os.environ.get("SOAK_HISTORIES", "200"))
"""How many histories of 60 events; `make soak` asks for 10,000."""


class Histories(RuleBasedStateMachine):
    """An engine that does what it is told, slowly, and callers that do what they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.count = 0
        self.lane: dict[int, str] = {}
        self.waiting: list[int] = []
        self.held: dict[int, int] = {}  # id: seat
        self.transfer: dict[int, int] = {}
        self.decisions: set[int] = set()
        self.kept: set[int] = set()  # those on places that only decisions take
        self.gone: set[int] = set()  # callers that left a slot behind
        self.promoted: int | None = None
        self.before: set[int] = set()  # RT that waited when the promotion was made
        self.until: float | None = None
        self.still = 0.0  # since when the BE lane stood still

    @initialize(
        slots=st.sampled_from([1, 2, 4]),
        spare=st.sampled_from([0, 0, 2]),
        share=st.sampled_from([0, 0, 0, 1]),
        queue=st.sampled_from([0, 2, 100]),
        ageing=st.sampled_from([1.0, 10.0]),
        quantum=st.sampled_from([0.0, 3.0]),
        kept=st.sampled_from([0, 1, 2]),
    )
    def begin(self, slots, spare, share, queue, ageing, quantum, kept) -> None:
        self.rules_ = Rules(slots, spare, share, queue, queue, ageing, quantum, kept)
        self.schedule = Schedule(self.rules_)

    def alive_be(self) -> list[int]:
        """BE requests that will be answered, oldest first; ids are given in order of arrival."""
        known = [*self.waiting, *self.held, *(i for i in self.transfer if i not in self.gone)]
        return sorted(i for i in known if self.lane[i] == "be")

    def on_slots(self, ids) -> list[int]:
        """Those of `ids` that are not on kept places."""
        return [i for i in ids if i not in self.kept]

    def forget(self, id: int) -> None:
        if id == self.promoted:
            self.promoted = self.until = None

    def done(self, actions) -> None:
        """Carry actions out, checking that each may be done."""
        for action in actions:
            match action:
                case Promote(id):
                    assert self.promoted is None
                    assert id == self.alive_be()[0], "the oldest is promoted, always"
                    assert self.now - self.still >= self.rules_.ageing
                    self.promoted, self.until = id, None
                    self.before = {i for i in self.waiting if self.lane[i] == "rt"}
                case Start(id, seat):
                    self.start(id, seat)
                case Stop(id):
                    assert id in self.held
                    if id not in self.gone:
                        self.check_victim(id)
                    self.transfer[id] = self.held.pop(id)
                case Refuse(id, seconds):
                    assert seconds >= 1
                    assert sum(self.lane[i] == self.lane[id] for i in self.waiting) > self.rules_.rt_queue
                    self.waiting.remove(id)

    def start(self, id: int, seat: int) -> None:
        assert id in self.waiting
        assert seat not in {*self.held.values(), *self.transfer.values()}
        assert 0 <= seat < self.rules_.slots + self.rules_.spare + self.rules_.kept
        if seat >= self.rules_.slots + self.rules_.spare:
            self.start_kept(id, seat)
            return
        share = sum(self.lane[i] == "be" for i in self.held) < self.rules_.share
        if self.lane[id] == "rt":
            assert id == min(i for i in self.waiting if self.lane[i] == "rt"), "RT starts in order"
            assert self.promoted not in self.waiting or id in self.before, "nobody who came later goes first"
            be = [i for i in self.alive_be() if i in self.waiting]
            assert not share or not be or self.is_held_back(be[0]), "BE gets its share back first"
        else:
            assert id == min(i for i in self.waiting if self.lane[i] == "be"), "BE starts in order"
            rt = {i for i in self.waiting if self.lane[i] == "rt"}
            assert not rt or share or (id == self.promoted and not rt & self.before)
            assert not self.is_held_back(id)
        self.waiting.remove(id)
        self.held[id] = seat

    def start_kept(self, id: int, seat: int) -> None:
        rt = [i for i in self.waiting if self.lane[i] == "rt"]
        assert id == min(i for i in rt if i in self.decisions), "RT decisions start in order"
        self.waiting.remove(id)
        self.held[id] = seat
        self.kept.add(id)

    def is_held_back(self, id: int) -> bool:
        """Whether an older BE request is in transfer and may be back in a moment."""
        return any(i < id for i in self.transfer if self.lane[i] == "be" and i not in self.gone)

    def check_victim(self, id: int) -> None:
        assert self.lane[id] == "be", "RT is never stopped for anybody"
        assert any(self.lane[i] == "rt" for i in self.waiting)
        if id == self.promoted:
            assert self.until is not None
            assert self.now >= self.until, "a promoted request gets its progress and its quantum"
        be = [i for i in self.held if self.lane[i] == "be"]
        assert len(be) > self.rules_.share
        assert all(i <= id for i in be if not self.is_protected(i)), "the youngest makes room"

    def is_protected(self, id: int) -> bool:
        return id == self.promoted and not (self.until is not None and self.now >= self.until)

    def lapse(self) -> None:
        """A promotion that had its quantum is over at whatever happens next."""
        if self.promoted is not None and self.until is not None and self.now >= self.until:
            self.promoted, self.until, self.still = None, None, self.now

    @rule(decision=st.booleans())
    def arrive_rt(self, decision) -> None:
        self.arrive("rt", decision)

    @rule(decision=st.booleans())
    def arrive_be(self, decision) -> None:
        self.arrive("be", decision)

    def arrive(self, lane: str, decision: bool) -> None:
        if lane == "be" and not self.alive_be():
            self.still = self.now
        self.lapse()
        self.count += 1
        self.lane[self.count] = lane
        self.waiting.append(self.count)
        if decision:
            self.decisions.add(self.count)
        self.done(self.schedule.arrived(self.count, lane, self.now, decision))

    def end(self, id: int) -> None:
        self.held.pop(id, None)
        self.transfer.pop(id, None)
        self.kept.discard(id)
        if self.lane[id] == "be" and id not in self.gone:
            self.still = self.now
        self.gone.discard(id)
        self.forget(id)
        self.lapse()
        self.done(self.schedule.ended(id, self.now))

    @precondition(lambda self: self.held or self.transfer)
    @rule(data=st.data())
    def finish_or_fail(self, data) -> None:
        """An end, an engine error, or an end that crosses a stop."""
        self.end(data.draw(st.sampled_from(sorted([*self.held, *self.transfer]))))

    @precondition(lambda self: self.transfer)
    @rule(data=st.data())
    def let_go(self, data) -> None:
        id = data.draw(st.sampled_from(sorted(self.transfer)))
        del self.transfer[id]
        if id in self.gone:
            self.gone.discard(id)
            self.kept.discard(id)
        else:
            self.waiting.append(id)
        self.lapse()
        self.done(self.schedule.stopped(id, self.now))

    @precondition(lambda self: self.waiting or self.held or self.transfer)
    @rule(data=st.data())
    def leave(self, data) -> None:
        """A disconnect: while waiting, working, or being stopped; twice, even."""
        id = data.draw(st.sampled_from(sorted([*self.waiting, *self.held, *self.transfer])))
        if id in self.waiting:
            self.waiting.remove(id)
            self.forget(id)
        elif id not in self.gone:
            self.gone.add(id)
            self.forget(id)
        self.lapse()
        self.done(self.schedule.left(id, self.now))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def progress(self, data) -> None:
        id = data.draw(st.sampled_from(sorted(self.held)))
        if self.lane[id] == "be":
            self.still = self.now
            if id == self.promoted and self.until is None:
                self.until = self.now + self.rules_.quantum
        self.lapse()
        self.done(self.schedule.progressed(id, self.now))

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 20.0]))
    def wait(self, seconds) -> None:
        wake = self.schedule.wake()
        self.now += seconds
        self.lapse()
        actions = self.schedule.ticked(self.now)
        if actions:
            assert wake is not None, "what has something to decide says when"
            assert wake <= self.now
        self.done(actions)

    @rule(id=st.integers(-3, 0), event=st.sampled_from(["ended", "stopped", "left", "progressed"]))
    def report_a_stranger(self, id, event) -> None:
        """A report that came too late does nothing that the time alone would not do."""
        self.lapse()
        self.done(getattr(self.schedule, event)(id, self.now))

    @invariant()
    def books_agree(self) -> None:
        if not self.lane:
            return
        counts = self.schedule.counts()
        assert counts["free"] >= 0
        assert sum(counts.values()) == self.rules_.slots + self.rules_.kept
        assert counts["transfer"] == len(self.transfer)
        assert counts["held_rt"] + counts["held_be"] == len(self.held)
        assert sorted(self.schedule.line()) == sorted(self.waiting)

    @invariant()
    def nothing_is_idle_and_rt_has_made_room(self) -> None:
        rt = [i for i in self.waiting if self.lane[i] == "rt"]
        be = [i for i in self.waiting if self.lane[i] == "be"]
        rules, transfer = getattr(self, "rules_", Rules()), self.on_slots(self.transfer)
        free = rules.slots - len(self.on_slots(self.held)) - len(transfer)
        if free:
            assert not rt
            assert all(self.is_held_back(i) for i in be)
        stoppable = [i for i in self.held if self.lane[i] == "be" and not self.is_protected(i)]
        held_be = sum(self.lane[i] == "be" for i in self.held)
        if rt and stoppable and held_be > self.rules_.share:
            assert len(transfer) >= len(rt), "whoever waits behind BE has a slot on its way"
        if len(self.kept) < rules.kept:
            assert not self.decisions.intersection(rt), "no decision waits beside a place kept for it"

    @invariant()
    def older_be_goes_first(self) -> None:
        be = [i for i in self.held if self.lane[i] == "be"]
        waits = [i for i in self.waiting if self.lane[i] == "be"]
        if be and waits:
            assert max(be) < min(waits)

    @invariant()
    def a_still_lane_has_a_promoted_request(self) -> None:
        if self.alive_be() and self.now - self.still > self.rules_.ageing:
            wake = self.schedule.wake()
            assert self.promoted is not None or (wake is not None and wake <= self.now)

    def teardown(self) -> None:
        """Let everything come to its end: each request that waits is started, and no slot is missing afterwards."""
        if not self.lane:
            return
        for _ in range(4 * self.count + 4):
            if not (self.held or self.transfer):
                break
            self.end(next(iter({**self.held, **self.transfer})))
        assert not self.waiting
        assert self.schedule.counts()["free"] == self.rules_.slots + self.rules_.kept
        assert self.schedule.wake() is None


Histories.TestCase.settings = settings(
    max_examples=HISTORIES,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestHistories = pytest.mark.timeout(3600)(Histories.TestCase)
