"""Erased text is in no byte of any file, and the chain does not notice."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.canonical import new_id, utc_now
from sekisho.core.errors import ConflictError, LedgerError
from sekisho.core.records import Hold, Stretch
from sekisho.ledger import erasure, schema, views
from sekisho.ledger.store import Ledger
from sekisho.loop import retain

from .eraser import MARK
from .makers import AT, STAMP, correction, judgement

ERASER = Path(__file__).with_name("eraser.py")

DAYS = {"all": 7.0}
LATER = datetime.now(UTC) + timedelta(days=8)
PIECE = 24
"""Bytes searched for: small enough that no piece of a page escapes, long enough that none is there by chance."""


def secret(chance: random.Random, length: int) -> str:
    return chance.randbytes(length // 2).hex()


def store(ledger, text, **filters):
    sealed = ledger.seal({"state": text})
    record = judgement(content=sealed.digest, **filters).model_copy(update={"at": utc_now()})
    (entry,) = ledger.append([record], [sealed])
    return entry


def hold(subject, active=True):
    return Hold(id=new_id("hld"), at=AT, subject=subject, active=active, reason="a lawsuit")


def bytes_under(folder) -> bytes:
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert any(p.name == "ledger.db" for p in files)
    return b"\x00".join(p.read_bytes() for p in files)


def pieces(text):
    return [text[i : i + PIECE].encode() for i in range(0, len(text) - PIECE + 1, PIECE)]


def assert_gone(folder, texts):
    everything = bytes_under(folder)
    for text in texts:
        for piece in pieces(text):
            assert piece not in everything


def test_what_is_old_is_in_no_byte_of_any_file(ledger, path):
    chance = random.Random(3)
    texts = [secret(chance, n) for n in (60, 400, 9000, 120, 40_000) * 12]
    entries = [store(ledger, text) for text in texts]
    before = bytes_under(path.parent)
    assert all(p in before for text in texts for p in pieces(text)[:1])
    done = erasure.retain(ledger, DAYS, "a test", LATER)
    assert (done.erased, done.held, done.kept) == (60, 0, 0)
    assert_gone(path.parent, texts)
    assert ledger.verify().ok
    assert all(ledger.content(e.body["content"]) is None for e in entries)
    assert ledger.get(entries[3].id) == entries[3]


def test_the_search_would_find_what_a_plain_delete_leaves(ledger, path):
    text = secret(random.Random(4), 300)
    store(ledger, text)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM contents")
    assert any(p in bytes_under(path.parent) for p in pieces(text))


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32))
def test_rounds_of_holds_and_erasures_leave_no_slack(tmp_path_factory, seed):
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("home")
    kept, gone = {}, []
    with Ledger.open(folder / "ledger.db") as ledger:
        for _ in range(4):
            for _ in range(chance.randint(1, 25)):
                text = secret(chance, chance.choice([50, 130, 700, 1500, 5000]))
                kept[store(ledger, text).id] = text
            saved = set(chance.sample(sorted(kept), chance.randint(0, len(kept))))
            ledger.append([hold(id) for id in saved])
            done = erasure.retain(ledger, DAYS, "a test", LATER)
            assert (done.erased, done.held) == (len(kept) - len(saved), len(saved))
            gone += [text for id, text in kept.items() if id not in saved]
            kept = {id: text for id, text in kept.items() if id in saved}
            ledger.append([hold(id, active=False) for id in saved])
            assert_gone(folder, gone)
            for id, text in kept.items():
                assert ledger.content(ledger.get(id).body["content"]) == {"state": text}
        assert ledger.verify().ok


def test_the_erasure_is_an_entry_that_names_what_it_erased(ledger):
    entries = [store(ledger, f"text {i}") for i in range(5)]
    done = erasure.retain(ledger, {"all": 7.0, "chat": 1.0}, "the officer", LATER)
    (entry,) = done.entries
    record = ledger.get(entry.id).record
    assert record.digests == tuple(sorted(e.body["content"] for e in entries))
    assert (record.rule, record.by, record.days) == ("retention", "the officer", {"all": 7.0, "chat": 1.0})
    assert entry.seq == 6


def test_many_erasures_are_several_entries(ledger, monkeypatch):
    monkeypatch.setattr(erasure, "_CHUNK", 2)
    for i in range(5):
        store(ledger, f"text {i}")
    done = erasure.retain(ledger, DAYS, "a test", LATER)
    assert [len(e.record.digests) for e in done.entries] == [2, 2, 1]


def test_what_is_young_stays_and_nothing_is_written(ledger):
    entry = store(ledger, "text")
    done = erasure.retain(ledger, DAYS, "a test")
    assert (done.entries, done.erased, done.kept) == ([], 0, 1)
    assert ledger.count() == 1
    assert ledger.content(entry.body["content"]) == {"state": "text"}


def test_each_class_has_its_days_and_the_longest_counts(ledger):
    days = {"all": 7.0, "chat": 1.0, "corrected": 30.0}
    gate, chat, corrected = (
        store(ledger, t, task=k) for t, k in (("a", "gate"), ("b", "chat"), ("c", "gate"))
    )
    ledger.append([correction(corrected.id).model_copy(update={"content": corrected.body["content"]})])

    def left(after):
        erasure.retain(ledger, days, "a test", datetime.now(UTC) + timedelta(days=after))
        return [e for e in (gate, chat, corrected) if ledger.content(e.body["content"]) is not None]

    assert left(0.5) == [gate, chat, corrected]
    assert left(2) == [gate, corrected]
    assert left(8) == [corrected]
    assert left(31) == []


def test_a_hold_on_everything_and_its_end(ledger):
    store(ledger, "text")
    ledger.append([hold(erasure.EVERYTHING)])
    assert erasure.retain(ledger, DAYS, "a test", LATER).held == 1
    ledger.append([hold(erasure.EVERYTHING, active=False)])
    assert erasure.retain(ledger, DAYS, "a test", LATER).erased == 1


def test_a_hold_filed_while_retention_begins_is_kept(ledger, monkeypatch):
    entry = store(ledger, "text")
    real = erasure.Claims.read

    def meanwhile(db):
        claims = real(db)
        ledger.append([hold(entry.id)])
        return claims

    monkeypatch.setattr(erasure.Claims, "read", meanwhile)
    assert erasure.retain(ledger, DAYS, "a test", LATER).held == 1
    assert ledger.content(entry.body["content"]) == {"state": "text"}


def test_content_shared_with_a_held_record_is_held(ledger):
    sealed = ledger.seal("shared")
    a, b = ledger.append([judgement(content=sealed.digest), judgement(content=sealed.digest)], [sealed])
    ledger.append([hold(b.id)])
    with pytest.raises(ConflictError, match="legal hold"):
        erasure.erase(ledger, [a.body["content"]], "asked for", "a test")
    assert ledger.content(sealed.digest) == "shared"


def test_one_content_is_erased_on_request(ledger, path):
    texts = [secret(random.Random(i), 200) for i in range(3)]
    entries = [store(ledger, t) for t in texts]
    done = erasure.erase(ledger, [entries[1].body["content"]], "asked for", "the officer")
    assert (done.erased, done.kept) == (1, 2)
    assert (done.entries[0].record.rule, done.entries[0].record.reason) == ("request", "asked for")
    assert_gone(path.parent, [texts[1]])
    assert ledger.verify().ok


def test_the_table_is_the_same_afterwards_and_still_guarded(ledger, path):
    store(ledger, "a")
    erasure.retain(ledger, DAYS, "a test", LATER)
    store(ledger, "b")
    with closing(sqlite3.connect(path)) as db:
        assert schema.differences(db) == []
        with pytest.raises(sqlite3.IntegrityError, match="never altered"):
            db.execute("UPDATE contents SET body = 'null'")


def test_others_write_and_read_meanwhile(ledger, path):
    store(ledger, "old")
    with Ledger.open(path) as other:
        assert other.count() == 1
        erasure.retain(ledger, DAYS, "a test", LATER)
        entry = store(other, "new")
        assert ledger.content(entry.body["content"]) == {"state": "new"}
        assert [e.seq for e in other.entries()] == [1, 2, 3]
        assert other.verify().ok


def test_a_reader_that_holds_the_log_is_named_and_the_next_run_empties_it(ledger, path, monkeypatch):
    monkeypatch.setattr(erasure, "LOG_SECONDS", 0.2)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.05)
    text = secret(random.Random(5), 200)
    store(ledger, text)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entries").fetchone()
        with pytest.raises(LedgerError, match="cannot be emptied while others read"):
            erasure.retain(ledger, DAYS, "a test", LATER)
        assert any(p in bytes_under(path.parent) for p in pieces(text))
    assert erasure.retain(ledger, DAYS, "a test", LATER).erased == 0
    assert_gone(path.parent, [text])


def test_a_failure_in_the_middle_erases_nothing(ledger, monkeypatch):
    entry = store(ledger, "text")
    real = erasure._rewrite

    def failing(db, doomed):
        real(db, doomed)
        raise LedgerError("power cut", "")

    monkeypatch.setattr(erasure, "_rewrite", failing)
    with pytest.raises(LedgerError, match="power cut"):
        erasure.retain(ledger, DAYS, "a test", LATER)
    assert ledger.content(entry.body["content"]) == {"state": "text"}
    assert ledger.count() == 1
    assert ledger.verify().ok


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_all_or_nothing_and_the_next_run_cleans_up(path):
    chance = random.Random(9)
    for _ in range(8):
        child = subprocess.Popen([sys.executable, str(ERASER), str(path)], stdout=subprocess.PIPE)
        assert child.stdout.readline()
        time.sleep(chance.random() * 0.1)
        child.kill()
        child.wait()
        child.stdout.close()
        with Ledger.open(path) as ledger, ledger.snapshot() as db:
            assert ledger.verify().ok
            erased = {d for e in ledger.entries(kind="erasure", limit=10_000) for d in e.record.digests}
            there = {d for (d,) in db.execute("SELECT digest FROM contents")}
            named = {e.body["content"] for e in ledger.entries(kind="judgement", limit=10_000)}
            assert (erased | there, erased & there) == (named, set())
    with Ledger.open(path) as ledger:
        erasure.retain(ledger, DAYS, "a test", LATER)
        assert MARK.encode() not in bytes_under(path.parent)
        assert ledger.verify().ok


def stream(ledger, gate, texts):
    """Stretches of a stream under a gate's judgement, then the record that closes it."""
    for place, text in enumerate(texts):
        sealed = ledger.seal({"answer": text})
        ids = {"id": new_id("str"), "at": utc_now(), "judgement": gate, "place": place}
        ledger.append([Stretch(**ids, content=sealed.digest, stamp=STAMP)], [sealed])
    sealed = ledger.seal({"answer": "".join(texts)})
    record = judgement(content=sealed.digest, task="chat", decision="released")
    record = record.model_copy(update={"at": utc_now(), "links": {"gate": gate}})
    return ledger.append([record], [sealed])[0]


@pytest.mark.parametrize("subject", ["gate", "chat"])
def test_a_stream_is_kept_erased_and_held_like_the_answer_it_is(ledger, subject):
    gate = store(ledger, "asked")
    chat = stream(ledger, gate.id, ["a", "b"])
    stretches = views.stretches(ledger, gate)
    assert [e.body["place"] for e in stretches] == [0, 1]
    assert views.stretches(ledger, chat) == stretches
    named = {"gate": gate.id, "chat": chat.id}[subject]
    ledger.append([hold(named)])
    with pytest.raises(ConflictError):
        retain.erase(ledger, named, "asked for", "a test")
    day = datetime.now(UTC) + timedelta(days=2)
    erasure.retain(ledger, {"all": 7.0, "chat": 1.0}, "a test", day)
    assert all(ledger.content(e.body["content"]) for e in stretches)
    ledger.append([hold(named, active=False)])
    erasure.retain(ledger, {"all": 7.0, "chat": 1.0}, "a test", day)
    assert [ledger.content(e.body["content"]) for e in (*stretches, chat)] == [None] * 3
    assert ledger.content(gate.body["content"]) == {"state": "asked"}
    assert ledger.verify().ok


def test_erasing_an_answer_erases_its_stream(ledger):
    gate = store(ledger, "asked")
    chat = stream(ledger, gate.id, ["a", "b"])
    assert retain.erase(ledger, chat.id, "asked for", "a test")["erased"] == 3
    assert ledger.content(gate.body["content"]) == {"state": "asked"}
