"""The ledger's file: how a connection is opened, and which tables there are.

Every connection of the house comes from `connect`, so every one has WAL, `synchronous=FULL` and a busy timeout; a default of the
SQLite that Python happens to be built with is never relied on.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from sekisho.core.errors import LedgerError

from . import place, tree
from .trouble import CLOSED, primary

BUSY_SECONDS = 5.0
"""How long a statement waits for another process before it gives up; with the engine's deadline it bounds an answer."""
APPLICATION_ID = 0x53454B49
"""`SEKI`: marks the file, so that another program's database is never migrated by accident."""
OLDEST_SQLITE = (3, 37)
"""STRICT tables came with 3.37."""

NAMED = """SELECT min(seq) AS seq, at, json_extract(body, '$.content') AS content FROM entries
    WHERE kind IN ('judgement', 'correction', 'stretch') AND json_extract(body, '$.content') IN (SELECT digest FROM contents)
    GROUP BY json_extract(body, '$.content')"""
"""Position and time of the first entry that names each content there is."""

NO_JUDGEMENT = "kind <> 'judgement'"
"""What a question about other kinds must say, word for word, for the index of kinds to be used."""
SPOKEN_OF = "json_extract(body, '$.judgement')"
"""The judgement that a record of another kind speaks of; likewise, with `NO_JUDGEMENT` beside it, for the index of those."""

_FULL = 2


def _entries(db: sqlite3.Connection) -> None:
    """Why: the chain itself. Filters are generated from the body, so that they cannot disagree with what was hashed.

    The insert guard is needed beside the other two: `INSERT OR REPLACE` deletes without firing a delete trigger.
    """
    db.execute(
        """CREATE TABLE entries (
            seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL,
            body TEXT NOT NULL, prev TEXT NOT NULL, digest TEXT NOT NULL,
            task TEXT GENERATED ALWAYS AS (json_extract(body, '$.task')) VIRTUAL,
            decision TEXT GENERATED ALWAYS AS (json_extract(body, '$.decision')) VIRTUAL,
            judgement TEXT GENERATED ALWAYS AS (json_extract(body, '$.judgement')) VIRTUAL
        ) STRICT"""
    )
    for columns in ("kind", "task", "task, decision", "decision", "judgement"):
        db.execute(f"CREATE INDEX entries_{columns.replace(', ', '_')} ON entries ({columns})")
    for verb in ("UPDATE", "DELETE"):
        db.execute(
            f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )
    db.execute(
        """CREATE TRIGGER entries_only_at_head BEFORE INSERT ON entries
        WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM entries)
          OR NEW.prev IS NOT coalesce((SELECT digest FROM entries ORDER BY seq DESC LIMIT 1),
            'sha256:0000000000000000000000000000000000000000000000000000000000000000')
          OR EXISTS (SELECT 1 FROM entries WHERE id = NEW.id)
        BEGIN SELECT RAISE(ABORT, 'the ledger grows only at its head'); END"""
    )
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _contents(db: sqlite3.Connection) -> None:
    """Why: people's text must be erasable (retention) while the chain stays whole, so it lies apart, bound by a salted digest.

    A row may be deleted, never altered.
    """
    db.execute(
        "CREATE TABLE contents (digest TEXT PRIMARY KEY NOT NULL, salt BLOB NOT NULL, body TEXT NOT NULL, at TEXT NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TRIGGER contents_no_update BEFORE UPDATE ON contents "
        "BEGIN SELECT RAISE(ABORT, 'content is erased or kept, never altered'); END"
    )


def _tree(db: sqlite3.Connection) -> None:
    """Why: a proof about one entry must not read all of them. Existing entries get their blocks here; see `tree`."""
    db.execute(
        "CREATE TABLE tree (level INTEGER NOT NULL, place INTEGER NOT NULL, hash BLOB NOT NULL, "
        "PRIMARY KEY (level, place)) STRICT, WITHOUT ROWID"
    )
    (size,) = db.execute("SELECT count(*) FROM entries").fetchone()
    tree.grow(db, 0, size)


def _dates(db: sqlite3.Connection) -> None:
    """Why: when content was stored decides when it is erased, so that is the time of the first entry that names it, which the chain covers."""
    (guard,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'contents_no_update'").fetchone()
    db.execute("DROP TRIGGER contents_no_update")
    db.execute(
        f"UPDATE contents SET at = named.at FROM ({NAMED}) AS named WHERE named.content = contents.digest"  # noqa: S608
    )
    db.execute(guard)


def _spoken_of(db: sqlite3.Connection) -> None:
    """Why: most entries speak of no judgement, and each index they stand in costs a page a commit and half a microsecond an entry of an audit."""
    db.execute("DROP INDEX entries_judgement")
    db.execute("CREATE INDEX entries_judgement ON entries (judgement) WHERE judgement IS NOT NULL")


def _fewer_indexes(db: sqlite3.Connection) -> None:
    """Why: as above. The decisions of a task are found by either alone; nearly all entries are judgements, which are met without an index of kinds."""
    for old in ("kind", "task_decision"):
        db.execute(f"DROP INDEX IF EXISTS entries_{old}")
    db.execute(f"CREATE INDEX entries_kind ON entries (kind) WHERE {NO_JUDGEMENT}")


def _rare_decisions(db: sqlite3.Connection) -> None:
    """Why: as above, a third of SQLite's share of an audit. What is allowed is met soon without an index; a task that is rare is sought in a second or two among a million."""
    for old in ("task", "decision"):
        db.execute(f"DROP INDEX IF EXISTS entries_{old}")
    db.execute("CREATE INDEX entries_decision ON entries (decision) WHERE decision <> 'ALLOW'")


def _unread_bodies(db: sqlite3.Connection) -> None:
    """Why: SQLite's own check reads the body anew for every generated column and every condition of an index on one, three quarters of its time.

    No judgement's body is read now. Decisions are sought without an index, and who waits for people is remembered (`waiting`).
    """
    for index in ("judgement", "decision"):
        db.execute(f"DROP INDEX entries_{index}")
    for column in ("task", "decision", "judgement"):
        db.execute(f"ALTER TABLE entries DROP COLUMN {column}")
    db.execute(
        f"CREATE INDEX entries_judgement ON entries ({SPOKEN_OF}) WHERE {NO_JUDGEMENT} AND {SPOKEN_OF} IS NOT NULL"
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _entries,
    _contents,
    _tree,
    _dates,
    _spoken_of,
    _fewer_indexes,
    _rare_decisions,
    _unread_bodies,
)
"""Step n brings a file to version n (`user_version`). A released step is never edited; a change is a new step."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open one connection, usable from any thread, in autocommit.

    Args:
        mode: `rwc` to write (creates the file), `ro` to read.

    Raises:
        LedgerError: not a ledger, not in WAL, SQLite too old.
        sqlite3.Error: from SQLite; callers translate it.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise LedgerError(
            f"SQLite {sqlite3.sqlite_version} is too old.", "Use a Python built with SQLite 3.37 or newer."
        )
    still = mode == "ro" and _is_still(path)
    uri = f"{path.absolute().as_uri()}?mode={mode}{'&immutable=1' if still else ''}"
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _check_mark(db, path)
        if mode != "ro":
            _enter_wal(db)
        db.execute("PRAGMA synchronous = FULL")
        # Erased text must not live on in pages that were freed or moved.
        db.execute("PRAGMA query_only = ON" if mode == "ro" else "PRAGMA secure_delete = ON")
        if not still:  # SQLite then speaks of no write-ahead log
            _check_durable(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _is_still(path: Path) -> bool:
    """Whether nobody can be writing: the folder takes no file, as on read-only media, and no write-ahead log is there. SQLite would want to make one."""
    return (
        path.is_file()
        and not os.access(path.parent, os.W_OK)
        and not path.with_name(f"{path.name}-wal").exists()
    )


def open_writer(path: Path) -> sqlite3.Connection:
    """Open a file for writing, made and migrated as needed. Errors as `connect`, and OSError for the folder."""
    place.make_folder(path.parent)
    place.make_private(path)
    place.take_rights_away(path)
    db = connect(path, "rwc")
    try:
        migrate(db)
        check_version(db, path)
        if not os.access(path, os.W_OK):  # SQLite would only say so at the first judgement
            raise LedgerError(f"{path} {CLOSED[0]}.", CLOSED[1])
    except BaseException:
        db.close()
        raise
    return db


def _check_mark(db: sqlite3.Connection, path: Path) -> None:
    """Refuse another program's database before anything in it is changed."""
    # In this order: tables and mark appear together, so a ledger made by another process between the two reads still passes.
    (objects,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (mark,) = db.execute("PRAGMA application_id").fetchone()
    if mark != APPLICATION_ID and (mark or objects):
        raise LedgerError(
            f"{path} is not a Sekisho ledger.", "Name another file; nothing in this one was changed."
        )


def _enter_wal(db: sqlite3.Connection) -> None:
    """Switch to WAL. Two processes that create one file may collide here, where SQLite does not wait by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as e:
            if primary(e) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _check_durable(db: sqlite3.Connection, path: Path) -> None:
    """Read back what was asked for: a file system without shared memory silently refuses WAL."""
    (journal,), (sync,) = (db.execute(f"PRAGMA {p}").fetchone() for p in ("journal_mode", "synchronous"))
    if journal != "wal" or sync != _FULL:
        raise LedgerError(
            f"{path} has journal mode {journal} and synchronous {sync}, not wal and {_FULL}.",
            "Keep the ledger on a local disk.",
        )


def version(db: sqlite3.Connection) -> int:
    """Return the number of the newest step the file has been through; 0 for an empty file."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection) -> int:
    """Bring the file to the present version, one transaction a step; return how many steps were taken (0 when up to date)."""
    taken = 0
    for number, step in enumerate(MIGRATIONS, 1):
        if version(db) >= number:
            continue
        db.execute("BEGIN IMMEDIATE")
        try:
            # Read again: another process may have taken this step while we waited for the lock.
            if version(db) < number:
                step(db)
                db.execute(f"PRAGMA user_version = {number}")
                taken += 1
            db.execute("COMMIT")
        except BaseException:
            roll_back(db)
            raise
    return taken


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Raise LedgerError when the file is older or newer than this program."""
    found, known = version(db), len(MIGRATIONS)
    if found > known:
        raise LedgerError(
            f"{path} has version {found}; this program knows {known}.", "Use the newer Sekisho that wrote it."
        )
    if found < known:
        raise LedgerError(
            f"{path} has version {found}, not {known}.", "Open it once for writing, as `sekisho serve` does."
        )


def differences(db: sqlite3.Connection) -> list[str]:
    """Compare tables, indexes and triggers with a ledger made afresh; name each that is missing, changed or not ours."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh)
        wanted = _objects(fresh)
    found = _objects(db)
    words = [f"{n} is missing" for n in sorted(wanted.keys() - found.keys())]
    words += [f"{n} was added" for n in sorted(found.keys() - wanted.keys())]
    words += [f"{n} was changed" for n in sorted(wanted.keys() & found.keys()) if wanted[n] != found[n]]
    if version(db) != len(MIGRATIONS):
        words.append(f"user_version is {version(db)}, not {len(MIGRATIONS)}")
    return words


_OF_SQLITE = """(type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')
    OR type = 'index' AND name GLOB 'sqlite_autoindex_*' AND sql IS NULL)"""
"""What SQLite makes by itself. The name alone would not do: whoever writes into `sqlite_master` may call a trigger so, and it fires."""


def _objects(db: sqlite3.Connection) -> dict[str, str]:
    """Every table, index and trigger by name, as `trigger entries_no_update`, with its SQL."""
    sql = f"SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_master WHERE NOT {_OF_SQLITE}"  # noqa: S608
    return dict(db.execute(sql).fetchall())


def roll_back(db: sqlite3.Connection) -> None:
    """End a transaction, if SQLite has not ended it already, without hiding the error that led here."""
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")
