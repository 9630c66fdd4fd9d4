"""The audit of a ledger file: nothing in it is believed that cannot be recomputed.

Every body is hashed again, every link followed, the Merkle tree made again, sealed content compared with its digest, the tables and
triggers with those this program would make, and SQLite's own pages and indexes checked. Memory does not grow with the ledger.

A chain can show that something inside was changed. It cannot show that the newest entries were cut off, or that everything was
rewritten by someone who recomputed it: for that, give the audit what a witness saw.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from . import kept, schema
from .certify import Certificate
from .chain import GENESIS, START, Head, RawRow, fault
from .crew import Crew
from .merkle import Frontier, leaf_hash
from .signing import checkpoint_fault
from .tree import WIDTH, Block, Blocks
from .witness import Comparison, Difference, Line

_COLUMNS = """seq, CAST(kind AS BLOB), CAST(id AS BLOB), CAST(at AS BLOB), CAST(body AS BLOB), CAST(prev AS BLOB), CAST(digest AS BLOB)"""
"""As bytes: text that is not UTF-8 must be found and located, not end the search."""
_IN_FRONT = f"SELECT {_COLUMNS} FROM entries WHERE seq <= ? ORDER BY seq LIMIT 1"  # noqa: S608
_ROWS = f"SELECT {_COLUMNS} FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
_DIGESTS = "SELECT digest FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq"
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

    A large one is read by several processes (`crew`), each on a snapshot of its own, no older than this one. What they find right is taken
    from them; whatever they do not is looked at here. So what is said to be wrong is wrong on this snapshot.

    Args:
        seen: what a witness saw, oldest first.
    """
    db.execute("BEGIN")
    try:
        with Crew(db, GENESIS) as crew:
            return _audit(_Walk(db, seen, crew.certificates()), crew)
    finally:
        schema.roll_back(db)


def _audit(walk: _Walk, crew: Crew) -> Verification:
    broken = _walk(walk)
    bad = None if broken is None else broken.seq
    problems = [] if broken is None else [f"entry {bad}: {broken.words}"]
    content = _content_finding(walk, crew, searchable=broken is None)
    problems += [] if content is None else [content.words]
    problems += walk.wrong_blocks
    problems += _schema_problems(walk.db)
    if not problems and not crew.pages_are_right():
        problems += kept.page_problems(walk.db)
    whole = walk.head.seq if bad is None else bad - 1
    blamed = None if content is None else content.seq
    return Verification(not problems, whole, walk.head, bad or blamed, "; ".join(problems) or None)


def _content_finding(walk: _Walk, crew: Crew, searchable: bool) -> kept.Finding | None:
    if searchable and crew.contents_are_right():
        return None
    found = kept.altered(walk.db, searchable)
    # Without an entry that names content, none can be missing from it.
    return kept.missing(walk.db) if found is None and searchable and walk.named else found


def _walk(walk: _Walk) -> Difference | None:
    """Walk until the first entry that is not right; return it, or None when all are."""
    try:
        wrong = walk.to_the_end()
    except sqlite3.Error as e:
        return Difference(walk.head.seq + 1, f"the file cannot be read here ({e})")
    return wrong or walk.seen.missing(walk.head.seq)


class _Walk:
    """Follows the chain from the first entry, growing the tree and comparing with the witness on the way.

    Args:
        certificates: one, or None, for each whole block in order; an entry of a block without one is looked at by itself.
    """

    def __init__(
        self, db: sqlite3.Connection, seen: Iterable[Line], certificates: Iterator[Certificate | None]
    ) -> None:
        self.head = START
        """The last entry found whole."""
        self.wrong_blocks: list[str] = []
        self.named = False
        """Whether an entry may name content."""
        self.db, self.seen = db, Comparison(seen)
        self._certificates = certificates
        self._tree, self._blocks, self._made = Frontier(), Blocks(), 0
        self._key: str | None = None

    def to_the_end(self) -> Difference | None:
        """Walk; return the first entry that is not right, or None. Raises sqlite3.Error where the file cannot be read."""
        wrong = self._rows(_IN_FRONT, (0,))
        for certificate in self._certificates:
            wrong = wrong or self._block(certificate)
            if wrong is not None:
                return wrong
        wrong = wrong or self._rows(_ROWS, (self.head.seq, -1))
        if wrong is None:
            self._count_blocks()
        return wrong

    def _block(self, certificate: Certificate | None) -> Difference | None:
        if certificate is None or not self._skip(certificate):
            return self._rows(_ROWS, (self.head.seq, WIDTH))
        return None

    def _rows(self, question: str, given: tuple[int, ...]) -> Difference | None:
        for row in self.db.execute(question, given):
            wrong = self.step(row)
            if wrong is not None:
                return wrong
            self.named = self.named or json.loads(row[4]).get("content") is not None
        return None

    def _skip(self, block: Certificate) -> bool:
        """Take a block as certified; False, and nothing is taken, when it does not follow or the witness must see its entries."""
        first = self.head.seq + 1
        if block.before != self.head.digest or not self.seen.agrees(first, WIDTH, self._digests):
            return False
        self.head = Head(self.head.seq + WIDTH, block.last)
        self.named |= block.named
        self._tree.append(block.root, WIDTH)
        for made in self._blocks.add(block.root, 1):
            self._compare(made)
        return True

    def _digests(self, first: int, last: int) -> list[str]:
        return [row[0] for row in self.db.execute(_DIGESTS, (first, last))]

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

    def _count_blocks(self) -> None:
        """After the last row: every block on disk must have been met."""
        (stored,) = self.db.execute("SELECT count(*) FROM tree").fetchone()
        if stored > self._made:
            self.wrong_blocks.append(f"the tree has {stored - self._made} blocks too many")


def _schema_problems(db: sqlite3.Connection) -> list[str]:
    try:
        return schema.differences(db)
    except sqlite3.Error as e:
        return [f"the schema cannot be read ({e})"]
