"""The Merkle tree over the chain: entry `seq` is leaf `seq - 1`, and a leaf's data is the text of the entry's digest.

Kept on disk is one hash for every complete block of 256, 65,536, … entries (table `tree`), written in the transaction that completes the
block: appending costs two hashes an entry, a proof reads a few hundred hashes whatever the size, and processes that share the file need
not share a frontier. The table is derived: everything in it can be made again from the chain, and an audit does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from sekisho.core.errors import LedgerError

from .merkle import EMPTY, Frontier, consistency_path, inclusion_path, leaf_hash, node_hash, split

WIDTH = 256
"""Children of a block; a power of two, so that every block is a subtree of RFC 6962."""


class Block(NamedTuple):
    """The hash over entries `place * 256**level + 1` to `(place + 1) * 256**level`."""

    level: int
    place: int
    hash: bytes


class Blocks:
    """Leaves in, complete blocks out, for one walk from the first entry; memory is O(256 log n)."""

    def __init__(self) -> None:
        self._open: list[list[bytes]] = [[]]
        self._made: list[int] = [0]

    def add(self, hash: bytes, level: int = 0) -> Iterator[Block]:
        """Add the next leaf hash and yield the blocks it completes; or the next block of level 1, where one may begin, and yield it too."""
        if level:
            yield self._next(level, hash)
        else:
            self._open[0].append(hash)
        while len(self._open[level]) == WIDTH:
            hash, self._open[level] = Frontier(self._open[level]).root(), []
            level += 1
            yield self._next(level, hash)

    def _next(self, level: int, hash: bytes) -> Block:
        """The next block of a level, which the level above begins or goes on with."""
        if level == len(self._open):
            self._open.append([])
            self._made.append(0)
        self._open[level].append(hash)
        self._made[level - 1] += 1
        return Block(level, self._made[level - 1] - 1, hash)


def grow(db: sqlite3.Connection, old: int, size: int) -> None:
    """Write the blocks that entries `old + 1` to `size` completed; for the transaction that appends them.

    A file in which entries are missing goes on without the blocks over them: an audit names the gap, recording must not end there.
    """
    for place in range(old // WIDTH, size // WIDTH):
        level, above = 1, place
        with suppress(LedgerError):
            _keep(db, Block(1, place, Frontier(_leaves(db, place * WIDTH, (place + 1) * WIDTH)).root()))
            while (above + 1) % WIDTH == 0:
                level, above = level + 1, above // WIDTH
                children = [_block(db, level - 1, p) for p in range(above * WIDTH, (above + 1) * WIDTH)]
                _keep(db, Block(level, above, Frontier(children).root()))


def root(db: sqlite3.Connection, size: int) -> bytes:
    """Return the root over the first `size` entries."""
    return subtree(db, 0, size) if size else EMPTY


def inclusion(db: sqlite3.Connection, seq: int, size: int) -> list[bytes]:
    """Return the audit path of entry `seq` in the tree of `size` entries."""
    return inclusion_path(seq - 1, size, lambda low, high: subtree(db, low, high))


def consistency(db: sqlite3.Connection, old: int, size: int) -> list[bytes]:
    """Return the proof that the first `size` entries begin with the first `old` ones."""
    return consistency_path(old, size, lambda low, high: subtree(db, low, high))


def subtree(db: sqlite3.Connection, low: int, high: int) -> bytes:
    """Return the hash over leaves `low` to `high` (excluded), a subtree of RFC 6962 in some tree.

    Raises:
        LedgerError: an entry or a block is missing, as after tampering.
    """
    level = _level_of(low, high)
    if level:
        return _block(db, level, low // (high - low))
    if high - low <= WIDTH:
        return Frontier(_leaves(db, low, high)).root()
    middle = low + split(high - low)
    return node_hash(subtree(db, low, middle), subtree(db, middle, high))


def _level_of(low: int, high: int) -> int:
    """The level of the block over exactly these leaves; 0 when they are none."""
    level, width = 0, 1
    while width < high - low:
        level, width = level + 1, width * WIDTH
    return level if level and width == high - low and low % width == 0 else 0


def _leaves(db: sqlite3.Connection, low: int, high: int) -> list[bytes]:
    # As bytes: a digest that is not UTF-8 must not end a migration.
    rows = db.execute(
        "SELECT CAST(digest AS BLOB) FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq", (low, high)
    )
    leaves = [leaf_hash(row[0]) for row in rows]
    if len(leaves) != high - low:
        raise _broken(f"entries {low + 1} to {high} are not all there")
    return leaves


def _block(db: sqlite3.Connection, level: int, place: int) -> bytes:
    row = db.execute("SELECT hash FROM tree WHERE level = ? AND place = ?", (level, place)).fetchone()
    if row is None:
        raise _broken(f"block {place} of level {level} is missing")
    found: bytes = row[0]
    return found


def _keep(db: sqlite3.Connection, block: Block) -> None:
    db.execute("INSERT INTO tree (level, place, hash) VALUES (?, ?, ?)", block)


def _broken(what: str) -> LedgerError:
    return LedgerError(f"The Merkle tree cannot be read: {what}.", "Run `sekisho audit verify`.")
