"""Contents and what entries say of them: each still has its digest, none is gone, back or dated anew behind an entry's back."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import NamedTuple

_ERASED = (
    "SELECT value FROM entries, json_each(body, '$.digests') WHERE kind = 'erasure' AND kind <> 'judgement'"
)
_LOSSES = f"""SELECT min(seq) FILTER (WHERE digest IS NULL AND content NOT IN ({_ERASED})),
        min(seq) FILTER (WHERE digest IS NOT NULL AND content IN ({_ERASED})),
        min(seq) FILTER (WHERE digest IS NOT NULL AND contents.at IS NOT named.at)
    FROM (SELECT min(seq) AS seq, at, json_extract(body, '$.content') AS content FROM entries NOT INDEXED
        WHERE kind IN ('judgement', 'correction', 'stretch') AND json_extract(body, '$.content') IS NOT NULL
        GROUP BY json_extract(body, '$.content')) AS named
    LEFT JOIN contents ON digest = content"""  # noqa: S608
"""The three questions in one search of the bodies: the first entry of each content, in the order of the digests, beside the content there is."""
_WORDS = (
    "its content is gone and no entry says that it was erased",
    "its content is there, though an entry says that it was erased",
    "its content was given another time, by which it would be erased earlier or later",
)


class Finding(NamedTuple):
    """What is wrong with the contents, in words, and the entry to blame where one is."""

    words: str
    seq: int | None = None


def altered(db: sqlite3.Connection, searchable: bool) -> Finding | None:
    """Hash stored content again; return the first that is altered, with the entry it belongs to when bodies can be searched."""
    try:
        for digest, salt, body in db.execute("SELECT digest, salt, CAST(body AS BLOB) FROM contents"):
            if not isinstance(salt, bytes) or not isinstance(body, bytes) or _seal(salt, body) != digest:
                return Finding(f"content {digest} was altered", _owner(db, digest) if searchable else None)
    except sqlite3.Error as e:
        return Finding(f"contents cannot be read ({e})")
    return None


def _seal(salt: bytes, body: bytes) -> str:
    """As `chain.seal_digest`."""
    return "sha256:" + hashlib.sha256(salt + body).hexdigest()


def missing(db: sqlite3.Connection) -> Finding | None:
    """Compare the contents there are with what entries say of them; the bodies of a whole chain can be searched."""
    try:
        found = db.execute(_LOSSES).fetchone()
    except sqlite3.Error as e:
        return Finding(f"contents cannot be compared with the entries ({e})")
    for seq, words in zip(found, _WORDS, strict=True):
        if seq is not None:
            return Finding(f"entry {seq}: {words}", seq)
    return None


def _owner(db: sqlite3.Connection, digest: str) -> int | None:
    """The first entry whose record names that content. A full scan, taken only when something is wrong."""
    row = db.execute(
        "SELECT min(seq) FROM entries WHERE json_extract(body, '$.content') = ?", (digest,)
    ).fetchone()
    return row[0] if row else None


def page_problems(db: sqlite3.Connection) -> list[str]:
    """SQLite's own check: an index that hides a row makes a search lie though the chain is whole."""
    try:
        found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as e:
        return [f"SQLite's check failed ({e})"]
    return [] if found == ["ok"] else [f"SQLite's check: {line}" for line in found]
