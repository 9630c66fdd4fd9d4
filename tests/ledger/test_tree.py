"""The blocks on disk against the tree in memory, however the entries came in."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from sekisho.core.errors import LedgerError
from sekisho.ledger import schema, tree
from sekisho.ledger.chain import GENESIS
from sekisho.ledger.merkle import EMPTY, Frontier, is_consistent, is_included, leaf_hash
from sekisho.ledger.store import Ledger

from .makers import forger, judgement, policy

WIDTH = 4


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    """Blocks of four instead of 256: three levels in a hundred entries."""
    monkeypatch.setattr(tree, "WIDTH", WIDTH)


def fill(ledger, sizes):
    for size in sizes:
        ledger.append([policy("x") for _ in range(size)])
    leaves = [leaf_hash(e.digest.encode()) for e in ledger.entries(limit=1000)]
    assert len(leaves) == sum(sizes)
    return leaves


def stored(ledger):
    with ledger._reading() as db:
        return db.execute("SELECT level, place, hash FROM tree ORDER BY level, place").fetchall()


def made(leaves):
    blocks = tree.Blocks()
    return sorted(tuple(b) for leaf in leaves for b in blocks.add(leaf))


@pytest.mark.parametrize("sizes", [[1] * 9, [3, 5, 1, 7], [70], [16, 48], [63, 1, 1], [4] * 5], ids=str)
def test_blocks_are_the_same_however_entries_came_in(ledger, sizes):
    leaves = fill(ledger, sizes)
    blocks = made(leaves)
    assert stored(ledger) == blocks
    assert len(blocks) == sum(len(leaves) // WIDTH**level for level in (1, 2, 3))
    for level, place, hash in blocks:
        width = WIDTH**level
        assert Frontier(leaves[place * width : (place + 1) * width]).root() == hash


def test_roots_and_proofs_read_from_disk_are_those_of_the_tree(ledger):
    leaves = fill(ledger, [5, 60, 6])
    with ledger._reading() as db:
        roots = [tree.root(db, n) for n in range(72)]
        assert roots == [Frontier(leaves[:n]).root() for n in range(72)]
        assert roots[0] == EMPTY
        for size in (1, 4, 5, 16, 17, 63, 64, 65, 71):
            for seq in range(1, size + 1):
                path = tree.inclusion(db, seq, size)
                assert is_included(leaves[seq - 1], seq - 1, size, path, roots[size])
                path = tree.consistency(db, seq, size)
                assert is_consistent(seq, size, roots[seq], roots[size], path)


def test_a_proof_reads_few_rows(ledger):
    fill(ledger, [257])
    seen = []
    with ledger._reading() as db:
        db.set_trace_callback(seen.append)
        assert len(tree.inclusion(db, 100, 257)) == 9
        db.set_trace_callback(None)
    assert len(seen) < 40
    leaves_read = sum("FROM entries" in s for s in seen)
    assert leaves_read <= 3  # one short range, or the lone leaf on the right


def test_processes_that_share_a_file_share_the_tree(ledger, path):
    with Ledger.open(path) as other:
        for i in range(20):
            (ledger, other)[i % 2].append([judgement(), judgement(), judgement()])
    assert stored(ledger) == made([leaf_hash(e.digest.encode()) for e in ledger.entries(limit=1000)])


def test_a_failed_append_leaves_no_block(ledger):
    ledger.append([judgement("a"), judgement(), judgement()])
    before = stored(ledger)
    with pytest.raises(Exception, match="already in the ledger"):
        ledger.append([judgement(), judgement("a")])
    assert stored(ledger) == before == []


def test_an_older_ledger_gets_its_blocks_when_it_is_opened(path, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        with closing(schema.connect(path, "rwc")) as db:
            schema.migrate(db)
            prev = GENESIS
            for seq in range(1, 10):
                row = (seq, "policy", f"p{seq}", "t", "{}", prev, f"sha256:{seq}")
                db.execute(
                    "INSERT INTO entries (seq, kind, id, at, body, prev, digest) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
                prev = row[-1]
    with Ledger.open(path) as ledger:
        assert ledger.count() == 9
        assert stored(ledger) == made([leaf_hash(f"sha256:{n}".encode()) for n in range(1, 10)])


def test_a_gap_does_not_end_recording_but_no_proof_is_invented(ledger, path):
    ledger.append([judgement() for _ in range(6)])
    with forger(path) as db:
        db.execute("DELETE FROM entries WHERE seq = 5")
    ledger.append([judgement() for _ in range(20)])
    assert ledger.head().seq == 26
    assert (1, 1) not in [row[:2] for row in stored(ledger)]
    with ledger._reading() as db, pytest.raises(LedgerError, match="missing"):
        tree.root(db, 26)
    with ledger._reading() as db, pytest.raises(LedgerError, match="not all there"):
        tree.inclusion(db, 6, 6)


def test_the_table_is_plain_data(ledger, path):
    fill(ledger, [4])
    with closing(sqlite3.connect(path)) as db:
        assert [len(h) for (h,) in db.execute("SELECT hash FROM tree")] == [32]
