from __future__ import annotations

import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.host.oslog import Datagrams, Event, WindowsLog, journal_entry, open_sink, syslog_line


@pytest.fixture
def log(tmp_path):
    """A socket that reads datagrams, as journald's and syslog's do."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.settimeout(5)
        yield listening, tmp_path / "log"


def test_syslog_gets_level_name_and_id(log):
    listening, path = log
    for id, priority in ((1001, 86), (1002, 85), (1003, 84), (1004, 83)):
        open_sink("syslog", path).send(Event(id, "DENY jdg_1"))
        line = listening.recv(4096).decode()
        assert line.startswith(f"<{priority}>sekisho[")
        assert line.endswith(f"]: {id} DENY jdg_1")


def test_the_journal_gets_fields(log):
    listening, path = log
    open_sink("journald", path).send(Event(1003, "拒否 jdg_1"))
    fields = dict(line.split("=", 1) for line in listening.recv(4096).decode().splitlines())
    assert (fields["MESSAGE"], fields["SEKISHO_EVENT_ID"], fields["PRIORITY"]) == ("拒否 jdg_1", "1003", "4")


@given(st.text())
def test_no_text_begins_a_line_of_its_own(text):
    event = Event(1004, text)
    assert len(journal_entry(event).splitlines()) == 5
    assert syslog_line(event).count(b"\n") == 0


def test_a_log_that_is_down_is_an_oserror(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(OSError):
            Datagrams(path, True).send(Event(1001, "x"))


def test_windows_is_asked_with_source_type_id_and_text():
    asked = []
    sink = WindowsLog(lambda *given: asked.append(given))
    for id in (1001, 1002, 1003, 1004):
        sink.send(Event(id, "a\nb"))
    assert asked == [
        ("sekisho", kind, id, "a b") for id, kind in ((1001, 4), (1002, 2), (1003, 2), (1004, 1))
    ]


def test_which_log_is_taken():
    assert open_sink("off") is None
    assert isinstance(open_sink("windows"), WindowsLog)
    assert isinstance(open_sink("auto"), WindowsLog if sys.platform == "win32" else Datagrams)
