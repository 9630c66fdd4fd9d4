"""What a server does beside answering: hand decisions to the operating system's log, and write down what the egress seal blocked."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque

from .. import metrics
from ..core.canonical import new_id, utc_now
from ..core.disk import write_whole
from ..core.errors import SettingsError
from ..core.oversight import Incident
from ..host import egress
from ..host.oslog import ERROR, IDS, Event, Sink, open_sink
from ..ledger.chain import Entry
from .parts import Parts

_PAUSE = 0.5
_PAGE = 500
_ERRORS = 1000
_log = logging.getLogger("sekisho.attend")


class Forwarder(logging.Handler):
    """Hands the gate's judgements to the operating system's log, in order, at least once.

    The ledger itself is the spool: a cursor on disk says how far the log has come, and while the log is down it stands still. Errors of the
    service (1004) come from Python's log, wait in memory, and are the first to be given up when there are too many.

    Args:
        sink: None forwards nothing.
    """

    def __init__(self, parts: Parts, sink: Sink | None) -> None:
        super().__init__(logging.ERROR)
        self._ledger, self._sink = parts.ledger, sink
        self._path = parts.settings.home / "oslog.cursor"
        self._errors: deque[str] = deque(maxlen=_ERRORS)
        self._after = self._read()
        self.problem: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take an error of the service."""
        self._errors.append(record.getMessage())

    def pump(self) -> int:
        """Send what there is; return how many events the log took. What it does not take stays."""
        if self._sink is None:
            return 0
        sent = 0
        try:
            while self._errors:
                self._sink.send(Event(ERROR, self._errors[0]))
                self._errors.popleft()
                sent += 1
            sent += self._judgements(self._sink)
            self.problem = None
        except OSError as e:
            self.problem = str(e)
        metrics.OS_LOG_UP.set(self.problem is None)
        return sent

    def _judgements(self, sink: Sink) -> int:
        sent = 0
        while page := self._ledger.entries(kind="judgement", task="gate", after=self._after, limit=_PAGE):
            at = self._after
            try:
                for entry in page:
                    sink.send(event_of(entry))
                    at, sent = entry.seq, sent + 1
            finally:
                self._keep(at)
        return sent

    def _keep(self, at: int) -> None:
        if at != self._after:
            self._after = at
            write_whole(self._path, json.dumps({"after": at}).encode())

    def _read(self) -> int:
        """Where the log stands; a log that is turned on today begins today."""
        try:
            return int(json.loads(self._path.read_bytes())["after"])
        except (OSError, ValueError, KeyError, TypeError):
            return self._ledger.head().seq


def event_of(entry: Entry) -> Event:
    """A gate judgement as an event; nothing of what was asked is in it."""
    body = entry.body
    why, stamp = ",".join(body["reasons"]), body["stamp"]
    told = f"{body['decision']} {entry.id} at {entry.at} because {why} by {body['policy_ref']} model {stamp['model_digest']} entry {entry.seq}"
    return Event(IDS.get(body["decision"], ERROR), told)


def note_blocked(parts: Parts) -> int:
    """Write what the egress seal blocked into the ledger; return how many."""
    found = egress.fetch_blocked()
    if found:
        note(parts, [("egress", f"blocked a {what}") for what in found])
    return len(found)


def note(parts: Parts, found: list[tuple[str, str]]) -> None:
    """Write incidents, by sort and words, into the ledger."""
    now = utc_now()
    parts.ledger.append(
        [Incident(id=new_id("inc"), at=now, sort=sort, what=what[:2000]) for sort, what in found]
    )
    for sort, _ in found:
        metrics.INCIDENTS.labels(sort).inc()


def seal_egress(parts: Parts) -> None:
    """Seal this process for good. Raises SettingsError when the allow-list cannot be read."""
    try:
        egress.install(parts.settings.reachable())
    except ValueError as e:
        raise SettingsError([f"egress: {e}"]) from e


async def attend(parts: Parts) -> None:
    """Do both, twice a second, until cancelled."""
    settings = parts.settings
    forwarder = Forwarder(parts, open_sink(settings.os_log, settings.os_log_socket))
    logger = logging.getLogger("sekisho")
    if settings.os_log != "off":
        logger.addHandler(forwarder)
    try:
        while True:
            try:
                await asyncio.to_thread(note_blocked, parts)
                await asyncio.to_thread(forwarder.pump)
            except Exception as e:  # must outlive a full disk
                _log.warning("cannot attend: %s", e)
            await asyncio.sleep(_PAUSE)
    finally:
        logger.removeHandler(forwarder)
