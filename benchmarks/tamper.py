"""Ten ways to tamper with a ledger, many random cases each: what the stand-alone verifier finds and names, and what a plain hash chain misses.

    python benchmarks/tamper.py [CASES A CLASS, 1000 by default] [--seed N]

The forger has every right on the machine of the ledger: the file, the program, the signing key. Out of reach is only the witness. A case
counts as found when the verifier rejects the file, and as located when it names the first entry that is not the old one (or, where no
entry was touched, the object or page that was). The plain chain, in the same run over the same files, recomputes every digest and link and
nothing more. Exit code 1 when a case is missed, or when an untouched ledger is rejected.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from sekisho.core.canonical import canonical_json, new_id, utc_now
from sekisho.core.records import Checkpoint, Correction, Hold, Judgement, Stamp
from sekisho.ledger import checkpoint, erasure, tree
from sekisho.ledger.chain import GENESIS, START, Draft, Head, draft, entry_digest, link
from sekisho.ledger.signing import Signer, Statement
from sekisho.ledger.store import Ledger

ROOT = Path(__file__).parents[1]
STAMP = Stamp(engine="fake", model="nano", model_digest="sha256:00")
COLUMNS = "kind, id, at, body, prev, digest"
FREE_LIST = "ree"
"""In every finding about the list of free pages, SQLite's own ("Freelist: …") among them."""
MEMORY = Path("/dev/shm")  # where there is one: nothing here is about the disk
LEDGERS = 4
"""Ledgers of different sizes; each case takes a copy of one."""


class Base(NamedTuple):
    """An untouched ledger and what lies beside it. `checkpoints` are the positions of checkpoint entries, in order."""

    ledger: Path
    witness: Path
    signer: Signer
    size: int
    checkpoints: tuple[int, ...]


class Expected(NamedTuple):
    """What must be named: the first entry that is not the old one, or else words."""

    seq: int | None = None
    words: str = ""


Mutation = Callable[[Path, Base, random.Random], Expected]


def build(folder: Path, chance: random.Random) -> Base:
    """A ledger with judgements, content, corrections, a hold, an erasure (so that there are free pages) and witnessed checkpoints."""
    folder.mkdir(parents=True)
    signer, witness = Signer.open(folder / "key.pem"), folder / "witness.jsonl"
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        for _ in range(chance.randint(3, 5)):
            _fill(ledger, chance, chance.randint(5, 14))
            checkpoint.take(ledger, signer, witness)
        first = ledger.entries(kind="judgement", limit=1)[0].id
        ledger.append([Hold(id=new_id("hld"), at=utc_now(), subject=first, active=True, reason="審査")])
        contents = {str(e.body["content"]) for e in ledger.entries(kind="judgement", after=1)}
        gone = chance.sample(sorted(contents), len(contents) // 2)
        erasure.erase(ledger, gone, "asked for", "the benchmark")
        checkpoint.take(ledger, signer, witness)
        marks = tuple(e.seq for e in ledger.entries(kind="checkpoint"))
        return Base(ledger.path, witness, signer, ledger.head().seq, marks)


def _fill(ledger: Ledger, chance: random.Random, size: int) -> None:
    for _ in range(size):
        sealed = ledger.seal({"state": "問い " + chance.randbytes(chance.choice([20, 200, 6000])).hex()})
        decision = chance.choice(["ALLOW", "ESCALATE", "DENY"])
        record = Judgement(
            id=new_id("jdg"),
            at=utc_now(),
            task="gate",
            type="choice",
            decision=decision,
            content=sealed.digest,
            stamp=STAMP,
        )
        ledger.append([record], [sealed])
        if chance.random() < 0.2:
            word = Correction(
                id=new_id("cor"),
                at=utc_now(),
                judgement=record.id,
                task="gate",
                was=decision,
                label="DENY",
                reason="見落とし",
                content=sealed.digest,
            )
            ledger.append([word])


# --- a forger's tools --------------------------------------------------------------------------------------------------------------------


@contextmanager
def forger(path: Path) -> Iterator[sqlite3.Connection]:
    """The file without its triggers; they are back afterwards, and the log is emptied, so that only the data betrays the visit."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        guards = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            db.execute(f"DROP TRIGGER {name}")
        db.execute("BEGIN")
        yield db
        db.execute("COMMIT")
        for _, sql in guards:
            db.execute(sql)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def drafts_of(db: sqlite3.Connection) -> list[Draft]:
    """Every record as it is stored."""
    return [Draft(*row) for row in db.execute("SELECT kind, id, at, body FROM entries ORDER BY seq")]


def relink(db: sqlite3.Connection, drafts: list[Draft]) -> None:
    """Store these records with fresh digests, links and tree."""
    db.execute("DELETE FROM entries")
    db.execute("DELETE FROM tree")
    for e, d in zip(link(drafts, START), drafts, strict=True):
        put(db, (e.seq, e.kind, e.id, e.at, d.text, e.prev, e.digest))
    tree.grow(db, 0, len(drafts))


def put(db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    db.execute(f"INSERT INTO entries (seq, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def changed(text: str, chance: random.Random) -> str:
    """The text with one character replaced by another."""
    at = chance.randrange(len(text))
    return text[:at] + chance.choice([c for c in "0123456789abcdef" if c != text[at]]) + text[at + 1 :]


def move(db: sqlite3.Connection, first: int, by: int) -> None:
    """Shift every entry from `first` on."""
    db.execute("UPDATE entries SET seq = -seq WHERE seq >= ?", (first,))
    db.execute("UPDATE entries SET seq = -seq + ? WHERE seq < 0", (by,))


# --- the ten classes -----------------------------------------------------------------------------------------------------------------------


def edit_content(path: Path, base: Base, chance: random.Random) -> Expected:
    """Text or salt of a kept content, or the record itself."""
    with forger(path) as db:
        if chance.random() < 0.5:
            seq = chance.randint(1, base.size)
            (body,) = db.execute("SELECT body FROM entries WHERE seq = ?", (seq,)).fetchone()
            while True:
                new = changed(body, chance)
                if _is_json(new):  # the file itself refuses anything else
                    break
            db.execute("UPDATE entries SET body = ? WHERE seq = ?", (new, seq))
            return Expected(seq)
        digest, body = chance.choice(db.execute("SELECT digest, body FROM contents").fetchall())
        if chance.random() < 0.3:
            db.execute("UPDATE contents SET salt = ? WHERE digest = ?", (chance.randbytes(16), digest))
        else:
            db.execute("UPDATE contents SET body = ? WHERE digest = ?", (changed(body, chance), digest))
        sql = "SELECT min(seq) FROM entries WHERE json_extract(body, '$.content') = ?"
        return Expected(db.execute(sql, (digest,)).fetchone()[0])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def edit_chain_field(path: Path, base: Base, chance: random.Random) -> Expected:
    """One character of kind, id, at, prev or digest."""
    seq, column = chance.randint(1, base.size), chance.choice(["kind", "id", "at", "prev", "digest"])
    with forger(path) as db:
        (old,) = db.execute(f"SELECT {column} FROM entries WHERE seq = ?", (seq,)).fetchone()
        db.execute(f"UPDATE entries SET {column} = ? WHERE seq = ?", (changed(old, chance), seq))
    return Expected(seq)


def swap(path: Path, base: Base, chance: random.Random) -> Expected:
    """Two entries change places, or only their bodies do."""
    a, b = sorted(chance.sample(range(1, base.size + 1), 2))
    with forger(path) as db:
        if chance.random() < 0.5:
            for old, new in ((a, -1), (b, a), (-1, b)):
                db.execute("UPDATE entries SET seq = ? WHERE seq = ?", (new, old))
        else:
            bodies = dict(db.execute("SELECT seq, body FROM entries WHERE seq IN (?, ?)", (a, b)).fetchall())
            db.execute("UPDATE entries SET body = ? WHERE seq = ?", (bodies[b], a))
            db.execute("UPDATE entries SET body = ? WHERE seq = ?", (bodies[a], b))
    return Expected(a)


def duplicate(path: Path, base: Base, chance: random.Random) -> Expected:
    """An entry stands twice: once more at some later place, the others moved up; sometimes linked anew."""
    seq, place = chance.randint(1, base.size), 0
    place = chance.randint(seq + 1, base.size + 1)
    with forger(path) as db:
        row = db.execute(f"SELECT {COLUMNS} FROM entries WHERE seq = ?", (seq,)).fetchone()
        if chance.random() < 0.5:
            move(db, place, 1)
            put(db, (place, row[0], new_id("jdg"), *row[2:]))
        else:
            drafts = drafts_of(db)
            again = {**json.loads(row[3]), "id": new_id("jdg")}
            drafts.insert(place - 1, Draft(row[0], again["id"], row[2], canonical_json(again).decode()))
            relink(db, drafts)
    return Expected(place)


def delete_middle(path: Path, base: Base, chance: random.Random) -> Expected:
    """Some entries in the middle are gone: with a gap, closed up, or linked anew."""
    first = chance.randint(1, base.size - 1)
    last = chance.randint(first, min(base.size - 1, first + 5))
    with forger(path) as db:
        how = chance.randrange(3)
        if how == 2:
            drafts = drafts_of(db)
            relink(db, drafts[: first - 1] + drafts[last:])
        else:
            db.execute("DELETE FROM entries WHERE seq BETWEEN ? AND ?", (first, last))
            if how:
                move(db, last + 1, first - last - 1)
    return Expected(first)


def truncate_tail(path: Path, base: Base, chance: random.Random) -> Expected:
    """The newest entries are gone; sometimes honest ones follow."""
    kept = chance.randint(0, base.size - 1)
    with forger(path) as db:
        db.execute("DELETE FROM entries WHERE seq > ?", (kept,))
        db.execute("DELETE FROM tree")
        tree.grow(db, 0, kept)
    if chance.random() < 0.4:
        with Ledger.open(path) as ledger:
            _fill(ledger, chance, chance.randint(1, 3))
    return Expected(kept + 1)


def rewrite(path: Path, base: Base, chance: random.Random) -> Expected:
    """History is changed and everything computed again: digests, links, tree, and every checkpoint signed with the stolen key."""
    with forger(path) as db:
        drafts = drafts_of(db)
        seq = chance.choice([i for i, d in enumerate(drafts, 1) if d.kind == "judgement"])
        old = json.loads(drafts[seq - 1].text)
        new = {
            **old,
            "decision": chance.choice([d for d in ("ALLOW", "ESCALATE", "DENY") if d != old["decision"]]),
        }
        drafts[seq - 1] = drafts[seq - 1]._replace(text=canonical_json(new).decode())
        for at in base.checkpoints:
            if at > seq:
                relink(db, drafts)
                drafts[at - 1] = draft(_signed(db, drafts[at - 1], at - 1, base.signer))
        relink(db, drafts)
    return Expected(seq)


def _signed(db: sqlite3.Connection, old: Draft, size: int, signer: Signer) -> Checkpoint:
    (head,) = db.execute("SELECT digest FROM entries WHERE seq = ?", (size,)).fetchone()
    said = Statement(size, "sha256:" + tree.root(db, size).hex(), head, old.at)
    return Checkpoint(
        id=old.id, at=old.at, size=size, root=said.root, head=head, key=signer.public, note=signer.sign(said)
    )


def change_schema(path: Path, base: Base, chance: random.Random) -> Expected:
    """A trigger, an index, a table or the file's marks."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        sql, words = chance.choice(
            [
                ("DROP TRIGGER entries_no_update", "trigger entries_no_update is missing"),
                ("DROP TRIGGER entries_no_delete", "trigger entries_no_delete is missing"),
                ("DROP TRIGGER entries_only_at_head", "trigger entries_only_at_head is missing"),
                ("DROP TRIGGER contents_no_update", "trigger contents_no_update is missing"),
                ("DROP INDEX entries_judgement", "index entries_judgement is missing"),
                (
                    "CREATE VIEW v{n} AS SELECT * FROM entries WHERE kind <> 'judgement'",
                    "view v{n} was added",
                ),
                ("CREATE TABLE t{n} (x)", "table t{n} was added"),
                ("CREATE INDEX i{n} ON entries (at)", "index i{n} was added"),
                (
                    "CREATE TRIGGER g{n} AFTER INSERT ON entries BEGIN DELETE FROM contents; END",
                    "trigger g{n} was added",
                ),
                (
                    "DROP TRIGGER entries_no_delete; CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries "
                    "WHEN OLD.seq <> {n} BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
                    "trigger entries_no_delete was changed",
                ),
                ("ALTER TABLE contents ADD COLUMN x{n} TEXT", "table contents was changed"),
                ("PRAGMA user_version = 1{n}", "version 1{n} of the file"),
                ("PRAGMA application_id = {n}", "application id"),
            ]
        )
        n = chance.randint(1, 999)
        db.executescript(sql.replace("{n}", str(n)))
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Expected(None, words.replace("{n}", str(n)))


def edit_free_page(path: Path, base: Base, chance: random.Random) -> Expected:
    """Some bytes of a page that SQLite does not use."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    free = list(_free_pages(data, size))
    trunk = int.from_bytes(data[32:36], "big")
    page = chance.choice(free)
    start = (page - 1) * size + chance.randrange(size - 8)
    length = chance.choice([1, 1, 2, 8])
    new = bytes(b ^ chance.randint(1, 255) for b in data[start : start + length])
    data[start : start + length] = new
    path.write_bytes(data)
    # An edit of the list itself may show at any page of it.
    return Expected(None, FREE_LIST if page == trunk else f"free page {page} holds")


def _free_pages(data: bytes, size: int) -> Iterator[int]:
    trunk = int.from_bytes(data[32:36], "big")
    while trunk:
        at = (trunk - 1) * size
        yield trunk
        count = int.from_bytes(data[at + 4 : at + 8], "big")
        for i in range(count):
            yield int.from_bytes(data[at + 8 + 4 * i : at + 12 + 4 * i], "big")
        trunk = int.from_bytes(data[at : at + 4], "big")


def replay_checkpoint(path: Path, base: Base, chance: random.Random) -> Expected:
    """An old checkpoint, truly signed, in the place of a newer one: alone, at the end, or with the ledger rolled back to it."""
    old, new = sorted(chance.sample(range(len(base.checkpoints)), 2))
    how = chance.randrange(3)
    with forger(path) as db:
        drafts = drafts_of(db)
        said = json.loads(drafts[base.checkpoints[old] - 1].text)
        at = base.checkpoints[new] if how == 0 else base.size + 1
        again = {**said, "id": new_id("chk")}
        played = Draft("checkpoint", again["id"], said["at"], canonical_json(again).decode())
        if how == 0:
            drafts[at - 1] = played
        elif how == 1:
            drafts.append(played)
        else:
            at = base.checkpoints[old] + 1
            drafts = drafts[: at - 1]
        relink(db, drafts)
    return Expected(at)


CLASSES: dict[str, Mutation] = {
    "edit content": edit_content,
    "edit chain field": edit_chain_field,
    "swap": swap,
    "duplicate": duplicate,
    "delete middle": delete_middle,
    "truncate tail": truncate_tail,
    "full rewrite, fresh hashes": rewrite,
    "schema or trigger change": change_schema,
    "free-page edit": edit_free_page,
    "checkpoint replay": replay_checkpoint,
}


# --- who looks ---------------------------------------------------------------------------------------------------------------------------


def verifier() -> ModuleType:
    """The stand-alone verifier, loaded from its one file."""
    spec = importlib.util.spec_from_file_location("verify_ledger", ROOT / "tools" / "verify_ledger.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def plain_chain_is_whole(path: Path) -> bool:
    """What a plain hash chain sees: every digest and every link, nothing else."""
    head = Head(0, GENESIS)
    with closing(sqlite3.connect(path)) as db:
        for seq, kind, id, at, body, prev, tag in db.execute(
            f"SELECT seq, {COLUMNS} FROM entries ORDER BY seq"
        ):
            if (seq, prev) != (head.seq + 1, head.digest) or entry_digest(
                seq, kind, id, at, body.encode(), prev
            ) != tag:
                return False
            head = Head(seq, tag)
    return True


class Tally(NamedTuple):
    """Of one class: cases, found, located, found by the plain chain, and the seeds of those missed."""

    cases: int
    found: int
    located: int
    plain: int
    missed: tuple[str, ...]


def run(cases: int, seed: int, folder: Path) -> dict[str, Tally]:
    """Run every class and count."""
    tool = verifier()
    bases = [build(folder / f"base{i}", random.Random(f"{seed} {i}")) for i in range(min(LEDGERS, cases))]
    for base in bases:
        found = tool.verify(base.ledger, base.witness, (base.signer.public,), None, True)
        if found.problems or not plain_chain_is_whole(base.ledger):
            raise SystemExit(f"an untouched ledger is rejected: {found.problems}")
    return {name: _tally(tool, name, bases, cases, seed, folder) for name in CLASSES}


def _tally(tool: ModuleType, name: str, bases: list[Base], cases: int, seed: int, folder: Path) -> Tally:
    found = located = plain = 0
    missed: list[str] = []
    for case in range(cases):
        chance, base = random.Random(f"{seed} {name} {case}"), bases[case % len(bases)]
        path = folder / "case.sqlite"
        _fresh_copy(base.ledger, path)
        expected = CLASSES[name](path, base, chance)
        result = tool.verify(path, base.witness, (base.signer.public,))
        hit = _is_located(result, expected)
        found, located = found + bool(result.problems), located + hit
        plain += not plain_chain_is_whole(path)
        if not hit:
            missed.append(f"case {case}: expected {expected}, got {result.problems[:2]}")
    return Tally(cases, found, located, plain, tuple(missed))


def _fresh_copy(source: Path, target: Path) -> None:
    for name in ("", "-wal", "-shm"):
        Path(f"{target}{name}").unlink(missing_ok=True)
    shutil.copyfile(source, target)


def _is_located(result: Any, expected: Expected) -> bool:
    if expected.seq is not None:
        return bool(result.first_bad == expected.seq)
    return any(expected.words in words for _, words in result.problems)


def main() -> int:
    """Run, print one row a class, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        tallies = run(given.cases, given.seed, Path(folder))
    table = Table("class", "cases", "found", "located", "found by a plain hash chain", "missed by it")
    for name, t in tallies.items():
        table.add_row(name, str(t.cases), str(t.found), str(t.located), str(t.plain), str(t.cases - t.plain))
    Console(width=120).print(table)
    missed = [f"{name}, {words}" for name, t in tallies.items() for words in t.missed]
    for words in missed[:20]:
        print(words, file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
