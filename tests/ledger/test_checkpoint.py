"""Checkpoints are signed, true of what stands before them, and witnessed; proofs against them hold; lies are found and located."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import stat
import threading
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sekisho.core.canonical import canonical_json
from sekisho.core.errors import ConflictError, LedgerError, NotFoundError
from sekisho.ledger import checkpoint, witness
from sekisho.ledger.chain import START, draft, link
from sekisho.ledger.merkle import is_included, leaf_hash
from sekisho.ledger.signing import Signer, is_signed, statement_of
from sekisho.ledger.store import Ledger

from .makers import drop_guards, forger, judgement, policy


@pytest.fixture
def signer(tmp_path):
    return Signer.open(tmp_path / "keys" / "ledger.pem")


@pytest.fixture
def seen(tmp_path):
    return tmp_path / "elsewhere" / "witness.jsonl"


def fill(ledger, size, prefix="j"):
    return ledger.append([judgement(f"{prefix}{i}") for i in range(1, size + 1)])


def test_the_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "keys" / "ledger.pem"
    made = Signer.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Signer.open(path).public == made.public
    assert [p.name for p in path.parent.iterdir()] == ["ledger.pem"]
    path.chmod(0o640)
    with pytest.raises(LedgerError, match="Others may read the key"):
        Signer.open(path)


def test_a_file_that_is_no_key_is_refused(tmp_path):
    path = tmp_path / "ledger.pem"
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(LedgerError, match="no private key"):
        Signer.open(path)


def test_of_two_that_make_a_key_at_once_one_wins(tmp_path, monkeypatch):
    path, real = tmp_path / "ledger.pem", os.link

    def late(part, final):
        monkeypatch.setattr(os, "link", real)
        winners.append(Signer.open(path).public)
        real(part, final)

    winners = []
    monkeypatch.setattr(os, "link", late)
    monkeypatch.setattr(os, "getpid", iter([1, 2, 3, 4]).__next__)
    assert Signer.open(path).public == winners[0]


def test_the_note_is_a_signed_note_others_can_read(ledger, signer):
    fill(ledger, 3)
    made = checkpoint.take(ledger, signer, None)
    text, _, signatures = made.note.partition("\n\n")
    origin, size, root, *_ = text.split("\n")
    dash, name, mark = signatures.removesuffix("\n").split(" ")
    assert (dash, name, int(size)) == ("—", origin, 3)
    assert "sha256:" + base64.b64decode(root).hex() == made.root
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(made.key.removeprefix("ed25519:")))
    public.verify(base64.b64decode(mark)[4:], f"{text}\n".encode())


@pytest.mark.parametrize(
    "change",
    [
        {"size": 2},
        {"root": "sha256:" + "0" * 64},
        {"head": "sha256:" + "0" * 64},
        {"at": "1999-01-01T00:00:00.000000Z"},
        {"root": "no digest"},
        {"key": "ed25519:" + "A" * 43 + "="},
        {"key": "rsa:x"},
        {"note": ""},
    ],
    ids=str,
)
def test_a_signature_holds_for_one_statement_and_one_key(ledger, signer, change):
    fill(ledger, 3)
    made = checkpoint.take(ledger, signer, None)
    assert is_signed(made.note, statement_of(made), made.key)
    other = made.model_copy(update=change)
    assert not is_signed(other.note, statement_of(other), other.key)


def test_any_changed_character_of_a_note_is_found(ledger, signer):
    fill(ledger, 3)
    made = checkpoint.take(ledger, signer, None)
    for at in range(len(made.note)):
        note = made.note[:at] + chr(ord(made.note[at]) ^ 1) + made.note[at + 1 :]
        assert not is_signed(note, statement_of(made), made.key), at


def test_checkpoints_stand_right_behind_what_they_sign(ledger, signer):
    for size in (4, 300, 1):
        fill(ledger, size, prefix=f"{size}-")
        made = checkpoint.take(ledger, signer, None)
        assert made.size == ledger.get(made.id).seq - 1 == ledger.head().seq - 1
    assert checkpoint.newest(ledger) == made
    assert ledger.verify().ok


def test_there_is_nothing_to_sign_in_an_empty_ledger(ledger, signer):
    with pytest.raises(ConflictError, match="empty"):
        checkpoint.take(ledger, signer, None)
    assert ledger.count() == 0


def test_a_proof_holds_against_the_checkpoint(ledger, signer):
    entries = fill(ledger, 300)
    checkpoint.take(ledger, signer, None)
    for entry in entries[::37]:
        proof = checkpoint.prove(ledger, entry.id)
        root = bytes.fromhex(proof.checkpoint.root.removeprefix("sha256:"))
        leaf = leaf_hash(entry.digest.encode())
        assert is_included(leaf, entry.seq - 1, proof.checkpoint.size, proof.path, root)


def test_what_cannot_be_proved_says_why(ledger, signer):
    fill(ledger, 2)
    with pytest.raises(NotFoundError):
        checkpoint.prove(ledger, "nobody")
    with pytest.raises(ConflictError, match="No checkpoint covers"):
        checkpoint.prove(ledger, "j1")
    checkpoint.take(ledger, signer, None)
    ledger.append([judgement("later")])
    assert checkpoint.prove(ledger, "j1").path
    with pytest.raises(ConflictError, match="No checkpoint covers"):
        checkpoint.prove(ledger, "later")


def test_the_witness_holds_every_digest_and_survives_a_torn_line(ledger, signer, seen):
    fill(ledger, 5)
    checkpoint.take(ledger, signer, seen)
    ledger.append([judgement("more")])
    with seen.open("ab") as file:
        file.write(b'{"checkpoint": {"si')
    assert len(list(witness.read(seen))) == 1
    checkpoint.take(ledger, signer, seen)
    lines = list(witness.read(seen))
    assert [line.checkpoint.size for line in lines] == [5, 7]
    digests = [d for line in lines for d in line.digests]
    assert digests == [e.digest for e in ledger.entries(limit=8)]
    assert ledger.verify(seen).ok


def test_a_checkpoint_that_missed_the_witness_is_made_up_for_by_the_next(ledger, signer, seen):
    fill(ledger, 3)
    checkpoint.take(ledger, signer, None)
    checkpoint.take(ledger, signer, seen)
    (line,) = witness.read(seen)
    assert (line.checkpoint.size, line.last, len(line.digests)) == (4, 5, 5)
    witness.append(seen, line.checkpoint, lambda low, high: pytest.fail("already witnessed"))
    assert len(list(witness.read(seen))) == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: ["{}\n"], "is not a checkpoint"),
        (lambda lines: [lines[0].replace('"size":3', '"size":2')], "is not signed"),
        (lambda lines: [lines[1], lines[0]], "covers no more"),
        (lambda lines: [lines[0], lines[0]], "covers no more"),
    ],
)
def test_a_witness_that_is_none_is_refused(ledger, signer, seen, spoil, words):
    fill(ledger, 3)
    checkpoint.take(ledger, signer, seen)
    checkpoint.take(ledger, signer, seen)
    seen.write_text("".join(spoil(seen.read_text().splitlines(keepends=True))))
    with pytest.raises(LedgerError, match=words):
        list(witness.read(seen))


def test_a_witness_that_cannot_be_written_is_said_and_the_checkpoint_is_kept(ledger, signer, tmp_path):
    fill(ledger, 3)
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be written"):
        checkpoint.take(ledger, signer, tmp_path / "file" / "witness.jsonl")
    assert ledger.count("checkpoint") == 1


def rebuilt(path, records):
    """A whole new ledger with fresh digests in the old one's place, as by someone with every right on this machine."""
    for name in path.parent.glob(path.name + "*"):
        name.unlink()
    with Ledger.open(path) as ledger:
        ledger.append(records)


@pytest.mark.parametrize("kept", [0, 1, 6, 8, 9])
def test_a_cut_tail_is_found_by_the_witness_alone(ledger, path, signer, seen, kept):
    fill(ledger, 9)
    checkpoint.take(ledger, signer, seen)
    with forger(path) as db:
        db.execute("DELETE FROM entries WHERE seq > ?", (kept,))
    assert ledger.verify().ok
    found = ledger.verify(seen)
    assert (found.ok, found.first_bad_seq, found.entries) == (False, kept + 1, kept)
    assert "the witness saw 10 entries" in found.problem
    with pytest.raises(LedgerError, match="is shorter than"):
        checkpoint.take(ledger, signer, seen)


def test_a_ledger_written_anew_is_found_and_located_by_the_witness(path, signer, seen):
    with Ledger.open(path) as ledger:
        records = [e.record for e in fill(ledger, 9)]
        checkpoint.take(ledger, signer, seen)
    records[4] = records[4].model_copy(update={"decision": "DENY"})
    rebuilt(path, records)
    with Ledger.open(path) as ledger:
        checkpoint.take(ledger, signer, None)
        assert ledger.verify().ok
        found = ledger.verify(seen)
        assert (found.ok, found.first_bad_seq) == (False, 5)
        assert "the witness saw another entry here" in found.problem
        with pytest.raises(LedgerError, match="holds other entries"):
            checkpoint.take(ledger, signer, seen)


def test_without_digests_the_witness_names_the_stretch(path, signer, seen):
    with Ledger.open(path) as ledger:
        records = [e.record for e in fill(ledger, 4)]
        checkpoint.take(ledger, signer, seen)
        fill(ledger, 4, prefix="k")
        checkpoint.take(ledger, signer, seen)
        records = [e.record for e in ledger.entries()]
    lines = [json.loads(line) for line in seen.read_text().splitlines()]
    seen.write_bytes(b"".join(canonical_json({**line, "digests": ""}) + b"\n" for line in lines))
    records[6] = records[6].model_copy(update={"decision": "DENY"})
    rebuilt(path, records)
    with Ledger.open(path) as ledger:
        found = ledger.verify(seen)
    assert (found.ok, found.first_bad_seq) == (False, 6)
    assert "from here to 9" in found.problem


def test_checkpoints_right_behind_each_other_are_all_compared(ledger, signer, seen, path):
    fill(ledger, 2)
    for _ in range(3):
        checkpoint.take(ledger, signer, seen)
    assert ledger.verify(seen).ok
    lines = [json.loads(line) for line in seen.read_text().splitlines()]
    seen.write_bytes(b"".join(canonical_json({**line, "digests": ""}) + b"\n" for line in lines))
    assert ledger.verify(seen).ok
    replace_entry(path, 1, policy("forged"))
    with forger(path) as db:
        db.execute("DELETE FROM entries WHERE seq > 2")
    found = ledger.verify(seen)
    assert (found.first_bad_seq, "from here to 2" in found.problem) == (1, True)


def replace_entry(path, seq, record):
    """Put another record in one place and compute every later digest again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        guards = drop_guards(db)
        rows = db.execute("SELECT seq, kind, id, at, body FROM entries ORDER BY seq").fetchall()
        db.execute("DELETE FROM entries")
        drafts = [draft(record) if r[0] == seq else _draft(r) for r in rows]
        for e, d in zip(link(drafts, START), drafts, strict=True):
            db.execute(
                "INSERT INTO entries (seq, kind, id, at, body, prev, digest) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (e.seq, e.kind, e.id, e.at, d.text, e.prev, e.digest),
            )
        for sql in guards:
            db.execute(sql)


def _draft(row):
    from sekisho.ledger.chain import Draft

    return Draft(*row[1:])


def test_a_checkpoint_played_again_is_found_by_the_ledger_itself(ledger, path, signer):
    fill(ledger, 4)
    old = checkpoint.take(ledger, signer, None)
    fill(ledger, 3, prefix="k")
    made = checkpoint.take(ledger, signer, None)
    replace_entry(path, made.size + 1, old.model_copy(update={"id": made.id}))
    found = ledger.verify()
    assert (found.ok, found.first_bad_seq) == (False, 9)
    assert "speaks of 4 entries but 8 stand before it" in found.problem


def test_history_changed_before_a_checkpoint_is_found_without_a_witness(ledger, path, signer):
    fill(ledger, 4)
    checkpoint.take(ledger, signer, None)
    replace_entry(path, 2, policy("forged"))
    found = ledger.verify()
    assert (found.ok, found.first_bad_seq) == (False, 5)
    assert "speaks of another ledger" in found.problem


def test_a_checkpoint_by_another_key_is_found(ledger, signer, tmp_path):
    fill(ledger, 4)
    checkpoint.take(ledger, signer, None)
    checkpoint.take(ledger, Signer.open(tmp_path / "other.pem"), None)
    found = ledger.verify()
    assert (found.ok, found.first_bad_seq) == (False, 6)
    assert "another key" in found.problem


def test_a_signature_that_does_not_hold_is_found(ledger, path, signer):
    fill(ledger, 4)
    made = checkpoint.take(ledger, signer, None)
    other = "B" if made.note[-10] == "A" else "A"
    replace_entry(path, 5, made.model_copy(update={"note": made.note[:-10] + other + made.note[-9:]}))
    found = ledger.verify()
    assert found.first_bad_seq == 5
    assert "signature does not hold" in found.problem


def test_an_altered_block_of_the_tree_is_named(ledger, path):
    fill(ledger, 600)
    for sql, words in (
        ("UPDATE tree SET hash = zeroblob(32) WHERE place = 1", "block 1 of level 1 of the tree was altered"),
        ("DELETE FROM tree WHERE place = 0", "block 0 of level 1 of the tree was altered"),
        ("INSERT INTO tree VALUES (2, 0, zeroblob(32)), (1, 0, zeroblob(32))", "1 blocks too many"),
    ):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(sql)
        found = ledger.verify()
        assert (found.ok, found.entries) == (False, 600)
        assert words in found.problem


def test_many_take_checkpoints_at_once(ledger, path, signer, seen):
    fill(ledger, 3)
    errors = []

    def work():
        try:
            with Ledger.open(path) as own:
                for _ in range(4):
                    checkpoint.take(own, signer, seen)
                    own.append([judgement()])
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    assert ledger.count("checkpoint") == 16
    found = ledger.verify(seen)
    assert (found.ok, found.problem, found.entries) == (True, None, 35)
    # One that comes late finds its entries witnessed already, so there may be fewer lines than checkpoints, never a gap.
    digests = [d for line in witness.read(seen) for d in line.digests]
    assert digests == [e.digest for e in ledger.entries(limit=len(digests))]
