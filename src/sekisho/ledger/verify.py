"""The audit of a ledger file: nothing in it is believed that cannot be recomputed.

Every body is hashed again, every link followed, the Merkle tree made again, sealed content compared with its digest, the tables and
triggers with those this program would make, and SQLite's own pages and indexes checked. Memory does not grow with the ledger.

A chain can show that something inside was changed. It cannot show that the newest entries were cut off, or that everything was
rewritten by someone who recomputed it: for that, give the audit what a witness saw.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from . import schema
from .chain import START, Head, RawRow, fault, seal_digest
from .merkle import Frontier, leaf_hash
from .signing import checkpoint_fault
from .tree import Block, Blocks
from .witness import Comparison, Difference, Line

_ROWS = """SELECT seq, CAST(kind AS BLOB), CAST(id AS BLOB), CAST(at AS BLOB), CAST(body AS BLOB), CAST(prev AS BLOB),
    CAST(digest AS BLOB) FROM entries ORDER BY seq"""
"""As bytes: text that is not UTF-8 must be found and located, not end the search."""
_BLOCK = "SELECT hash FROM tree WHERE level = ? AND place = ?"


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


def audit(db: sqlite3.Connection, seen: Iterable[Line] = ()) -> Verification:
    """Verify the ledger behind `db` on one snapshot, while others go on writing.

    Args:
        seen: what a witness saw, oldest first.
    """
    db.execute("BEGIN")
    try:
        return _audit(db, seen)
    finally:
        schema.roll_back(db)


def _audit(db: sqlite3.Connection, seen: Iterable[Line]) -> Verification:
    walk = _Walk(db, seen)
    broken = _walk(walk)
    bad = None if broken is None else broken.seq
    problems = [] if broken is None else [f"entry {bad}: {broken.words}"]
    content, blamed = _altered_content(db, searchable=broken is None)
    if broken is None and not content:
        content, blamed = _missing_content(db)
    problems += content + walk.wrong_blocks
    problems += _schema_problems(db)
    if not problems:
        problems += _page_problems(db)
    head = walk.head
    whole = head.seq if bad is None else bad - 1
    return Verification(not problems, whole, head, bad or blamed, "; ".join(problems) or None)


def _walk(walk: _Walk) -> Difference | None:
    """Walk until the first entry that is not right; return it, or None when all are."""
    try:
        for row in walk.db.execute(_ROWS):
            wrong = walk.step(row)
            if wrong is not None:
                return wrong
        walk.count_blocks()
    except sqlite3.Error as e:
        return Difference(walk.head.seq + 1, f"the file cannot be read here ({e})")
    return walk.seen.missing(walk.head.seq)


class _Walk:
    """Follows the chain from the first entry, growing the tree and comparing with the witness on the way."""

    def __init__(self, db: sqlite3.Connection, seen: Iterable[Line]) -> None:
        self.head = START
        """The last entry found whole."""
        self.wrong_blocks: list[str] = []
        self.db, self.seen = db, Comparison(seen)
        self._tree, self._blocks, self._made = Frontier(), Blocks(), 0
        self._key: str | None = None

    def step(self, row: RawRow) -> Difference | None:
        """Take one row; return what is wrong with it, or None."""
        wrong = fault(row, self.head) or self._checkpoint_fault(row)
        if wrong is not None:
            return Difference(self.head.seq + 1, wrong)
        digest = cast(bytes, row[6])
        leaf = leaf_hash(digest)
        self._tree.append(leaf)
        for block in self._blocks.add(leaf):
            self._compare(block)
        different = self.seen.see(row[0], digest.decode(), self._tree)
        if different is None:
            self.head = Head(row[0], digest.decode())
        return different

    def _checkpoint_fault(self, row: RawRow) -> str | None:
        if row[1] != b"checkpoint":
            return None
        body = json.loads(cast(bytes, row[4]))
        wrong = checkpoint_fault(body, row[0], self.head, self._tree, self._key)
        self._key = self._key or body.get("key")
        return wrong

    def _compare(self, block: Block) -> None:
        self._made += 1
        row = self.db.execute(_BLOCK, (block.level, block.place)).fetchone()
        if row != (block.hash,):
            self.wrong_blocks.append(f"block {block.place} of level {block.level} of the tree was altered")

    def count_blocks(self) -> None:
        """After the last row: every block on disk must have been met."""
        (stored,) = self.db.execute("SELECT count(*) FROM tree").fetchone()
        if stored > self._made:
            self.wrong_blocks.append(f"the tree has {stored - self._made} blocks too many")


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


_ERASED = "SELECT value FROM entries, json_each(body, '$.digests') WHERE kind = 'erasure'"
_GONE = f"""SELECT seq FROM entries WHERE kind IN ('judgement', 'correction', 'stretch') AND json_extract(body, '$.content') IS NOT NULL
    AND json_extract(body, '$.content') NOT IN (SELECT digest FROM contents)
    AND json_extract(body, '$.content') NOT IN ({_ERASED}) ORDER BY seq LIMIT 1"""  # noqa: S608
_BACK = f"SELECT seq FROM ({schema.NAMED}) WHERE content IN ({_ERASED}) ORDER BY seq LIMIT 1"  # noqa: S608
_DATED = f"""SELECT named.seq FROM ({schema.NAMED}) AS named JOIN contents ON digest = content
    WHERE contents.at IS NOT named.at ORDER BY named.seq LIMIT 1"""  # noqa: S608
_LOSSES = (
    (_GONE, "its content is gone and no entry says that it was erased"),
    (_BACK, "its content is there, though an entry says that it was erased"),
    (_DATED, "its content was given another time, by which it would be erased earlier or later"),
)


def _missing_content(db: sqlite3.Connection) -> tuple[list[str], int | None]:
    """Compare the contents there are with what entries say of them; the bodies of a whole chain can be searched."""
    try:
        for question, words in _LOSSES:
            row = db.execute(question).fetchone()
            if row is not None:
                return [f"entry {row[0]}: {words}"], row[0]
    except sqlite3.Error as e:
        return [f"contents cannot be compared with the entries ({e})"], None
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
