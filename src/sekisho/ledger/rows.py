"""Rows in and out of an open transaction: the head, the conflict of ids, the insertion of records in their places."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from sekisho.core.canonical import utc_now
from sekisho.core.errors import ConflictError, LedgerError

from . import tree
from .chain import START, Draft, Entry, Head, Sealed, link

SELECT = "SELECT seq, kind, id, at, body, prev, digest FROM entries "
_INSERT = "INSERT INTO entries (seq, kind, id, at, body, prev, digest) VALUES (?, ?, ?, ?, ?, ?, ?)"
# The same sealed content twice is the same row: its salt makes another content with that digest impossible.
_KEEP = "INSERT INTO contents (digest, salt, body, at) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING"


def head(db: sqlite3.Connection) -> Head:
    """Return position and digest of the newest entry."""
    row = db.execute("SELECT seq, digest FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    return Head(*row) if row else START


def conflict(db: sqlite3.Connection, drafts: Sequence[Draft]) -> ConflictError | None:
    """Return the error of a caller whose ids are taken, found before anything of it is written; None when there is none."""
    seen: set[str] = set()
    for d in drafts:
        if d.id in seen or db.execute("SELECT 1 FROM entries WHERE id = ?", (d.id,)).fetchone():
            return ConflictError(
                f"The id {d.id} is already in the ledger.", "Use a fresh id; nothing was written."
            )
        seen.add(d.id)
    return None


def insert(
    db: sqlite3.Connection, drafts: Sequence[Draft], sealed: Sequence[Sealed], after: Head
) -> list[Entry]:
    """Write records in their places after a head, their content, and what they complete of the tree."""
    entries = link(drafts, after)
    rows = [
        (e.seq, e.kind, e.id, e.at, d.text, e.prev, e.digest) for e, d in zip(entries, drafts, strict=True)
    ]
    db.executemany(_INSERT, rows)
    # Content is as old as the first entry that names it: the chain covers that time, so nobody can make it older or younger.
    dates = {d.content: d.at for d in reversed(drafts)}
    db.executemany(_KEEP, [(x.digest, x.salt, x.body, dates.get(x.digest) or utc_now()) for x in sealed])
    tree.grow(db, after.seq, after.seq + len(entries))
    return entries


def entry(row: tuple[Any, ...]) -> Entry:
    """Return a row of SELECT as an entry. Raises LedgerError when its body is no JSON."""
    seq, kind, id, at, text, prev, digest = row
    try:
        return Entry(seq, kind, id, at, json.loads(text), prev, digest)
    except ValueError as e:
        raise LedgerError(f"Entry {seq} is not readable JSON.", "Run `sekisho audit verify`.") from e
