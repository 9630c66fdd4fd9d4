from __future__ import annotations

import logging

from sekisho.core.errors import SettingsError
from sekisho.host import egress
from sekisho.host.oslog import Event
from sekisho.loop.attend import Forwarder, note_blocked, seal_egress
from sekisho.loop.watch import _is_listed

from .conftest import judged


class Log:
    """A log that can be down, and fails after so many events."""

    def __init__(self):
        self.got: list[Event] = []
        self.left = 10**9

    def send(self, event):
        if self.left == 0:
            raise ConnectionRefusedError("down")
        self.left -= 1
        self.got.append(event)


def test_every_decision_reaches_the_log_once_and_in_order(house):
    log = Log()
    forwarder = Forwarder(house, log)
    made = [judged(house, "a secret text", d) for d in ("ALLOW", "ESCALATE", "DENY")]
    assert forwarder.pump() == 3
    assert [e.id for e in log.got] == [1001, 1002, 1003]
    assert all(j.id in e.text and "secret" not in e.text for j, e in zip(made, log.got, strict=True))
    assert forwarder.pump() == 0


def test_what_a_log_that_is_down_misses_comes_later_also_after_a_restart(house):
    log = Log()
    forwarder = Forwarder(house, log)
    judged(house, "x")
    forwarder.pump()
    ids = [judged(house, str(i)).id for i in range(5)]
    log.left = 2
    forwarder.pump()
    assert "down" in forwarder.problem
    log.left = 10**9
    again = Forwarder(house, log)
    again.pump()
    assert [e.text.split()[1] for e in log.got[1:]] == ids
    assert again.problem is None


def test_a_log_turned_on_today_begins_today(house):
    judged(house, "x")
    assert Forwarder(house, Log()).pump() == 0


def test_errors_of_the_service_are_events_too(house):
    log = Log()
    forwarder = Forwarder(house, log)
    logger = logging.getLogger("sekisho.test")
    logger.addHandler(forwarder)
    try:
        log.left = 0
        logger.error("the disk of %s is full", "home")
        logger.warning("a trifle")
        forwarder.pump()
        log.left = 9
        forwarder.pump()
    finally:
        logger.removeHandler(forwarder)
    assert log.got == [Event(1004, "the disk of home is full")]


def test_what_was_blocked_is_in_the_ledger(house):
    egress._State.blocked.append("connect to 192.0.2.1 port 80")
    assert note_blocked(house) == 1
    (entry,) = house.ledger.entries(kind="incident")
    assert (entry.body["sort"], entry.body["what"]) == ("egress", "blocked a connect to 192.0.2.1 port 80")
    assert note_blocked(house) == 0


def test_a_wrong_allow_list_ends_the_start(house):
    import pytest

    house.settings.values["egress"] = "a:b"
    with pytest.raises(SettingsError, match="no host"):
        seal_egress(house)


def test_what_is_listed_is_expected():
    assert _is_listed("192.0.2.1:80", "192.0.2.1")
    assert _is_listed("[2001:db8::1]:80", "x.example, [2001:db8::1]:80")
    assert not _is_listed("192.0.2.1:80", "192.0.2.1:81")
    assert not _is_listed("192.0.2.1:80", "")
