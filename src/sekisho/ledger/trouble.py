"""What SQLite's errors mean to people, with what to do about each."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sekisho.core.errors import LedgerError


def primary(e: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 when Python itself raised the error."""
    return (getattr(e, "sqlite_errorcode", None) or 0) & 0xFF


_DAMAGED = (
    "is damaged or is no ledger",
    "Keep the file as it is, run `sekisho audit verify`, then restore a backup.",
)
CLOSED = (
    "may not be written",
    "Check the rights of the file and its folder, and that it was not opened read-only.",
)
"""What is wrong, and what to do, when the file takes no writing."""
_NO_LOCKS = (
    "cannot be locked, as on a network share without a lock service",
    "Keep `home` on a disk of this machine; nothing was written.",
)
_LOCKING = {
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite3.SQLITE_IOERR_SHMLOCK,
}
"""SQLite's full result codes of locks that cannot be had at all, which is another thing than a lock that somebody else has."""
_MEANING = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "Find the process that holds it, then try again."),
    sqlite3.SQLITE_LOCKED: ("is locked by another connection", "Try again."),
    sqlite3.SQLITE_FULL: (
        "has no room to grow",
        "Free space on its disk, then try again; nothing was written.",
    ),
    sqlite3.SQLITE_IOERR: ("could not be read or written by the disk", "Check the disk and the system log."),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "Check that the path exists and that its folder may be written.",
    ),
    sqlite3.SQLITE_TOOBIG: ("cannot hold a record of that size", "Make the record smaller."),
    sqlite3.SQLITE_NOMEM: ("ran out of memory", "Free memory, then try again."),
    sqlite3.SQLITE_READONLY: CLOSED,
    sqlite3.SQLITE_PERM: CLOSED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


def translated(e: sqlite3.Error, path: Path) -> LedgerError:
    """Return what a SQLite error means, in words, with what to do about it."""
    what, do = _MEANING.get(
        primary(e), ("failed", "Run `sekisho audit verify`; if it finds nothing, report this.")
    )
    if getattr(e, "sqlite_errorcode", None) in _LOCKING:
        what, do = _NO_LOCKS
    error = LedgerError(f"The ledger {path} {what} ({e}).", do)
    error.__cause__ = e
    return error


def of_one_caller(e: sqlite3.Error) -> bool:
    """Whether a failed shared transaction may have been one caller's doing, so that the others deserve a try alone."""
    return primary(e) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOMEM}
