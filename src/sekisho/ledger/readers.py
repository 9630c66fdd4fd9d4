"""Connections that only read: lent to one thread at a time, and kept for the next."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sekisho.core.errors import InputError

from . import schema, trouble
from .commit import closed_error

_IDLE = 8
"""Connections that are kept while nobody reads."""


class Readers:
    """The read connections of one ledger. Each method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self.closed = False

    @contextmanager
    def lent(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection to one thread.

        Raises:
            LedgerError: it cannot be opened, the ledger is closed, or SQLite finds something wrong.
            InputError: for a text that SQLite cannot take.
        """
        try:
            db = self._borrow()
            try:
                yield db
            finally:
                self._give_back(db)
        except sqlite3.Error as e:
            raise trouble.translated(e, self._path) from e
        except UnicodeEncodeError as e:
            raise InputError("The text has lone surrogates.", "Send valid Unicode.") from e

    def _borrow(self) -> sqlite3.Connection:
        with self._lock:
            if self.closed:
                raise closed_error()
            if self._idle:
                return self._idle.pop()
        return schema.connect(self._path, "ro")

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._lock:
            # One still in a transaction would show the next reader an old snapshot.
            if not self.closed and not db.in_transaction and len(self._idle) < _IDLE:
                self._idle.append(db)
                return
        db.close()

    def close(self) -> None:
        """Close those that nobody has; the others are closed when they come back."""
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()
