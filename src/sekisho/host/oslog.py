"""The operating system's log: journald and syslog here, the Windows Event Log there. Each sink takes one event or raises OSError.

No text of a request is in an event, only what was decided, by what, and the id under which the ledger has the rest.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

IDS = {"ALLOW": 1001, "ESCALATE": 1002, "DENY": 1003}
ERROR = 1004
"""Event id of an error of the service."""

_SYSLOG_LEVELS = {1001: 6, 1002: 5, 1003: 4, 1004: 3}
"""info, notice, warning, error (RFC 5424, section 6.2.1)."""
_AUTHPRIV = 10
"""The facility that only administrators read."""
_WINDOWS_TYPES = {1001: 4, 1002: 2, 1003: 2, 1004: 1}
"""EVENTLOG_INFORMATION_TYPE, _WARNING_TYPE and _ERROR_TYPE."""
_JOURNAL, _SYSLOG = Path("/run/systemd/journal/socket"), Path("/dev/log")
NAME = "sekisho"


class Event(NamedTuple):
    """One event: its id, 1001 ALLOW, 1002 ESCALATE, 1003 DENY, 1004 error, and its text, one line."""

    id: int
    text: str


class Sink(Protocol):
    """Where events go."""

    def send(self, event: Event) -> None:
        """Hand one event over. Raises OSError when the log does not take it."""
        ...


class Datagrams:
    """A log that reads datagrams from a Unix socket: journald in its native protocol, or syslog (RFC 3164)."""

    def __init__(self, path: Path, journal: bool) -> None:
        self._path, self._journal = path, journal

    def send(self, event: Event) -> None:
        """Send one datagram, over a socket of its own: a log that was started again listens on a new one."""
        data = journal_entry(event) if self._journal else syslog_line(event)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.connect(str(self._path))
            out.send(data)


def journal_entry(event: Event) -> bytes:
    """An event in journald's native protocol: a field a line, none of them with a line break."""
    fields = {
        "MESSAGE": _line(event.text),
        "PRIORITY": _SYSLOG_LEVELS[event.id],
        "SYSLOG_IDENTIFIER": NAME,
        "SYSLOG_FACILITY": _AUTHPRIV,
        "SEKISHO_EVENT_ID": event.id,
    }
    return "".join(f"{k}={v}\n" for k, v in fields.items()).encode("utf-8", "replace")


def syslog_line(event: Event) -> bytes:
    """An event as a local syslog daemon reads it."""
    priority = _AUTHPRIV * 8 + _SYSLOG_LEVELS[event.id]
    return f"<{priority}>{NAME}[{os.getpid()}]: {event.id} {_line(event.text)}".encode("utf-8", "replace")


def _line(text: str) -> str:
    """Text without control characters: a line break would begin a field, or an event, of somebody else's making."""
    return "".join(c if c.isprintable() else " " for c in text)


WindowsReport = Callable[[str, int, int, str], None]
"""Source, type, event id, text; raises OSError."""


class WindowsLog:
    """The Windows Event Log.

    Args:
        report: the call into Windows; the only part that another system cannot run.
    """

    def __init__(self, report: WindowsReport) -> None:
        self._report = report

    def send(self, event: Event) -> None:
        """Report one event."""
        self._report(NAME, _WINDOWS_TYPES[event.id], event.id, _line(event.text))


def windows_report(source: str, kind: int, id: int, text: str) -> None:
    """Call ReportEventW (advapi32). No shell, no other program."""
    import ctypes

    api = ctypes.WinDLL("advapi32", use_last_error=True)  # type: ignore[attr-defined]
    api.RegisterEventSourceW.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(api.RegisterEventSourceW(None, source))
    try:
        texts = (ctypes.c_wchar_p * 1)(text)
        if not handle or not api.ReportEventW(handle, kind, 0, id, None, 1, 0, texts, None):
            raise ctypes.WinError(ctypes.get_last_error())  # type: ignore[attr-defined]
    finally:
        api.DeregisterEventSource(handle)


def open_sink(kind: str, path: Path | None = None) -> Sink | None:
    """Return the log of that kind; None for `off`.

    Args:
        kind: off, auto, journald, syslog, windows. `auto` takes what this system has.
        path: socket of journald or syslog, where it is not the usual one.
    """
    if kind == "auto":
        kind = "windows" if sys.platform == "win32" else "journald" if _JOURNAL.exists() else "syslog"
    if kind == "off":
        return None
    if kind == "windows":
        return WindowsLog(windows_report)
    usual = _JOURNAL if kind == "journald" else _SYSLOG
    return Datagrams(path or usual, kind == "journald")
