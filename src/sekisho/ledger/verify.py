"""The audit of a ledger file: nothing in it is believed that cannot be recomputed.

Every body is hashed again, every link followed, the Merkle tree made again, sealed content compared with its digest, the tables and
triggers with those this program would make, and SQLite's own pages and indexes checked. Memory does not grow with the ledger.

A chain can show that something inside was changed. It cannot show that the newest entries were cut off, or that everything was
rewritten by someone who recomputed it: for that, compare `head` with one written down elsewhere.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from . import schema
from .chain import START, Head, fault, seal_digest

_ROWS = """SELECT seq, CAST(kind AS BLOB), CAST(id AS BLOB), CAST(at AS BLOB), CAST(body AS BLOB), CAST(prev AS BLOB),
    CAST(digest AS BLOB) FROM entries ORDER BY seq"""
"""As bytes: text that is not UTF-8 must be found and located, not end the search."""


@dataclass(frozen=True)
class Verification:
    """What an audit found.

    Attributes:
        ok: whether everything holds.
        entries: entries found whole, counted from the first; all of them when `ok`.
        head: the last entry found whole; the ledger's head when `ok`.
        first_bad_seq: the first entry that is changed, missing or whose content was altered; None when no single entry is to blame.
        problem: everything that is wrong, in words; None when `ok`.
    """

    ok: bool
    entries: int
    head: Head
    first_bad_seq: int | None = None
    problem: str | None = None


def audit(db: sqlite3.Connection) -> Verification:
    """Verify the ledger behind `db` on one snapshot, while others go on writing."""
    db.execute("BEGIN")
    try:
        return _audit(db)
    finally:
        schema.roll_back(db)


def _audit(db: sqlite3.Connection) -> Verification:
    head, broken = _walk(db)
    bad = None if broken is None else head.seq + 1
    problems = [] if broken is None else [f"entry {bad}: {broken}"]
    content, blamed = _altered_content(db, searchable=broken is None)
    problems += content
    problems += _schema_problems(db)
    if not problems:
        problems += _page_problems(db)
    return Verification(not problems, head.seq, head, bad or blamed, "; ".join(problems) or None)


def _walk(db: sqlite3.Connection) -> tuple[Head, str | None]:
    """Follow the chain; return the last entry found whole and what is wrong with the next, if anything."""
    head = START
    try:
        for row in db.execute(_ROWS):
            wrong = fault(row, head)
            if wrong is not None:
                return head, wrong
            head = Head(row[0], row[6].decode())
    except sqlite3.Error as e:
        return head, f"the file cannot be read here ({e})"
    return head, None


def _altered_content(db: sqlite3.Connection, searchable: bool) -> tuple[list[str], int | None]:
    """Hash stored content again; return the first that is altered, and the entry it belongs to when bodies can be searched."""
    try:
        for digest, salt, body in db.execute("SELECT digest, salt, CAST(body AS BLOB) FROM contents"):
            if (
                not isinstance(salt, bytes)
                or not isinstance(body, bytes)
                or seal_digest(salt, body) != digest
            ):
                return [f"content {digest} was altered"], _owner(db, digest) if searchable else None
    except sqlite3.Error as e:
        return [f"contents cannot be read ({e})"], None
    return [], None


def _owner(db: sqlite3.Connection, digest: str) -> int | None:
    """The first entry whose record names that content. A full scan, taken only when something is wrong."""
    row = db.execute(
        "SELECT min(seq) FROM entries WHERE json_extract(body, '$.content') = ?", (digest,)
    ).fetchone()
    return row[0] if row else None


def _schema_problems(db: sqlite3.Connection) -> list[str]:
    try:
        return schema.differences(db)
    except sqlite3.Error as e:
        return [f"the schema cannot be read ({e})"]


def _page_problems(db: sqlite3.Connection) -> list[str]:
    """SQLite's own check: an index that hides a row makes a search lie though the chain is whole."""
    try:
        found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as e:
        return [f"SQLite's check failed ({e})"]
    return [] if found == ["ok"] else [f"SQLite's check: {line}" for line in found]
