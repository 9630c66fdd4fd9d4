"""Erasure: content that is gone from the file, not only from its table, while every digest and link of the chain stays.

Erasing rewrites the table of contents with what is kept, in the transaction that also writes the erasure's own entry: the pages of the old
table, and with them every copy of a text that moving rows about may have left in their slack, are filled with zeros (`secure_delete`).
Then the write-ahead log is emptied. What the disk beneath the file remembers (snapshots, flash cells, backups) is out of reach here.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sekisho.core.canonical import new_id, utc_now
from sekisho.core.errors import ConflictError, LedgerError
from sekisho.core.records import Erasure, Hold
from sekisho.core.retention import ALL

from . import schema, trouble
from .chain import Entry, Head
from .store import Ledger

EVERYTHING = "*"
"""Subject of a hold on all content."""
LOG_SECONDS = 30.0
"""How long emptying the log waits for readers."""
_CHUNK = 1000
"""Digests in one erasure's entry."""
_CLAIMS = """SELECT seq, kind, id, json_extract(body, '$.task'), coalesce(json_extract(body, '$.judgement'), json_extract(body, '$.links.gate')),
        json_extract(body, '$.content'), body
    FROM entries WHERE kind IN ('judgement', 'stretch', 'correction', 'hold') AND seq > ? ORDER BY seq"""
_CLASSES = {"correction": "corrected", "stretch": "chat"}
"""Class of the content that a kind of record names; a judgement's is its task."""


class Erased(NamedTuple):
    """What an erasure did: its entries, and how many contents it erased, how many a hold kept, and how many are left in all."""

    entries: list[Entry]
    erased: int
    held: int
    kept: int


class Claims:
    """Which records name which content, and what is held. Read once outside the transaction; what came since is added inside it."""

    def __init__(self, stored: Mapping[str, str]) -> None:
        """Begin with the contents there are: when each was stored, by digest."""
        self.stored = stored
        self._seq = 0
        self._classes: dict[str, frozenset[str]] = {}
        self._named: dict[str, frozenset[str]] = {}
        self._streams: dict[str, set[str]] = {}
        """Contents of each stream's stretches, by the gate's judgement."""
        self._holds: dict[str, bool] = {}

    @classmethod
    def read(cls, db: sqlite3.Connection) -> Claims:
        """Read every record that names content still there."""
        claims = cls(dict(db.execute("SELECT digest, at FROM contents").fetchall()))
        claims._add(db)
        return claims

    def renewed(self, db: sqlite3.Connection) -> Claims:
        """Return these claims and what was appended since; the contents stay those of the first reading."""
        new = Claims(self.stored)
        new._seq, new._holds = self._seq, dict(self._holds)
        new._classes, new._named = dict(self._classes), dict(self._named)
        new._streams = {gate: set(contents) for gate, contents in self._streams.items()}
        new._add(db)
        return new

    def _add(self, db: sqlite3.Connection) -> None:
        for seq, kind, id, task, gate, content, body in db.execute(_CLAIMS, (self._seq,)):
            self._seq = seq
            if kind == "hold":
                hold = Hold.model_validate_json(body)
                self._holds[hold.subject] = hold.active
                continue
            if content in self.stored:
                self._classes[content] = self._classes.get(content, frozenset()) | {_CLASSES.get(kind, task)}
                self._name(content, id)
                if kind == "stretch":
                    self._name(content, gate)
                    self._streams.setdefault(gate, set()).add(content)
            if task == "chat" and kind == "judgement":
                for stretch in self._streams.get(gate, ()):
                    self._name(stretch, id)

    def _name(self, content: str, id: str) -> None:
        self._named[content] = self._named.get(content, frozenset()) | {id}

    def is_held(self, digest: str) -> bool:
        """Whether a hold on everything, or on a record that names this content, is active."""
        if self._holds.get(EVERYTHING):
            return True
        return any(self._holds.get(id) for id in self._named.get(digest, ()))

    def expired(self, days: Mapping[str, float], now: datetime) -> Iterator[str]:
        """Yield the contents that are older than their class allows; of several classes the longest time counts."""
        for digest, at in self.stored.items():
            names = self._classes.get(digest) or {ALL}
            allowed = max(days.get(name, days[ALL]) for name in names)
            if at < (now - timedelta(days=allowed)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"):
                yield digest


def retain(ledger: Ledger, days: Mapping[str, float], by: str, now: datetime | None = None) -> Erased:
    """Erase what is older than the days of its class allow, unless it is held; then empty the log, also when nothing was to erase.

    Raises:
        LedgerError: as `append`; or the log could not be emptied because somebody goes on reading.
    """
    moment = now or datetime.now(UTC)

    def chosen(claims: Claims) -> list[str]:
        return list(claims.expired(days, moment))

    return _erase(ledger, chosen, Erasure(id="", at="", digests=(), rule="retention", days=days, by=by))


def erase(ledger: Ledger, contents: Iterable[str], reason: str, by: str) -> Erased:
    """Erase these contents now. Errors as `retain`, and ConflictError when one is held."""
    wanted = set(contents)

    def chosen(claims: Claims) -> list[str]:
        found = [d for d in claims.stored if d in wanted]
        if any(claims.is_held(d) for d in found):
            raise ConflictError("That content is under a legal hold.", "See `sekisho audit hold`.")
        return found

    return _erase(ledger, chosen, Erasure(id="", at="", digests=(), rule="request", reason=reason, by=by))


def _erase(ledger: Ledger, chosen: Callable[[Claims], list[str]], told: Erasure) -> Erased:
    with ledger.snapshot() as db:
        before = Claims.read(db)
    erased = held = 0

    def work(db: sqlite3.Connection, head: Head) -> list[Erasure]:
        nonlocal erased, held
        claims = before.renewed(db)
        due = chosen(claims)
        doomed = sorted(d for d in due if not claims.is_held(d))
        erased, held = len(doomed), len(due) - len(doomed)
        if doomed:
            _rewrite(db, doomed)
        return [_entry(told, doomed[i : i + _CHUNK]) for i in range(0, len(doomed), _CHUNK)]

    entries = ledger.act(work) if before.stored else []
    empty_log(ledger.path)
    with ledger.snapshot() as db:
        (kept,) = db.execute("SELECT count(*) FROM contents").fetchone()
    return Erased(entries, erased, held, kept)


def _entry(told: Erasure, digests: Sequence[str]) -> Erasure:
    return told.model_copy(update={"id": new_id("ers"), "at": utc_now(), "digests": tuple(digests)})


def _rewrite(db: sqlite3.Connection, doomed: Sequence[str]) -> None:
    """Delete rows, then move the rest to a table made afresh by the same words, so that the old one's pages can be zeroed whole."""
    db.executemany("DELETE FROM contents WHERE digest = ?", [(d,) for d in doomed])
    made = db.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 'contents' AND sql IS NOT NULL ORDER BY type = 'table' DESC"
    ).fetchall()
    for kind, name, _ in made[1:]:
        db.execute(f'DROP {kind} "{name}"')
    db.execute("ALTER TABLE contents RENAME TO contents_before")
    for _, _, sql in made:
        db.execute(sql)
    columns = "digest, salt, body, at"
    db.execute(f"INSERT INTO contents ({columns}) SELECT {columns} FROM contents_before ORDER BY rowid")  # noqa: S608
    db.execute("DROP TABLE contents_before")


def empty_log(path: Path) -> None:
    """Move the write-ahead log into the file and cut it to nothing: it holds old pages with the erased text.

    Raises:
        LedgerError: readers kept it busy for `LOG_SECONDS`.
    """
    deadline = time.monotonic() + LOG_SECONDS
    try:
        with closing(schema.connect(path, "rwc")) as db:
            while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > deadline:
                    what = (
                        f"The log of {path} cannot be emptied while others read; erased text is still in it."
                    )
                    raise LedgerError(what, "Run `sekisho audit retain` again.")
                time.sleep(0.05)
    except sqlite3.Error as e:
        raise trouble.translated(e, path) from e
