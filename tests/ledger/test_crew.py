"""An audit by several processes, by certificates in one (body by body, a page at a time), and row by row: the same words about the same entry, whatever was done to the ledger."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from sekisho.core.canonical import canonical_json
from sekisho.ledger import certify, checkpoint, crew, erasure, tree
from sekisho.ledger.certify import certificates
from sekisho.ledger.chain import GENESIS, Head, entry_digest
from sekisho.ledger.signing import Signer
from sekisho.ledger.store import Ledger

from .makers import correction, forger, judgement, policy

SIZE = 3 * 256 + 40
COLUMNS = "kind, id, at, body, prev, digest"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three blocks and a piece, with content, an erasure in the middle, and checkpoints with a witness."""
    folder = tmp_path_factory.mktemp("crew")
    signer, witness = Signer.open(folder / "key.pem"), folder / "witness.jsonl"
    with Ledger.open(folder / "made.db") as ledger:
        for first in range(1, SIZE, 200):
            sealed = [ledger.seal({"state": n}) for n in range(first, min(first + 200, SIZE))]
            ledger.append(
                [judgement(f"j{first + n}", content=s.digest) for n, s in enumerate(sealed)], sealed
            )
            if first == 401:
                digest = ledger.get("j3").body["content"]
                erasure.erase(ledger, [digest], "asked for", "a test")
                checkpoint.take(ledger, signer, witness)
        checkpoint.take(ledger, signer, witness)
        assert ledger.verify(witness).ok
    return folder / "made.db", witness


@pytest.fixture
def ways(made, tmp_path, monkeypatch):
    """A function that audits a fresh copy three ways after `change`, and returns the one answer they give."""
    source, witness = made

    def audited(change, seen=None):
        path = tmp_path / "copy.db"
        path.write_bytes(source.read_bytes())
        with forger(path) as db:
            change(db)
        return one_answer(path, monkeypatch, witness if seen else None)

    return audited


def one_answer(path, monkeypatch, seen=None):
    answers = []
    with Ledger.open(path, read_only=True) as ledger:
        with monkeypatch.context() as m:
            m.setattr(crew.Crew, "certificates", lambda self: iter([None] * (self._until // 256)))
            answers.append(ledger.verify(seen))
        answers.append(ledger.verify(seen))
        with monkeypatch.context() as m:
            m.setattr(certify, "_MANY", 1)
            answers.append(ledger.verify(seen))
        with monkeypatch.context() as m:
            many(m)
            answers.append(ledger.verify(seen))
    (answer,) = {*answers}
    return answer


def many(m):
    """Two hands for any ledger, a block a job."""
    m.setattr(crew, "LARGE", 1)
    m.setattr(crew, "_JOB", 256)
    m.setattr(crew, "_cores", lambda: 2)


def relink(db, seq, text):
    """Store another body at `seq`, and fresh digests, links and blocks for everything from there on."""
    rows = db.execute(f"SELECT seq, {COLUMNS} FROM entries WHERE seq >= ? ORDER BY seq", (seq,)).fetchall()
    head = Head(seq - 1, rows[0][5])
    (size,) = db.execute("SELECT max(seq) FROM entries").fetchone()
    for n, kind, id, at, body, _, _ in rows:
        body = text if n == seq else body
        tag = entry_digest(n, kind, id, at, body.encode(), head.digest)
        db.execute(
            "UPDATE entries SET body = ?, prev = ?, digest = ? WHERE seq = ?", (body, head.digest, tag, n)
        )
        head = Head(n, tag)
    db.execute("DELETE FROM tree")
    tree.grow(db, 0, size)


def spelt(change):
    def spell(db, seq):
        (body,) = db.execute("SELECT body FROM entries WHERE seq = ?", (seq,)).fetchone()
        relink(db, seq, change(body))

    return spell


def sql(statement):
    return lambda db, seq: db.execute(statement, {"n": seq})


CHANGES = {
    "body": (sql("UPDATE entries SET body = replace(body, 'ALLOW', 'DENY') WHERE seq = :n"), "stored digest"),
    "prev": (sql("UPDATE entries SET prev = upper(prev) WHERE seq = :n"), "prev is not"),
    "digest": (sql("UPDATE entries SET digest = upper(digest) WHERE seq = :n"), "stored digest"),
    "kind": (sql("UPDATE entries SET kind = 'proof' WHERE seq = :n"), "stored digest"),
    "gone": (sql("DELETE FROM entries WHERE seq = :n"), "it is missing"),
    "not UTF-8": (
        sql("UPDATE entries SET body = CAST(x'7b2261223a22ff227d' AS TEXT) WHERE seq = :n"),
        "not UTF-8",
    ),
    "spaced": (spelt(lambda body: body + " "), "not canonical JSON"),
    "exponent": (spelt(lambda body: body.replace("0.7", "7e-1")), "not canonical JSON"),
    "small": (spelt(lambda body: body.replace('"ALLOW":0.7', '"ALLOW":0.00001')), "not canonical JSON"),
    "order": (
        spelt(lambda body: body.replace('"links":{}', '"links":{"b":"","a":""}')),
        "not canonical JSON",
    ),
    "other time": (
        spelt(lambda body: body.replace("2026-11-21T", "2027-11-21T", 1)),
        "differs from the body",
    ),
}


@pytest.mark.parametrize("seq", [1, 200, 256, 257, 700, 768, 769, SIZE - 5])
@pytest.mark.parametrize("name", CHANGES)
def test_every_way_finds_the_same(ways, name, seq):
    change, words = CHANGES[name]
    found = ways(lambda db: change(db, seq))
    assert (found.ok, found.first_bad_seq, found.entries) == (False, seq, seq - 1)
    assert words in found.problem


@pytest.mark.parametrize(
    ("statement", "bad", "words"),
    [
        (
            "UPDATE tree SET hash = zeroblob(32) WHERE place = 1",
            None,
            "block 1 of level 1 of the tree was altered",
        ),
        ("INSERT INTO tree VALUES (1, 3, zeroblob(32))", None, "the tree has 1 blocks too many"),
        ("UPDATE contents SET body = '1' WHERE rowid = 30", 31, "was altered"),
        ("DELETE FROM contents WHERE rowid = 300", 301, "its content is gone"),
        ("UPDATE contents SET at = 'x' WHERE rowid = 500", 501, "another time"),
        ("UPDATE entries SET seq = 0 WHERE seq = 1", 1, "the next one found is 0"),
        ("CREATE TABLE more (x)", None, "table more was added"),
    ],
)
def test_every_way_finds_what_no_row_shows(ways, statement, bad, words):
    found = ways(lambda db: db.execute(statement))
    assert (found.ok, found.first_bad_seq) == (False, bad)
    assert words in found.problem


def test_every_way_finds_a_whole_ledger_whole(ways):
    assert ways(lambda db: None).entries == SIZE + 2
    assert ways(lambda db: None, seen=True).ok


@pytest.mark.parametrize("seq", [100, 300, 520, 700])
def test_every_way_compares_with_the_witness(ways, seq):
    change = spelt(lambda body: canonical_json({**json.loads(body), "name": "x"}).decode())
    found = ways(lambda db: change(db, seq), seen=True)
    assert (found.ok, found.first_bad_seq) == (False, seq)
    assert "the witness saw another entry here" in found.problem


def test_every_way_finds_a_tail_cut_between_blocks(ways):
    def cut(db):
        db.execute("DELETE FROM entries WHERE seq > 512")
        db.execute("DELETE FROM tree WHERE place > 1")

    found = ways(cut, seen=True)
    assert (found.ok, found.first_bad_seq) == (False, 513)


def test_the_hands_do_the_work(made, monkeypatch):
    many(monkeypatch)
    monkeypatch.setattr(crew, "certificates", lambda *_: pytest.fail("a hand did not answer"))
    monkeypatch.setattr(
        "sekisho.ledger.kept.page_problems", lambda _: pytest.fail("nobody looked at the pages")
    )
    monkeypatch.setattr(
        "sekisho.ledger.kept.altered", lambda *_: pytest.fail("nobody looked at the contents")
    )
    with Ledger.open(made[0], read_only=True) as ledger:
        assert ledger.verify().ok


@pytest.mark.parametrize(
    "code", ["raise SystemExit", "print('?', flush=True); input()", "import time; time.sleep(0.2)"]
)
def test_hands_that_fail_are_made_up_for(made, monkeypatch, code):
    many(monkeypatch)
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **how: real([sys.executable, "-c", code], **how))
    with Ledger.open(made[0], read_only=True) as ledger:
        assert ledger.verify().ok


def test_hands_that_cannot_be_started_are_made_up_for(made, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no processes left")

    many(monkeypatch)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with Ledger.open(made[0], read_only=True) as ledger:
        assert ledger.verify().ok


def test_no_hand_outlives_the_audit_and_none_knows_our_settings(made, monkeypatch):
    many(monkeypatch)
    started, real = [], subprocess.Popen

    def noted(*given, **how):
        assert not [name for name in how["env"] if name.startswith("SEKISHO_")]
        started.append(real(*given, **how))
        return started[-1]

    monkeypatch.setenv("SEKISHO_TOKEN", "secret")
    monkeypatch.setattr(subprocess, "Popen", noted)
    with Ledger.open(made[0], read_only=True) as ledger:
        ledger.verify()
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


def test_a_small_ledger_and_a_single_core_need_no_crew(made, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with Ledger.open(made[0], read_only=True) as ledger:
        assert ledger.verify().ok
        monkeypatch.setattr(crew, "LARGE", 1)
        monkeypatch.setattr(crew, "_cores", lambda: 1)
        assert ledger.verify().ok


def test_others_may_append_and_erase_while_the_hands_read(path, monkeypatch):
    many(monkeypatch)
    with Ledger.open(path) as ledger:
        sealed = [ledger.seal({"state": n}) for n in range(600)]
        ledger.append([judgement(f"j{n}", content=s.digest) for n, s in enumerate(sealed)], sealed)
        real = crew.Crew.certificates

        def meanwhile(self):
            ledger.append([correction("j1") for _ in range(300)])
            with pytest.raises(Exception, match="cannot be emptied"):
                erasure.erase(ledger, [sealed[5].digest], "asked for", "a test")
            return real(self)

        with monkeypatch.context() as m:
            m.setattr(erasure, "LOG_SECONDS", 0.0)
            m.setattr(crew.Crew, "certificates", meanwhile)
            found = ledger.verify()
        assert (found.ok, found.entries) == (True, 600)
        assert ledger.verify().entries == 901


def test_a_ledger_on_a_medium_that_takes_no_file_is_audited_by_a_crew(made, tmp_path, monkeypatch):
    many(monkeypatch)
    folder = tmp_path / "still"
    folder.mkdir()
    (folder / "copy.db").write_bytes(made[0].read_bytes())
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    try:
        with Ledger.open(folder / "copy.db", read_only=True) as ledger:
            assert ledger.verify().ok
    finally:
        folder.chmod(0o700)


def test_what_is_unusual_gets_no_certificate_and_is_whole(path, monkeypatch):
    with Ledger.open(path) as ledger:
        ledger.append([policy('a "name"') for _ in range(256)] + [judgement(f'"{n}"') for n in range(256)])
    with closing(sqlite3.connect(path)) as db:
        found = list(certificates(db, 0, 512, GENESIS))
    assert [c is not None for c in found] == [True, False]
    assert one_answer(path, monkeypatch).ok


def test_a_certificate_is_only_of_the_entries_behind_its_digest(made):
    with closing(sqlite3.connect(made[0])) as db:
        first, second, *_ = certificates(db, 0, 768, GENESIS)
        assert first.before == GENESIS
        assert first.last == second.before
        assert list(certificates(db, 0, 256, "sha256:" + "1" * 64)) == [None]
