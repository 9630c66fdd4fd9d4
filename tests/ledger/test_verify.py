from __future__ import annotations

import json
import sqlite3
import tempfile
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.canonical import canonical_json
from sekisho.core.errors import LedgerError
from sekisho.ledger import erasure, verify
from sekisho.ledger.chain import entry_digest
from sekisho.ledger.store import Ledger

from .makers import correction, drop_guards, forger, judgement, policy

N = 9
COLUMNS = "kind, id, at, body, prev, digest"


@pytest.fixture
def full(ledger):
    """Nine judgements, the third with content."""
    sealed = ledger.seal({"state": "問い"})
    ledger.append(
        [judgement(f"j{i}", content=sealed.digest if i == 3 else None) for i in range(1, N + 1)], [sealed]
    )
    assert ledger.verify().ok
    return ledger


def row(db, seq):
    return db.execute(f"SELECT {COLUMNS} FROM entries WHERE seq = ?", (seq,)).fetchone()


def put(db, seq, values):
    db.execute(f"INSERT INTO entries (seq, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", (seq, *values))


def edit_body(db):
    db.execute("UPDATE entries SET body = replace(body, 'ALLOW', 'DENY') WHERE seq = 4")


def respace_body(db):
    db.execute("UPDATE entries SET body = ' ' || body WHERE seq = 4")


def edit_body_and_digest(db):
    rewrite(db, row(db, 4)[3].replace('"decision":"ALLOW"', '"decision":"DENY"'))


def respace_body_and_digest(db):
    rewrite(db, row(db, 4)[3] + " ")


def rewrite(db, body):
    """Store another body in entry 4 with the digest that fits it, as a forger who knows the rule would."""
    kind, id, at, _, prev, _ = row(db, 4)
    fitting = entry_digest(4, kind, id, at, body.encode(), prev)
    db.execute("UPDATE entries SET body = ?, digest = ? WHERE seq = 4", (body, fitting))


def edit_prev(db):
    db.execute("UPDATE entries SET prev = 'sha256:' || hex(randomblob(32)) WHERE seq = 4")


def edit_digest(db):
    db.execute("UPDATE entries SET digest = upper(digest) WHERE seq = 4")


def edit_kind(db):
    db.execute("UPDATE entries SET kind = 'proof' WHERE seq = 4")


def edit_id(db):
    db.execute("UPDATE entries SET id = 'other' WHERE seq = 4")


def edit_at(db):
    db.execute("UPDATE entries SET at = '1999-01-01T00:00:00.000000Z' WHERE seq = 4")


def swap_places(db):
    db.execute("UPDATE entries SET seq = -1 WHERE seq = 4")
    db.execute("UPDATE entries SET seq = 4 WHERE seq = 5")
    db.execute("UPDATE entries SET seq = 5 WHERE seq = -1")


def swap_bodies(db):
    a, b = row(db, 4)[3], row(db, 7)[3]
    db.execute("UPDATE entries SET body = CASE seq WHEN 4 THEN ? ELSE ? END WHERE seq IN (4, 7)", (b, a))


def delete_middle(db):
    db.execute("DELETE FROM entries WHERE seq = 4")


def delete_and_close_the_gap(db):
    db.execute("DELETE FROM entries WHERE seq = 4")
    db.execute("UPDATE entries SET seq = -seq WHERE seq > 4")
    db.execute("UPDATE entries SET seq = -seq - 1 WHERE seq < 0")


def delete_first(db):
    db.execute("DELETE FROM entries WHERE seq = 1")


def duplicate_at_the_end(db):
    kind, _, *rest = row(db, 4)
    put(db, N + 1, (kind, "copy", *rest))


def insert_in_front(db):
    kind, _, *rest = row(db, 4)
    put(db, 0, (kind, "copy", *rest))


def not_utf8(db):
    db.execute("UPDATE entries SET body = CAST(x'7b2261223a22ff227d' AS TEXT) WHERE seq = 4")


def other_id_in_the_body(db):
    rewrite(db, canonical_json({**json.loads(row(db, 4)[3]), "id": "elsewhere"}).decode())


def other_time_in_the_body(db):
    rewrite(db, canonical_json({**json.loads(row(db, 4)[3]), "at": "elsewhen"}).decode())


def a_list_as_body(db):
    rewrite(db, "[]")


MUTATIONS = [
    (edit_body, 4, "does not have the stored digest"),
    (respace_body, 4, "does not have the stored digest"),
    (edit_body_and_digest, 5, "prev is not the digest"),
    (edit_prev, 4, "prev is not the digest"),
    (edit_digest, 4, "does not have the stored digest"),
    (edit_kind, 4, "does not have the stored digest"),
    (edit_id, 4, "does not have the stored digest"),
    (edit_at, 4, "does not have the stored digest"),
    (swap_places, 4, "prev is not the digest"),
    (swap_bodies, 4, "does not have the stored digest"),
    (delete_middle, 4, "it is missing; the next one found is 5"),
    (delete_and_close_the_gap, 4, "prev is not the digest"),
    (delete_first, 1, "it is missing"),
    (duplicate_at_the_end, N + 1, "prev is not the digest"),
    (insert_in_front, 1, "it is missing; the next one found is 0"),
    (not_utf8, 4, "not UTF-8"),
    (respace_body_and_digest, 4, "not canonical JSON"),
    (a_list_as_body, 4, "differs from the body"),
    (other_time_in_the_body, 4, "differs from the body"),
    (other_id_in_the_body, 4, "differs from the body"),
]


@pytest.mark.parametrize(("mutate", "bad", "words"), MUTATIONS, ids=[m[0].__name__ for m in MUTATIONS])
def test_every_kind_of_tampering_is_found_and_located(full, path, mutate, bad, words):
    with forger(path) as db:
        mutate(db)
    found = full.verify()
    assert (found.ok, found.first_bad_seq) == (False, bad)
    assert words in found.problem
    assert found.entries == found.head.seq == bad - 1


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_changed_character_of_any_column_is_found_at_that_entry(data):
    seq = data.draw(st.integers(1, N))
    column = data.draw(st.sampled_from(COLUMNS.split(", ")))
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.db") as ledger:
        ledger.append([judgement(f"j{i}") for i in range(1, N + 1)])
        with forger(ledger.path) as db:
            (old,) = db.execute(f"SELECT {column} FROM entries WHERE seq = ?", (seq,)).fetchone()
            at = data.draw(st.integers(0, len(old) - 1))
            new = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda c: c != old[at]))
            try:
                changed = old[:at] + new + old[at + 1 :]
                db.execute(f"UPDATE entries SET {column} = ? WHERE seq = ?", (changed, seq))
            except sqlite3.OperationalError:  # the generated columns refuse a body that is no JSON
                db.execute("UPDATE entries SET body = body || ' ' WHERE seq = ?", (seq,))
        found = ledger.verify()
        assert (found.ok, found.first_bad_seq) == (False, seq)


def test_a_byte_changed_in_the_file_itself_is_found(path):
    with Ledger.open(path) as ledger:
        ledger.append([judgement(f"j{i}") for i in range(5)])
    data = path.read_bytes()
    at = data.index(b'"id":"j2"')
    path.write_bytes(data[:at] + b'"id":"j9"' + data[at + 9 :])
    with Ledger.open(path, read_only=True) as ledger:
        found = ledger.verify()
    assert (found.ok, found.first_bad_seq) == (False, 3)


def test_a_page_that_cannot_be_read_is_reported_with_the_place(path):
    with Ledger.open(path) as ledger:
        ledger.append([policy("x" * 3000) for _ in range(40)])
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries'").fetchone()
        pages = db.execute("SELECT count(*) FROM entries").fetchone()[0]
    data = bytearray(path.read_bytes())
    at = data.rindex(b'"name":"xxx')
    start = at - at % 4096
    assert pages == 40
    assert start // 4096 + 1 != root
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    with Ledger.open(path, read_only=True) as ledger:
        found = ledger.verify()
    assert not found.ok
    assert 0 < found.entries == found.head.seq < 40
    assert found.first_bad_seq == found.entries + 1
    assert "malformed" in found.problem


def test_altered_content_is_found_and_blamed_on_its_entry(full, path):
    for change in ("body = '\"other\"'", "salt = x'00'", "digest = 'sha256:no'"):
        with forger(path) as db:
            before = db.execute("SELECT digest, salt, body FROM contents").fetchone()
            db.execute(f"UPDATE contents SET {change}")
        found = full.verify()
        assert not found.ok
        assert "was altered" in found.problem
        assert found.first_bad_seq == (None if "digest" in change else 3)
        assert found.entries == N
        with forger(path) as db:
            db.execute("UPDATE contents SET digest = ?, salt = ?, body = ?", before)
    assert full.verify().ok


GUARDS = ["entries_no_update", "entries_no_delete", "entries_only_at_head", "contents_no_update"]


@pytest.mark.parametrize("name", GUARDS)
def test_a_dropped_trigger_is_named(full, path, name):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"DROP TRIGGER {name}")
    found = full.verify()
    assert (found.ok, found.first_bad_seq) == (False, None)
    assert found.problem == f"trigger {name} is missing"


def test_no_trigger_is_left_out_of_that_test(full, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert len(drop_guards(db)) == len(GUARDS)


def test_a_changed_or_added_object_is_named(full, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER entries_no_delete")
        db.execute("CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries BEGIN SELECT 1; END")
        db.execute("CREATE TRIGGER hide AFTER INSERT ON entries BEGIN DELETE FROM contents; END")
        db.execute("DROP INDEX entries_kind")
        db.execute("PRAGMA user_version = 1")
    problem = full.verify().problem
    for words in (
        "trigger entries_no_delete was changed",
        "trigger hide was added",
        "index entries_kind is missing",
        "user_version is 1",
    ):
        assert words in problem


HIDDEN = """CREATE TRIGGER sqlite_a BEFORE INSERT ON entries WHEN NEW.kind = 'correction' BEGIN SELECT RAISE(IGNORE); END"""


def test_a_trigger_with_a_name_of_sqlites_own_is_named_and_swallows_nothing(full, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("INSERT INTO sqlite_master VALUES ('trigger', 'sqlite_a', 'entries', 0, ?)", (HIDDEN,))
        (loaded,) = db.execute("PRAGMA schema_version").fetchone()
        db.execute(f"PRAGMA schema_version = {loaded + 1}")
    assert full.verify().problem == "trigger sqlite_a was added"
    with Ledger.open(path) as ledger:
        with pytest.raises(LedgerError, match="took 0 of 1 entries"):
            ledger.append([correction("j1")])
        assert ledger.count("correction") == 0
        assert len(ledger.append([judgement("after")])) == 1


def test_what_sqlite_makes_by_itself_is_not_named(full, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("ANALYZE")
    assert full.verify().ok


def test_an_index_that_hides_an_entry_is_found(full, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_entries_1'"
        ).fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    full.close()
    data = bytearray(path.read_bytes())
    page = (root - 1) * 4096
    cells = int.from_bytes(data[page + 3 : page + 5], "big")
    assert cells == N
    data[page + 3 : page + 5] = (N - 1).to_bytes(2, "big")
    path.write_bytes(data)
    with Ledger.open(path, read_only=True) as ledger:
        assert sum(ledger.get(f"j{i}") is None for i in range(N)) == 1
        found = ledger.verify()
    assert not found.ok
    assert "SQLite's check" in found.problem


def test_an_empty_ledger_is_whole(ledger):
    found = ledger.verify()
    assert (found.ok, found.entries, found.head.seq) == (True, 0, 0)


def test_memory_does_not_grow_with_the_ledger(ledger):
    sealed = [ledger.seal("y" * 10_000) for _ in range(500)]
    named = [judgement(content=s.digest) for s in sealed]
    ledger.append([policy("x" * 10_000) for _ in range(1500)] + named, sealed)
    tracemalloc.start()
    try:
        assert ledger.verify().ok
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # bytes; the ledger holds 20 MB


def test_verifying_does_not_stop_the_writer_and_sees_one_snapshot(full, path, monkeypatch):
    real = verify._walk

    def meanwhile(db):
        walked = real(db)
        full.append([correction("j1", id="meanwhile")])
        with forger(path) as other:
            other.execute("UPDATE contents SET body = 'null'")
        return walked

    with monkeypatch.context() as m:
        m.setattr(verify, "_walk", meanwhile)
        found = full.verify()
    assert (found.ok, found.entries, found.problem) == (True, N, None)
    found = full.verify()
    assert (found.ok, found.entries, found.first_bad_seq) == (False, N + 1, 3)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM contents", "its content is gone and no entry says that it was erased"),
        ("UPDATE contents SET at = '2099-01-01T00:00:00.000000Z'", "its content was given another time"),
        ("UPDATE contents SET at = '1999-01-01T00:00:00.000000Z'", "its content was given another time"),
    ],
)
def test_content_removed_or_dated_anew_behind_its_back_is_found(full, path, statement, words):
    with forger(path) as db:
        db.execute(statement)
    found = full.verify()
    assert (found.ok, found.first_bad_seq) == (False, 3)
    assert f"entry 3: {words}" in found.problem


def test_erased_content_may_be_gone_and_not_come_back(full, path):
    digest = full.get("j3").body["content"]
    with closing(sqlite3.connect(path)) as db:
        row = db.execute("SELECT * FROM contents").fetchone()
    erasure.erase(full, [digest], "asked for", "a test")
    assert full.verify().ok
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO contents VALUES (?, ?, ?, ?)", row)
    found = full.verify()
    assert (found.ok, found.first_bad_seq) == (False, 3)
    assert "though an entry says that it was erased" in found.problem


def test_content_shared_by_several_records_bears_the_first_ones_time(full):
    digest = full.get("j3").body["content"]
    later = correction("j3").model_copy(update={"at": "2027-01-01T00:00:00.000000Z", "content": digest})
    full.append([later])
    assert full.verify().ok
