"""Which escalated judgements wait for people, remembered between questions: only what was appended since is read.

An end is final and the ledger only grows, so whoever was found ended stays so. Each process remembers for itself; the first question reads
the whole ledger, about a second for a million entries.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import cast
from weakref import WeakKeyDictionary

from sekisho.core.oversight import Escalation

from . import rows
from .chain import Entry
from .store import Ledger

_ENDS = ("decide", "expire")
_ESCALATED = f"""SELECT seq, id FROM entries WHERE seq > ? AND seq <= ? AND +kind = 'judgement'
    AND {rows.field("decision")} = 'ESCALATE' AND {rows.field("task")} = 'gate' AND NOT EXISTS (
        SELECT 1 FROM entries AS step WHERE step.kind <> 'judgement' AND {rows.field("judgement", "step")} = +entries.id
        AND +step.kind = 'escalation' AND {rows.field("step", "step")} IN {_ENDS}) ORDER BY seq"""  # noqa: S608
"""Without those that have an end already, so that a first question does not ask for each of them. The plus takes the column's affinity off, or no index on an expression would serve."""


class Waiting:
    """The escalations of one ledger that had no end when they were last looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = 0
        self._ids: dict[int, str] = {}
        """By position, in order."""

    def page(self, ledger: Ledger, after: int, limit: int) -> list[tuple[Entry, list[Escalation]]]:
        """Return those behind `after`, oldest first, each with its steps so far."""
        found: list[tuple[Entry, list[Escalation]]] = []
        # The snapshot inside the lock, so that nobody looks with an older one at what a newer one has found.
        with self._lock, ledger.snapshot() as db:
            self._read_on(db)
            for seq, id in [item for item in self._ids.items() if item[0] > after]:
                steps = [cast(Escalation, s.record) for s in rows.about(db, "escalation", id)]
                if any(s.step in _ENDS for s in steps):
                    del self._ids[seq]
                    continue
                entry = rows.get(db, id)
                assert entry is not None
                found.append((entry, steps))
                if len(found) == limit:
                    break
        return found

    def _read_on(self, db: sqlite3.Connection) -> None:
        until = rows.head(db).seq
        self._ids.update(db.execute(_ESCALATED, (self._seen, until)).fetchall())
        self._seen = max(self._seen, until)


_remembered: WeakKeyDictionary[Ledger, Waiting] = WeakKeyDictionary()
_making = threading.Lock()


def unfinished(ledger: Ledger, after: int = 0, limit: int = 100) -> list[tuple[Entry, list[Escalation]]]:
    """Return a page of escalated judgements on which nobody has decided, oldest first, each with its steps so far."""
    with _making:
        waiting = _remembered.setdefault(ledger, Waiting())
    return waiting.page(ledger, after, limit)
