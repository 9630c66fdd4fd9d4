from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from sekisho.core.errors import LedgerError
from sekisho.ledger import erasure, schema
from sekisho.ledger.chain import GENESIS
from sekisho.ledger.store import Ledger

from .makers import forger, judgement


def raw(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None))


def test_migrating_again_is_a_no_op(path):
    with closing(schema.connect(path, "rwc")) as db:
        assert schema.migrate(db) == len(schema.MIGRATIONS) == schema.version(db)
        before = path.read_bytes(), db.execute("PRAGMA schema_version").fetchone()
        assert schema.migrate(db) == 0
        assert (path.read_bytes(), db.execute("PRAGMA schema_version").fetchone()) == before


def test_every_older_version_is_brought_up_with_its_entries(tmp_path, monkeypatch):
    for old in range(1, len(schema.MIGRATIONS)):
        path = tmp_path / f"v{old}.db"
        with monkeypatch.context() as m:
            m.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:old])
            with closing(schema.connect(path, "rwc")) as db:
                schema.migrate(db)
                db.execute(
                    "INSERT INTO entries (seq, kind, id, at, body, prev, digest) VALUES (1, 'policy', 'a', 'b', '{}', ?, 'd')",
                    (GENESIS,),
                )
        with pytest.raises(LedgerError, match=f"version {old}"):
            Ledger.open(path, read_only=True)
        with Ledger.open(path) as ledger, raw(path) as db:
            assert ledger.count() == 1
            assert schema.differences(db) == []


def test_a_step_that_fails_leaves_nothing(path, monkeypatch):
    def bad(db):
        db.execute("CREATE TABLE half (x)")
        raise RuntimeError("power cut")

    with monkeypatch.context() as m:
        m.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, bad))
        with pytest.raises(RuntimeError):
            Ledger.open(path)
    with Ledger.open(path), raw(path) as db:
        assert schema.differences(db) == []


def test_every_step_says_why():
    assert all((step.__doc__ or "").startswith("Why: ") for step in schema.MIGRATIONS)


def test_eight_threads_may_create_one_file(path):
    errors = []

    def create():
        try:
            Ledger.open(path).close()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    with raw(path) as db:
        assert schema.differences(db) == []


ATTACKS = [
    "UPDATE entries SET body = '{}' WHERE seq = 1",
    "UPDATE entries SET seq = 9 WHERE seq = 2",
    "DELETE FROM entries WHERE seq = 2",
    "DELETE FROM entries",
    "INSERT OR REPLACE INTO entries (seq, kind, id, at, body, prev, digest) SELECT 1, kind, id, at, '{}', prev, digest FROM entries WHERE seq = 1",
    "INSERT OR REPLACE INTO entries (seq, kind, id, at, body, prev, digest) SELECT 3, kind, id, at, '{}', digest, 'x' FROM entries WHERE seq = 2",
    "INSERT INTO entries (seq, kind, id, at, body, prev, digest) SELECT 3, kind, 'new', at, body, prev, 'x' FROM entries WHERE seq = 2",
    "INSERT INTO entries (seq, kind, id, at, body, prev, digest) SELECT 7, kind, 'new', at, body, digest, 'x' FROM entries WHERE seq = 2",
    "INSERT INTO entries (kind, id, at, body, prev, digest) SELECT kind, 'new', at, body, prev, 'x' FROM entries WHERE seq = 1",
    "UPDATE contents SET body = 'null'",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_ledger_is_append_only_for_any_client(ledger, path, attack):
    sealed = ledger.seal("text")
    ledger.append([judgement(content=sealed.digest), judgement()], [sealed])
    before = ledger.entries()
    with (
        raw(path) as db,
        pytest.raises(sqlite3.IntegrityError, match=r"append-only|only at its head|never altered"),
    ):
        db.execute(attack)
    assert ledger.entries() == before
    assert ledger.verify().ok


def test_content_may_be_erased_and_the_chain_stays_whole(ledger):
    sealed = ledger.seal({"state": "secret"})
    ledger.append([judgement(content=sealed.digest)], [sealed])
    erasure.erase(ledger, [sealed.digest], "asked for", "a test")
    assert ledger.content(sealed.digest) is None
    assert ledger.verify().ok


def test_another_programs_database_is_refused_and_untouched(path):
    with raw(path) as db:
        db.execute("CREATE TABLE other (x)")
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(LedgerError, match="not a Sekisho ledger"):
            Ledger.open(path, read_only)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database at all " * 400)
    with pytest.raises(LedgerError, match="damaged or is no ledger") as caught:
        Ledger.open(path)
    assert caught.value.do


def test_a_newer_file_is_refused(path):
    Ledger.open(path).close()
    with raw(path) as db:
        db.execute("PRAGMA user_version = 99")
    for read_only in (True, False):
        with pytest.raises(LedgerError, match="version 99"):
            Ledger.open(path, read_only)


def test_reading_a_file_that_is_absent_is_an_error_and_makes_none(path):
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.open(path, read_only=True)
    assert not path.exists()


def test_folders_are_made(tmp_path):
    with Ledger.open(tmp_path / "a" / "b 日本" / "l#?%20.db") as ledger:
        ledger.append([judgement()])
        assert ledger.count() == 1
    assert (tmp_path / "a" / "b 日本" / "l#?%20.db").exists()


def test_a_folder_that_cannot_be_made_is_a_ledger_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError):
        Ledger.open(tmp_path / "file" / "sub" / "l.db")


@pytest.fixture
def connections(monkeypatch):
    """Every connection made to a file from here on, each born with `synchronous=OFF`, as from a SQLite with careless defaults."""
    made = []
    real = sqlite3.connect

    def careless(database, *args, **kwargs):
        db = real(database, *args, **kwargs)
        if database != ":memory:":
            db.execute("PRAGMA synchronous = OFF")
            made.append(db)
        return db

    monkeypatch.setattr(sqlite3, "connect", careless)
    return made


def state(db):
    return [db.execute(f"PRAGMA {p}").fetchone()[0] for p in ("synchronous", "journal_mode", "busy_timeout")]


def test_every_connection_is_durable_whatever_the_default(path, connections):
    barrier = threading.Barrier(6)
    with Ledger.open(path) as ledger:
        ledger.append([judgement("a")])

        def work():
            with ledger._reading():
                barrier.wait()
            ledger.append([judgement()])
            (
                ledger.entries(),
                ledger.get("a"),
                ledger.head(),
                ledger.count(),
                ledger.verify(),
                ledger.content("x"),
            )

        threads = [threading.Thread(target=work) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        with Ledger.open(path, read_only=True) as reader, reader._reading():
            assert len(connections) >= 1 + 6 + 1
            open_ones = [db for db in connections if is_open(db)]
            assert len(open_ones) >= 1 + 6 + 1
            assert {tuple(state(db)) for db in open_ones} == {(2, "wal", int(schema.BUSY_SECONDS * 1000))}


def is_open(db):
    try:
        db.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


def test_a_connection_that_stays_careless_is_refused(path, monkeypatch):
    real = sqlite3.connect

    class Deaf(sqlite3.Connection):
        def execute(self, sql, *args):
            return super().execute("SELECT 1" if sql.startswith("PRAGMA synchronous =") else sql, *args)

    def careless(*args, **kwargs):
        db = real(*args, **kwargs, factory=Deaf)
        sqlite3.Connection.execute(db, "PRAGMA synchronous = NORMAL")
        return db

    monkeypatch.setattr(sqlite3, "connect", careless)
    with pytest.raises(LedgerError, match="synchronous 1, not wal and 2"):
        Ledger.open(path)


def test_wal_that_is_refused_is_an_error(path, monkeypatch):
    monkeypatch.setattr(schema, "_enter_wal", lambda db: None)
    with pytest.raises(LedgerError, match="journal mode delete"):
        Ledger.open(path)


def test_an_old_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(LedgerError, match="too old"):
        Ledger.open(path)


def test_read_connections_cannot_write(ledger):
    with ledger._reading() as db, pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM contents")


def test_content_of_an_older_file_is_dated_by_its_entry(path, monkeypatch):
    """Files up to version 3 kept the time of the commit, which nothing vouched for."""
    with monkeypatch.context() as then:
        then.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:3])
        with Ledger.open(path) as ledger:
            sealed = ledger.seal("text")
            ledger.append([judgement("j", content=sealed.digest)], [sealed])
    with forger(path) as db:
        db.execute("UPDATE contents SET at = 'whenever'")
    with Ledger.open(path) as ledger, raw(path) as db:
        assert db.execute("SELECT at FROM contents").fetchall() == [(ledger.get("j").at,)]
        assert ledger.verify().ok
