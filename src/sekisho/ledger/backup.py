"""A copy of the whole ledger, content too, taken while others write, and audited before it gets its name."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sekisho.core.disk import sync
from sekisho.core.errors import InputError, LedgerError

from . import trouble
from .chain import Head
from .store import Ledger


def back_up(ledger: Ledger, path: Path) -> Head:
    """Copy the ledger as it stands at one moment to a new file, readable by its owner alone; return the copy's newest entry.

    Others read and write meanwhile (SQLite's online backup on one snapshot). A copy keeps content that is erased later: keep it no longer than
    the content may be kept, or leave content out with an export.

    Raises:
        InputError: the file exists already, or its folder does not.
        LedgerError: it cannot be read or written, or is not whole.
    """
    if path.exists():
        raise InputError(f"{path} exists already.", "Name another file.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}.", "Make it first, or name another file.")
    part = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _copy(ledger, part)
        head = _audited(part)
        part.replace(path)
        sync([path.parent])
    except sqlite3.Error as e:
        raise trouble.translated(e, path) from e
    except OSError as e:
        raise LedgerError(
            f"The backup {path} cannot be written: {e}.", "Check the path and its rights."
        ) from e
    finally:
        for ending in ("", "-wal", "-shm"):
            part.with_name(part.name + ending).unlink(missing_ok=True)
    return head


def _copy(ledger: Ledger, part: Path) -> None:
    with ledger.snapshot() as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
        target.execute("PRAGMA synchronous = FULL")


def _audited(part: Path) -> Head:
    with Ledger.open(part) as copy:
        found = copy.verify()
    if not found.ok:
        raise LedgerError(
            f"The copy is not whole: {found.problem}.", "Run `sekisho audit verify` on the ledger itself."
        )
    sync([part])
    return found.head
