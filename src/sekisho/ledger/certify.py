"""Blocks of the chain found right as a whole, quickly: 256 entries at a time, without an object for each field.

A certificate says of every row of one whole block what `chain.fault` would say: nothing is wrong. Of a block that gets none nothing is
said; whoever wants to know walks it row by row. So what is unusual is left to the walk: a checkpoint, an id that needs escapes, a fault.
Imports little, as every process of the crew begins with it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .spelling import Page, read_each
from .tree import WIDTH

PAGE = 32
"""Rows held at once; 256 large ones would be many."""
_BYTES = 1 << 16
"""Of bodies that are read at once."""
_PLAIN = "SELECT seq, kind, id, at, body, prev, digest FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq"
"""For a connection whose text comes as bytes."""
_CAST = """SELECT seq, CAST(kind AS BLOB), CAST(id AS BLOB), CAST(at AS BLOB), CAST(body AS BLOB), CAST(prev AS BLOB), CAST(digest AS BLOB)
    FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq"""
_SAFE = bytes(c for c in range(0x20, 0x7F) if c not in b'"\\')
"""Characters that stand for themselves in a JSON string."""
_ENTRY = b'{"at":"%b","body":%b,"id":"%b","kind":"%b","prev":"%b","seq":%d}'
_MANY = 16 * WIDTH
"""Entries from which it pays to load msgspec: ten milliseconds or more."""
_sha256 = hashlib.sha256
Read = Callable[[bytes, Sequence[bytes]], Page | None]
"""Given a kind and some bodies, says what they say if they are surely canonical."""


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
    rows, before, read = None, b"", _reader(until - after)
    for start in range(after, until, WIDTH):
        try:
            if rows is None:
                before = _before(db, start, genesis)
                rows = db.execute(_PLAIN if db.text_factory is bytes else _CAST, (start, until))
            found = _certify(rows, start, before, read)
        except (
            sqlite3.Error,
            TypeError,
            ValueError,
            RecursionError,
        ):  # cannot be read; a column that is empty; too deep
            found = None
        yield found
        rows, before = (rows, found.last.encode()) if found else (None, b"")


def _reader(entries: int) -> Read:
    if entries < _MANY:
        return lambda _, bodies: read_each(bodies)
    from . import forms

    return forms.read


def _before(db: sqlite3.Connection, start: int, genesis: str) -> bytes:
    if not start:
        return genesis.encode()
    row = db.execute("SELECT CAST(digest AS BLOB) FROM entries WHERE seq = ?", (start,)).fetchone()
    return row[0] if row else b""


def _certify(rows: sqlite3.Cursor, start: int, before: bytes, read: Read) -> Certificate | None:
    """Take the next 256 rows. Raises TypeError for a column that is no text, ValueError for one that is not UTF-8."""
    leaves: list[bytes] = []
    last, named = before, False
    for at in range(start, start + WIDTH, PAGE):
        page = rows.fetchmany(PAGE)
        if len(page) < PAGE or not _follows(page, at, last):
            return None
        for kind in {row[1] for row in page}:
            some = _named(kind, [row for row in page if row[1] == kind], read)
            if some is None:
                return None
            named |= some
        last = page[-1][6]
        leaves += [_sha256(b"\x00" + row[6]).digest() for row in page]
    return Certificate(before.decode(), last.decode(), _root(leaves), named)


def _follows(page: Sequence[Any], place: int, last: bytes) -> bool:
    """Whether the rows are those behind entry `place`, each linked to the one before, with the digest it must have."""
    seqs, _, _, _, _, prevs, digests = zip(*page, strict=True)
    if seqs != tuple(range(place + 1, place + 1 + len(page))) or prevs != (last, *digests[:-1]):
        return False
    # All at once, as this is what an audit spends its time on.
    found = [
        _sha256(_ENTRY % (at, body, id, kind, prev, seq)).hexdigest()
        for seq, kind, id, at, body, prev, _ in page
    ]
    return ("sha256:" + "\nsha256:".join(found)).encode() == b"\n".join(digests)


def _named(kind: bytes, rows: Sequence[Any], read: Read) -> bool | None:
    """Whether one of these rows, all of a kind, names content; None when one is not surely right."""
    if kind == b"checkpoint" or not kind.isalpha():
        return None
    ids, times = b"\n".join([row[2] for row in rows]), b"\n".join([row[3] for row in rows])
    # Without line feeds in them, what is joined is the same only when every piece is.
    if len((ids + times).translate(None, _SAFE)) != 2 * len(rows) - 2:
        return None
    found = _read_all(read, kind, [row[4] for row in rows])
    if found is None or "\n".join(found.ids).encode() != ids or "\n".join(found.times).encode() != times:
        return None
    return found.named


def _read_all(read: Read, kind: bytes, bodies: Sequence[bytes]) -> Page | None:
    """Read bodies of a kind, not too many large ones at once."""
    step = max(1, _BYTES // (1 + max(map(len, bodies))))
    ids: list[Any] = []
    times: list[Any] = []
    named = False
    for first in range(0, len(bodies), step):
        page = read(kind, bodies[first : first + step])
        if page is None:
            return None
        ids, times, named = ids + page.ids, times + page.times, named or page.named
    return Page((), ids, times, named)


def _root(hashes: list[bytes]) -> bytes:
    """The root over 256 leaf hashes, level by level; equal to `Frontier(hashes).root()`."""
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [_sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return hashes[0]
