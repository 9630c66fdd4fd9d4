"""Blocks of the chain found right as a whole, quickly: 256 entries at a time, without an object for each field.

A certificate says of every row of one whole block what `chain.fault` would say: nothing is wrong. Of a block that gets none nothing is
said; whoever wants to know walks it row by row. So what is unusual is left to the walk: a checkpoint, an id that needs escapes, a fault.
Imports little, as every process of the crew begins with it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .spelling import has_small, parsed
from .tree import WIDTH

PAGE = 32
"""Rows held at once; 256 large ones would be many."""
_PLAIN = "SELECT seq, kind, id, at, body, prev, digest FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq"
"""For a connection whose text comes as bytes."""
_CAST = """SELECT seq, CAST(kind AS BLOB), CAST(id AS BLOB), CAST(at AS BLOB), CAST(body AS BLOB), CAST(prev AS BLOB), CAST(digest AS BLOB)
    FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq"""
_SAFE = bytes(c for c in range(0x20, 0x7F) if c not in b'"\\')
"""Characters that stand for themselves in a JSON string."""
_ENTRY = b'{"at":"%b","body":%b,"id":"%b","kind":"%b","prev":"%b","seq":%d}'
_sha256 = hashlib.sha256


class Certificate(NamedTuple):
    """One block of 256 entries, each of them right if the digest before the first is `before`.

    Attributes:
        before: stored digest of the entry before the block, tagged.
        last: digest of the block's last entry, tagged.
        root: hash over the block in the Merkle tree.
        named: whether an entry of it names content.
    """

    before: str
    last: str
    root: bytes
    named: bool


def certificates(
    db: sqlite3.Connection, after: int, until: int, genesis: str
) -> Iterator[Certificate | None]:
    """Yield one certificate, or None, for each block of entries `after + 1` to `until`; both are multiples of 256.

    Args:
        db: a connection in a transaction.
        genesis: what stands for the digest before entry 1.
    """
    rows, before = None, b""
    for start in range(after, until, WIDTH):
        try:
            if rows is None:
                before = _before(db, start, genesis)
                rows = db.execute(_PLAIN if db.text_factory is bytes else _CAST, (start, until))
            found = _certify(rows, start, before)
        except (sqlite3.Error, TypeError, ValueError):  # a page that cannot be read; a column that is empty
            found = None
        yield found
        rows, before = (rows, found.last.encode()) if found else (None, b"")


def _before(db: sqlite3.Connection, start: int, genesis: str) -> bytes:
    if not start:
        return genesis.encode()
    row = db.execute("SELECT CAST(digest AS BLOB) FROM entries WHERE seq = ?", (start,)).fetchone()
    return row[0] if row else b""


def _certify(rows: sqlite3.Cursor, start: int, before: bytes) -> Certificate | None:
    """Take the next 256 rows. Raises TypeError for a column that is no text, ValueError for one that is not UTF-8."""
    leaves: list[bytes] = []
    last, named = before, False
    for at in range(start, start + WIDTH, PAGE):
        page = rows.fetchmany(PAGE)
        found = _follow(page, at, last, leaves)
        if found is None or len(page) < PAGE:
            return None
        last, some = found
        named |= some
    return Certificate(before.decode(), last.decode(), _root(leaves), named)


def _follow(page: Sequence[Any], place: int, last: bytes, leaves: list[bytes]) -> tuple[bytes, bool] | None:
    """Follow the chain over some rows behind entry `place`, adding their leaf hashes; None when one is not surely right."""
    named, small = False, has_small(b"\n".join([row[4] for row in page]))
    for row in page:
        seq, kind, id, at, body, prev, digest = row
        place += 1
        # All by hand, in one loop: this is what an audit spends its time on.
        value = parsed(body, small)
        if value is None or seq != place or prev != last or kind == b"checkpoint" or not kind.isalpha():
            return None
        if (
            value.get("id") != id.decode()
            or value.get("at") != at.decode()
            or (id + at).translate(None, _SAFE)
        ):
            return None
        last = b"sha256:" + _sha256(_ENTRY % (at, body, id, kind, prev, seq)).hexdigest().encode()
        if last != digest:
            return None
        leaves.append(_sha256(b"\x00" + last).digest())
        named = named or value.get("content") is not None
    return last, named


def _root(hashes: list[bytes]) -> bytes:
    """The root over 256 leaf hashes, level by level; equal to `Frontier(hashes).root()`."""
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [_sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return hashes[0]
