"""Rows in and out of an open transaction: the head, the conflict of ids, the insertion of records in their places."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from sekisho.core.canonical import utc_after, utc_now
from sekisho.core.errors import ConflictError, LedgerError

from . import schema, tree
from .chain import START, Draft, Entry, Head, Sealed, link

SELECT = "SELECT seq, kind, id, at, body, prev, digest FROM entries "
_COUNT = "SELECT count(*) FROM entries"
_SPEAKS_OF = f"{schema.NO_JUDGEMENT} AND {schema.SPOKEN_OF} = ?"
_INSERT = "INSERT INTO entries (seq, kind, id, at, body, prev, digest) VALUES (?, ?, ?, ?, ?, ?, ?)"
# The same sealed content twice is the same row: its salt makes another content with that digest impossible.
_KEEP = "INSERT INTO contents (digest, salt, body, at) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING"


def head(db: sqlite3.Connection) -> Head:
    """Return position and digest of the newest entry."""
    row = db.execute("SELECT seq, digest FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    return Head(*row) if row else START


def newest(db: sqlite3.Connection) -> tuple[Head, str | None]:
    """Return position and digest of the newest entry, and its time; None when there is none."""
    row = db.execute("SELECT seq, digest, at FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
    return (Head(*row[:2]), row[2]) if row else (START, None)


def check_clock(latest: str | None, tolerance: float) -> None:
    """Refuse to write at a time that lies far before the newest entry's.

    Raises:
        LedgerError: with both times. An entry whose `at` is no time of ours says nothing.
    """
    now = utc_now()
    if latest is None or latest <= now:
        return
    try:
        late = utc_after(now, tolerance) < utc_after(latest, 0)
    except (ValueError, OverflowError):
        return
    if late:
        raise LedgerError(
            f"The clock says {now}, but the newest entry is of {latest}: the clock went back.",
            "Set the clock right; see docs/ledger.md if the earlier one was wrong.",
        )


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


def of_kind(kind: str) -> str:
    """The condition that an entry is of a kind, with a place for it, so said that the index of kinds serves where it can."""
    return "kind = ?" if kind == "judgement" else f"kind = ? AND {schema.NO_JUDGEMENT}"


def page(
    db: sqlite3.Connection, given: Mapping[str, str], after: int, limit: int, newest_first: bool
) -> list[Entry]:
    """Return one page of the entries whose columns, or fields of their bodies, have these values; see `Ledger.entries`."""
    wheres = _filters(given)
    if after or not newest_first:
        wheres["seq < ?" if newest_first else "seq > ?"] = after
    where = f"WHERE {' AND '.join(wheres)}" if wheres else ""
    sql = f"{SELECT}{where} ORDER BY seq {'DESC' if newest_first else 'ASC'} LIMIT ?"
    return [entry(row) for row in db.execute(sql, (*wheres.values(), limit))]


def _filters(given: Mapping[str, str]) -> dict[str, str | int]:
    """The conditions that columns and fields have these values, each with the value for its place, so said that the indexes serve where they can."""
    found: dict[str, str | int] = {}
    for name, value in given.items():
        if name == "judgement":
            found[_SPEAKS_OF] = value
        elif name == "kind" and "judgement" not in given:  # fewer speak of a judgement than are of a kind
            found[of_kind(value)] = value
        else:
            found[f"+{name} = ?" if name == "kind" else f"{field(name)} = ?"] = value
    return found


def field(name: str, table: str = "entries") -> str:
    """A field of a record, in SQL; None where the record has none."""
    return f"json_extract({table}.body, '$.{name}')"


def latest_with(db: sqlite3.Connection, kind: str, field: str, value: str) -> Entry | None:
    """Return the newest entry of a kind whose record has that value in that field, also of this very transaction; None when there is none."""
    where = f"WHERE {of_kind(kind)} AND json_extract(body, '$.' || ?) = ? ORDER BY seq DESC LIMIT 1"
    row = db.execute(SELECT + where, (kind, field, value)).fetchone()
    return entry(row) if row else None


def get(db: sqlite3.Connection, id: str) -> Entry | None:
    """Return the entry with that record id, also of this very transaction; None when there is none."""
    row = db.execute(SELECT + "WHERE id = ?", (id,)).fetchone()
    return entry(row) if row else None


def count(db: sqlite3.Connection, kind: str | None) -> int:
    """Return how many entries there are, of one kind or in all, by the indexes alone."""
    if kind == "judgement":
        # In one question, as others write meanwhile.
        return int(db.execute(f"SELECT ({_COUNT}) - ({_COUNT} WHERE {schema.NO_JUDGEMENT})").fetchone()[0])
    where, given = ("", ()) if kind is None else (f" WHERE {of_kind(kind)}", (kind,))
    return int(db.execute(_COUNT + where, given).fetchone()[0])


def about(db: sqlite3.Connection, kind: str, judgement: str) -> list[Entry]:
    """Return the entries of a kind that speak of a judgement, oldest first, also of this very transaction."""
    where = f"WHERE {_SPEAKS_OF} AND +kind = ? ORDER BY seq"
    return [entry(row) for row in db.execute(SELECT + where, (judgement, kind))]


def insert(
    db: sqlite3.Connection, drafts: Sequence[Draft], sealed: Sequence[Sealed], after: Head
) -> list[Entry]:
    """Write records in their places after a head, their content, and what they complete of the tree."""
    entries = link(drafts, after)
    rows = [
        (e.seq, e.kind, e.id, e.at, d.text, e.prev, e.digest) for e, d in zip(entries, drafts, strict=True)
    ]
    written = db.executemany(_INSERT, rows).rowcount
    if written != len(rows):
        raise LedgerError(
            f"The ledger's file took {max(written, 0)} of {len(rows)} entries: something added to it turns them away.",
            "Run `sekisho audit verify`; it names what was added.",
        )
    # Content is as old as the first entry that names it: the chain covers that time, so nobody can make it older or younger.
    dates = {d.content: d.at for d in reversed(drafts)}
    db.executemany(_KEEP, [(x.digest, x.salt, x.body, dates.get(x.digest) or utc_now()) for x in sealed])
    tree.grow(db, after.seq, after.seq + len(entries))
    return entries


def entry(row: tuple[Any, ...]) -> Entry:
    """Return a row of SELECT as an entry. Raises LedgerError when its body is no JSON."""
    found = Entry(*row)
    try:
        found.body  # noqa: B018  (whoever reads an entry wants to know)
    except ValueError as e:
        raise LedgerError(f"Entry {found.seq} is not readable JSON.", "Run `sekisho audit verify`.") from e
    return found
