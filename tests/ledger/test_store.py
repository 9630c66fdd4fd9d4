from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.canonical import canonical_json
from sekisho.core.errors import ConflictError, InputError, LedgerError, SekishoError
from sekisho.ledger import rows, schema
from sekisho.ledger.chain import GENESIS, Head, Sealed
from sekisho.ledger.store import MAX_PAGE, Ledger

from .makers import correction, judgement, policy, promotion, proof, records


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(records(), max_size=4), max_size=5), st.data())
def test_whatever_is_appended_comes_back_whole_also_after_reopening(batches, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        appended = []
        ledger = Ledger.open(path)
        for batch in batches:
            appended += ledger.append(batch)
            if data.draw(st.booleans()):
                ledger.close()
                ledger = Ledger.open(path)
        with ledger:
            assert ledger.entries(limit=MAX_PAGE) == appended
            assert [e.record for e in appended] == [r for batch in batches for r in batch]
            assert [e.seq for e in appended] == list(range(1, len(appended) + 1))
            assert all(ledger.get(e.id) == e for e in appended)
            head = Head(appended[-1].seq, appended[-1].digest) if appended else Head(0, GENESIS)
            found = ledger.verify()
            assert (found.ok, found.entries, found.head, found.problem) == (True, len(appended), head, None)
            assert ledger.head() == head


def test_the_stored_text_is_the_canonical_text_exactly(ledger, path):
    (entry,) = ledger.append([policy("規程")])
    with closing(sqlite3.connect(path)) as db:
        (text,) = db.execute("SELECT body FROM entries").fetchone()
    assert text.encode() == canonical_json(entry.record.model_dump())
    assert entry.body["document"] == {"rules": [{"ref": "第1条"}]}


def test_filters_and_pages(ledger):
    js = [
        judgement(f"j{i}", task="gate" if i % 2 else "question", decision="ALLOW" if i % 3 else "DENY")
        for i in range(12)
    ]
    ledger.append([*js, correction("j1"), correction("j2", task="question"), correction("j1")])

    def ids(**filters):
        return [e.id for e in ledger.entries(**filters)]

    gate = [f"j{i}" for i in range(1, 12, 2)]
    assert ids(kind="judgement", task="gate") == gate
    assert ids(kind="judgement", task="gate", newest_first=True) == gate[::-1]
    assert ids(task="gate", decision="DENY") == ["j3", "j9"]
    assert ids(decision="DENY") == ["j0", "j3", "j6", "j9"]
    assert [e.record.judgement for e in ledger.entries(judgement="j1")] == ["j1", "j1"]
    assert ids(kind="proof") == ids(task="none") == []
    assert len(ids()) == ledger.count() == 15
    assert ledger.count("correction") == 3
    pages, after = [], 0
    while page := ledger.entries(kind="judgement", after=after, limit=5):
        pages.append([e.id for e in page])
        after = page[-1].seq
    assert pages == [[f"j{i}" for i in range(s, min(s + 5, 12))] for s in (0, 5, 10)]
    back = ledger.entries(kind="judgement", newest_first=True, limit=5)
    assert [e.id for e in back] == ["j11", "j10", "j9", "j8", "j7"]
    assert ids(kind="judgement", newest_first=True, limit=2, after=back[-1].seq) == ["j6", "j5"]


@pytest.mark.parametrize(
    "filters",
    [
        {"kind": "proof"},
        {"kind": "proof", "task": "a"},
        {"judgement": "a"},
        {"judgement": "a", "decision": "b"},
    ],
)
@pytest.mark.parametrize("newest_first", [True, False])
def test_filters_are_answered_from_an_index_without_sorting(ledger, filters, newest_first):
    plan = plan_of(ledger, **filters, newest_first=newest_first)
    assert "USING INDEX" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("filters", [{"task": "a"}, {"decision": "DENY"}, {"kind": "judgement"}])
@pytest.mark.parametrize("newest_first", [True, False])
def test_what_is_common_is_met_in_order_and_not_sorted(ledger, filters, newest_first):
    assert "TEMP B-TREE" not in plan_of(ledger, **filters, newest_first=newest_first)


def plan_of(ledger, **given):
    seen = []
    with ledger._reading() as db:
        db.set_trace_callback(seen.append)
    ledger.entries(**given)
    with ledger._reading() as db:
        return " ".join(str(r[3]) for r in db.execute("EXPLAIN QUERY PLAN " + seen[-1]))


def test_what_speaks_of_a_judgement_is_found_by_that(ledger):
    for kind in ("correction", "stretch", "judgement"):
        assert "entries_judgement (<expr>=?" in plan_of(ledger, kind=kind, judgement="j")


@pytest.mark.parametrize(
    "bad", [{"limit": 0}, {"limit": -1}, {"limit": MAX_PAGE + 1}, {"after": -1}, {"after": 2**63}]
)
def test_pages_out_of_range_are_input_errors(ledger, bad):
    with pytest.raises(InputError):
        ledger.entries(**bad)


def test_what_is_not_there_is_none(ledger):
    assert ledger.get("nobody") is None
    assert ledger.content("sha256:none") is None
    assert ledger.head() == (0, GENESIS)
    assert ledger.append([]) == []
    with pytest.raises(InputError, match="surrogates"):
        ledger.get("\ud800")


def test_content_lies_apart_and_is_checked_when_read(ledger, path):
    sealed = ledger.seal({"state": "患者の名前", "n": 1.5})
    ledger.append([judgement(content=sealed.digest)], [sealed])
    ledger.append([correction("j", id="c")], [sealed])  # the same content again is the same row
    assert ledger.content(sealed.digest) == {"state": "患者の名前", "n": 1.5}
    with closing(sqlite3.connect(path)) as db:
        assert not any("患者" in row[0] for row in db.execute("SELECT body FROM entries"))
        db.execute("DROP TRIGGER contents_no_update")
        db.execute("UPDATE contents SET body = '{}'")
        db.commit()
    with pytest.raises(LedgerError, match="was altered"):
        ledger.content(sealed.digest)


def test_sealed_content_that_is_not_what_it_says_is_refused(ledger):
    with pytest.raises(LedgerError, match="does not have its digest"):
        ledger.append([judgement()], [Sealed("sha256:00", b"salt", "{}")])
    assert ledger.count() == 0


def test_a_taken_id_is_a_conflict_and_nothing_is_written(ledger):
    ledger.append([judgement("a")])
    sealed = ledger.seal("x")
    for taken in (
        [judgement("b"), judgement("a")],
        [judgement("c"), judgement("c")],
        [correction("j", id="a")],
    ):
        with pytest.raises(ConflictError, match="already in the ledger"):
            ledger.append(taken, [sealed])
    assert ledger.count() == 1
    assert ledger.content(sealed.digest) is None
    assert ledger.append([judgement("b")])[0].seq == 2


@pytest.fixture
def impatient(monkeypatch, path):
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    with Ledger.open(path) as opened:
        yield opened


def test_a_lock_that_stays_is_a_ledger_error_and_one_that_goes_is_waited_for(impatient, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked by another process") as caught:
            impatient.append([judgement()])
        assert caught.value.do
        assert impatient.count() == 0  # reading goes on
        other.execute("ROLLBACK")
    assert impatient.append([judgement()])[0].seq == 1


def limit_size(ledger, pages):
    (now,) = ledger._writer.execute("PRAGMA page_count").fetchone()
    ledger._writer.execute(f"PRAGMA max_page_count = {now + pages}")


def append_forever(ledger):
    while True:
        ledger.append([judgement() for _ in range(10)])


def test_a_full_disk_is_a_ledger_error_and_leaves_the_ledger_usable(ledger):
    limit_size(ledger, 20)
    with pytest.raises(LedgerError, match="no room to grow") as caught:
        append_forever(ledger)
    written = ledger.count()
    assert "Free space" in caught.value.do
    assert written > 0
    assert written % 10 == 0  # all or nothing
    assert ledger.verify().entries == written
    assert ledger.verify().ok
    limit_size(ledger, 1000)
    assert ledger.append([judgement()])[0].seq == written + 1


def test_a_read_only_ledger_reads_and_refuses_to_append(ledger, path):
    ledger.append([judgement("a")])
    with Ledger.open(path, read_only=True) as reader:
        assert reader.get("a") is not None
        ledger.append([judgement("b")])
        assert reader.count() == 2
        assert reader.verify().ok
        with pytest.raises(LedgerError, match="read-only"):
            reader.append([judgement()])


def test_a_ledger_in_a_folder_that_takes_no_file_is_verified(tmp_path, monkeypatch):
    folder = tmp_path / "medium"
    with Ledger.open(folder / "ledger.db") as made:
        made.append([policy("x") for _ in range(3)])
    before = {p: p.read_bytes() for p in folder.iterdir()}
    real = os.access
    monkeypatch.setattr(os, "access", lambda at, mode: at != folder and real(at, mode))
    with Ledger.open(folder / "ledger.db", read_only=True) as found:
        assert found.verify().ok
        assert found.count() == 3
    assert {p: p.read_bytes() for p in folder.iterdir()} == before, "as on read-only media, nothing was made"


def test_a_file_that_cannot_be_written_is_found_when_it_is_opened(path, monkeypatch):
    Ledger.open(path).close()
    real = os.access
    monkeypatch.setattr(os, "access", lambda at, mode: at != path and real(at, mode))
    with pytest.raises(LedgerError, match="may not be written"):
        Ledger.open(path)


def test_a_file_that_turned_read_only_is_a_ledger_error(ledger):
    ledger._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError, match="may not be written"):
        ledger.append([judgement()])


def test_a_failed_append_is_remembered_until_one_goes_well_or_for_a_while(ledger, monkeypatch):
    assert ledger.problem is None
    ledger._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError):
        ledger.append([judgement()])
    assert "may not be written" in ledger.problem
    monkeypatch.setattr("sekisho.ledger.store._REMEMBERED", 0.0)
    assert ledger.problem is None
    monkeypatch.undo()
    assert ledger.problem is not None
    ledger._writer.execute("PRAGMA query_only = OFF")
    ledger.append([judgement()])
    assert ledger.problem is None


def test_a_damaged_file_is_a_ledger_error(path):
    with Ledger.open(path) as ledger:
        ledger.append([judgement(f"j{i}") for i in range(200)])
    size = path.stat().st_size
    with path.open("r+b") as f:
        f.seek(4096)
        f.write(b"\xff" * (size - 4096))
    with Ledger.open(path) as ledger:
        for call in (ledger.entries, ledger.head, lambda: ledger.append([judgement()])):
            with pytest.raises(LedgerError, match=r"damaged|failed") as caught:
                call()
            assert caught.value.do
        assert not ledger.verify().ok


def test_a_closed_ledger_says_so(path):
    ledger = Ledger.open(path)
    ledger.close()
    ledger.close()
    for call in (ledger.head, ledger.verify, lambda: ledger.append([judgement()])):
        with pytest.raises(LedgerError, match="closed"):
            call()


def run_threads(*works):
    """Run each callable in its own thread; return results or errors in order."""
    results: list = [None] * len(works)

    def call(i):
        try:
            results[i] = works[i]()
        except SekishoError as e:
            results[i] = e

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(works))]
    for t in threads:
        t.start()
    return threads, results


def test_sixteen_threads_append_and_read(ledger):
    def work():
        mine = []
        for _ in range(15):
            mine += ledger.append([judgement(), proof()])
            assert ledger.get(mine[-1].id) == mine[-1]  # what was acknowledged can be read at once
        return mine

    threads, results = run_threads(*[work] * 16)
    for t in threads:
        t.join()
    entries = sorted((e for r in results for e in r), key=lambda e: e.seq)
    assert [e.seq for e in entries] == list(range(1, 16 * 30 + 1))
    assert entries == ledger.entries(limit=MAX_PAGE)
    assert all(
        a.seq + 1 == b.seq for r in results for a, b in zip(r[::2], r[1::2], strict=True)
    )  # a call stays together
    assert ledger.verify().ok


def waiting(ledger, path, works):
    """Hold the file's lock until every work but the leader's waits in the queue, then let them go; return results and commits."""
    statements = []
    ledger._writer.set_trace_callback(statements.append)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        leader, first = run_threads(lambda: ledger.append([judgement("leader")]))
        eventually(lambda: ledger._queue._leading)
        threads, results = run_threads(*works)
        eventually(lambda: len(ledger._queue._waiting) == len(works))
        other.execute("ROLLBACK")
    for t in leader + threads:
        t.join()
    ledger._writer.set_trace_callback(None)
    assert first[0][0].seq == 1
    return results, sum(s == "COMMIT" for s in statements)


def eventually(what):
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_those_who_wait_share_one_commit(ledger, path):
    results, commits = waiting(ledger, path, [lambda: ledger.append([judgement()])] * 12)
    assert commits == 2
    assert sorted(r[0].seq for r in results) == list(range(2, 14))
    assert ledger.verify().ok


def test_a_conflict_reaches_only_the_caller_it_concerns(ledger, path):
    works = [lambda i=i: ledger.append([judgement(f"w{i}")]) for i in range(5)]
    works += [lambda: ledger.append([judgement("fine"), judgement("leader")])]
    results, commits = waiting(ledger, path, works)
    assert commits == 2
    assert isinstance(results[-1], ConflictError)
    assert sorted(r[0].seq for r in results[:-1]) == [2, 3, 4, 5, 6]
    assert ledger.get("fine") is None


def test_a_record_too_big_for_the_disk_fails_alone(ledger, path):
    limit_size(ledger, 40)
    works = [lambda i=i: ledger.append([judgement(f"w{i}")]) for i in range(4)]
    works += [lambda: ledger.append([policy("x" * 1_000_000)])]
    results, _ = waiting(ledger, path, works)
    assert isinstance(results[-1], LedgerError)
    assert "no room" in results[-1].what
    assert sorted(r[0].seq for r in results[:-1]) == [2, 3, 4, 5]
    assert ledger.verify().ok


def test_work_inside_the_transaction_fails_alone_and_wholly(ledger, path):
    def bad(db, head):
        db.execute("DELETE FROM contents")
        raise LedgerError("changed my mind", "")

    kept = ledger.seal("kept")
    works = [lambda: ledger.append([judgement("with")], [kept]), lambda: ledger.act(bad)]
    works += [lambda: ledger.act(lambda db, head: [policy(f"after {head.seq}")])]
    results, commits = waiting(ledger, path, works)
    assert commits == 2
    assert isinstance(results[1], LedgerError)
    assert results[2][0].record.name == f"after {results[2][0].seq - 1}"
    assert ledger.content(kept.digest) == "kept"
    assert [e.seq for e in ledger.entries()] == [1, 2, 3]
    assert ledger.verify().ok


def test_work_needs_a_writer(ledger, path):
    ledger.append([judgement("a")])
    with Ledger.open(path, read_only=True) as reader, pytest.raises(LedgerError, match="read-only"):
        reader.act(lambda db, head: [judgement()])


def test_each_of_a_failed_batch_gets_its_own_error(impatient, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads, results = run_threads(*[lambda: impatient.append([judgement()])] * 6)
        for t in threads:
            t.join()
    assert all(type(r) is LedgerError and "locked" in r.what for r in results)
    assert len({id(r) for r in results}) == 6
    assert impatient.count() == 0


def test_an_interrupted_leader_fails_those_it_led_and_the_next_append_works(ledger, path, monkeypatch):
    real, calls = ledger._queue._commit, []

    def interrupted(batch):
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(batch)

    monkeypatch.setattr(ledger._queue, "_commit", interrupted)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    results, _ = waiting(ledger, path, [lambda: ledger.append([judgement()])] * 3)
    assert calls == [1, 3]
    assert sorted(type(r).__name__ for r in results) == ["LedgerError", "LedgerError", "NoneType"]
    assert ledger.append([judgement()])[0].seq == 2


def test_close_waits_for_what_was_accepted(path):
    ledger = Ledger.open(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads, results = run_threads(*[lambda: ledger.append([judgement()])] * 5)
        eventually(lambda: len(ledger._queue._waiting) == 4)
        closer = threading.Thread(target=ledger.close)
        closer.start()
        eventually(lambda: ledger._queue._closed)
        other.execute("ROLLBACK")
    for t in [*threads, closer]:
        t.join()
    with Ledger.open(path, read_only=True) as reader:
        assert sorted(r[0].seq for r in results) == [1, 2, 3, 4, 5]
        assert reader.count() == 5


def test_a_reader_left_in_a_transaction_never_shows_an_old_snapshot(ledger):
    with ledger._reading() as db:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM entries").fetchone()
    ledger.append([judgement()])
    assert ledger.count() == 1


def test_a_promotion_and_its_proof_go_together(ledger):
    p = proof("p")
    assert [e.kind for e in ledger.append([p, promotion("sha256:r", p.id)])] == ["proof", "promotion"]


def test_a_clock_that_went_back_is_a_ledger_error_and_nothing_is_written(ledger, monkeypatch):
    def at(time):
        monkeypatch.setattr(rows, "utc_now", lambda: time)
        now = judgement().model_copy(update={"at": time})
        return ledger.append([now])

    at("2026-11-21T12:00:00.000000Z")
    at("2026-11-21T11:56:00.000000Z")  # within the tolerance: machines correct their clocks
    with pytest.raises(LedgerError, match=r"says 2026-11-21T11:50.* is of 2026-11-21T11:56.*went back"):
        at("2026-11-21T11:50:00.000000Z")
    assert ledger.count() == 2
    assert "went back" in ledger.problem
    ledger.clock_tolerance = 3600.0
    at("2026-11-21T11:50:00.000000Z")
    ledger.append([judgement().model_copy(update={"at": "no time at all"})])
    ledger.append([judgement()])
    assert ledger.verify().ok
