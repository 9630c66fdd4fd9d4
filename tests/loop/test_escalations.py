from __future__ import annotations

import contextlib
import threading
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sekisho import wiring
from sekisho.core import settings as core_settings
from sekisho.core.access import Caller
from sekisho.core.canonical import utc_after, utc_now
from sekisho.core.errors import ConflictError, InputError, NotFoundError
from sekisho.core.oversight import Escalation
from sekisho.loop import escalations

from .conftest import judged

HOURS, LEASE = 2.0, 10.0
PEOPLE = ("hana", "ken")


def open_house(home, **flags):
    given = {
        "home": str(home),
        "engine": "fake",
        "escalation_hours": HOURS,
        "escalation_lease_minutes": LEASE,
    }
    return wiring.build(core_settings.load(given | flags, env={}))


class Queue(RuleBasedStateMachine):
    """The real queue over a real ledger beside a model of four variables."""

    @initialize()
    def begin(self):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.house = open_house(self.folder.name)
        self.house.ledger.clock_tolerance = float("inf")  # the model's time runs ahead, the ledger's does not
        self.id = judged(self.house, "x", "ESCALATE").id
        self.start = self.house.ledger.get(self.id).at
        self.now, self.state, self.by, self.until, self.outcome, self.steps = 0.0, "open", None, 0.0, None, 0

    def at(self):
        """Let the queue see the model's time."""
        return mock.patch.object(escalations, "utc_now", return_value=utc_after(self.start, self.now))

    def tell(self, allowed, act, *args):
        with self.at():
            if allowed:
                assert isinstance(act(self.house, self.id, *args), Escalation)
                self.steps += 1
            else:
                with pytest.raises(ConflictError):
                    act(self.house, self.id, *args)
        return allowed

    @rule(minutes=st.sampled_from([1.0, 9.0, 11.0, 60.0]))
    def wait(self, minutes):
        self.now += minutes * 60
        if self.state == "taken" and self.now >= self.until:
            self.state, self.by = "open", None
        if self.state == "open" and self.now >= HOURS * 3600:
            self.state = "expired"

    @rule(by=st.sampled_from(PEOPLE))
    def take(self, by):
        if self.tell(self.state == "open", escalations.take, by):
            self.state, self.by, self.until = "taken", by, self.now + LEASE * 60

    @rule(by=st.sampled_from(PEOPLE), outcome=st.sampled_from(["ALLOW", "DENY"]))
    def decide(self, by, outcome):
        held = self.state == "taken" and self.by == by
        if self.tell(held, escalations.decide, outcome, "because", by):
            self.state, self.outcome = "decided", outcome

    @rule(by=st.sampled_from(PEOPLE))
    def hand_back(self, by):
        if self.tell(self.state == "taken" and self.by == by, escalations.hand_back, "", by):
            self.state, self.by = ("expired" if self.now >= HOURS * 3600 else "open"), None

    @rule()
    def sweep(self):
        with self.at():
            done = escalations.expire(self.house)
        # Written down once; a second sweep finds nothing.
        if done:
            assert (self.state, done) == ("expired", [self.id])
            self.steps += 1

    @precondition(lambda self: hasattr(self, "house"))
    @invariant()
    def stands_as_modelled(self):
        with self.at():
            found = escalations.show(self.house, self.id)
        assert found["state"] == self.state
        assert found["outcome"] == {"expired": "DENY"}.get(self.state, self.outcome)
        assert found["by"] == (self.by if self.state in ("taken", "decided") else None)
        assert len(found["steps"]) == self.steps == self.house.ledger.count("escalation")

    def teardown(self):
        if hasattr(self, "house"):
            assert self.house.ledger.verify().ok
            self.house.close()
            self.folder.cleanup()


Queue.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestQueue = Queue.TestCase


def test_of_many_who_take_at_once_one_gets_it(house):
    id = judged(house, "x", "ESCALATE").id
    got = []

    def take(by):
        with contextlib.suppress(ConflictError):
            got.append(escalations.take(house, id, by).by)

    threads = [threading.Thread(target=take, args=(f"p{i}",)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(got) == 1 == house.ledger.count("escalation")


def test_who_asked_reads_what_became_of_it_and_nobody_elses(house):
    id = judged(house, "x", "ESCALATE").id
    stranger = Caller("key_other", "other", frozenset({"judge"}))
    with pytest.raises(NotFoundError):
        escalations.show(house, id, stranger)
    reader = Caller("key_r", "r", frozenset({"audit"}))
    assert escalations.show(house, id, reader)["kept"]["requests"] == ["x"]


def test_only_what_was_escalated_is_an_escalation(house):
    for id in (judged(house, "x", "ALLOW").id, judged(house, "x", "DENY").id, "jdg_nobody"):
        for act in (lambda i: escalations.take(house, i, "hana"), lambda i: escalations.show(house, i)):
            with pytest.raises(NotFoundError):
                act(id)


@pytest.mark.parametrize("wrong", [("MAYBE", "because", "hana"), ("ALLOW", " ", "hana"), ("ALLOW", "x", "")])
def test_a_decision_needs_outcome_reason_and_name(house, wrong):
    id = judged(house, "x", "ESCALATE").id
    escalations.take(house, id, "hana")
    with pytest.raises(InputError):
        escalations.decide(house, id, *wrong)


def test_the_list_leaves_out_what_is_over(house):
    ids = [judged(house, str(i), "ESCALATE").id for i in range(5)]
    escalations.take(house, ids[0], "hana")
    escalations.decide(house, ids[0], "DENY", "no", "hana")
    escalations.take(house, ids[1], "hana")
    first, following = escalations.listed(house, limit=3)
    rest, end = escalations.listed(house, after=following, limit=3)
    assert [e["judgement"] for e in first + rest] == ids[1:]
    assert end is None
    assert [e["judgement"] for e in escalations.listed(house, "taken")[0]] == [ids[1]]
    assert utc_now() < first[0]["expires"]
