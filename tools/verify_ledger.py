"""Check a Sekisho ledger without Sekisho: this one file, Python 3.11 and the package `cryptography`.

    python verify_ledger.py ledger.sqlite --witness witness.jsonl --key ed25519:…
    python verify_ledger.py export.jsonl  --witness witness.jsonl
    python verify_ledger.py --proof proof.json --witness witness.jsonl
    python verify_ledger.py ledger.sqlite --proof proof.json --json
    python verify_ledger.py ledger.sqlite --note scanned.txt --key ed25519:…

Read only. Everything is computed again: each entry's digest and its link to the one before (SHA-256 over canonical JSON), the Merkle tree
over them (RFC 6962), every signed checkpoint (Ed25519 over a C2SP checkpoint note), and, in a live ledger, content against its salted
digest, erasures against what is gone, tables and triggers, SQLite's own structure, and that free pages are empty. A witness is what shows
a cut tail or a ledger written anew by somebody who holds the key. The first entry that is not right is named.

Exit code: 0 whole, 1 not whole, 2 the call was wrong.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import mmap
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

GENESIS = "sha256:" + "0" * 64
TAG = "sha256:"
DATED = 4
"""From this version of the file on, content bears the time of the first entry that names it."""
BLOCK = 256
"""Entries in one stored block of the tree; blocks of blocks are as wide."""
FIELDS = ("at", "body", "digest", "id", "kind", "prev", "seq")
APPLICATION_ID = 0x53454B49
# What SQLite makes by itself; a trigger that somebody gave such a name would fire all the same.
OF_SQLITE = """(type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')
    OR type = 'index' AND name GLOB 'sqlite_autoindex_*' AND sql IS NULL)"""

_V1 = {
    "index entries_decision": "21a5299974f485c3895fe13e588dbfe328150bc046c7e9c32d5b13adcc7696c3",
    "index entries_judgement": "b70c96de08656e33f955758eb1e5097cdda1b68f805e99178c6dba14fda7ae98",
    "index entries_kind": "20e263ebfbc608dcdd36a7f3487dcf761f6caaf5ce1ebac31f7889584a689711",
    "index entries_task": "3adf3e3c3841182929f2dacbbd3e8e1efd2c7eb144e559c18b61f4ad206e55e4",
    "index entries_task_decision": "33e11784fb728d0af087edf58de12c33e92af8e5533f362db7f733df1ff72319",
    "table entries": "759efd567d47baebdbcf9d4eaf77c9a097e5c51c367597839834b64a94bea73b",
    "trigger entries_no_delete": "1467c3fc98649f4df93369eb424aebf17cb826e24c7cdb43d297b251cfa5c06f",
    "trigger entries_no_update": "f62ec1a6885b36c610101d0f246c217e88e46a4ef797a4959f1e19cfd8ffe568",
    "trigger entries_only_at_head": "b232bed12c6c44598a6b0b87058f3782eefcaa29610a1a001d464e5743e39f4a",
}
_V2 = _V1 | {
    "table contents": "1b272a9699d9050a1a4dda106afd9e090abbd8d88fa7a69dd918bc8c834d03f7",
    "trigger contents_no_update": "a1feede946247bbf34e65c9fd2cd842e6f8c1418ca4d4bf4e323a01d6f20b09e",
}
_V3 = _V2 | {
    "table tree": "3efa485bb54fa0bcbeca1ba5acac305e189b77142f32ddca5f06dc20cdd03ec0",
}
_V5 = _V3 | {
    "index entries_judgement": "7fa00ebc7e888f0c18392750155c2a347ad5670a8dcb0d1dd9fb4cee0e5d5139",
}
_V6 = {n: digest for n, digest in _V5.items() if n != "index entries_task_decision"} | {
    "index entries_kind": "d58f59ac24d4f75558ac5d85e9d35cd0057ecbfdd88f1363f35a1cc91299eb18",
}
_V7 = {n: digest for n, digest in _V6.items() if n != "index entries_task"} | {
    "index entries_decision": "f5f92a350abb7fb0f627aa841ff48886a7273d1fc17450d1045da183de5c2ee9",
}
_V8 = {n: digest for n, digest in _V7.items() if n != "index entries_decision"} | {
    "index entries_judgement": "a94f2c870645d3717fd3bf367ce6ad6f8e816820c7f98db5b8f4c69a20d1b1fb",
    "table entries": "f7226ecdda558cfe2a4071841312d573a1db9d796af0f58171345920fceee5d2",
}
VERSIONS: Mapping[int, Mapping[str, str]] = {1: _V1, 2: _V2, 3: _V3, 4: _V3, 5: _V5, 6: _V6, 7: _V7, 8: _V8}
"""SHA-256 of the SQL of every table, index and trigger, by version of the file (`user_version`)."""


@dataclass
class Result:
    """What was found. Problems are (entry or None, words), in the order met; warnings are no reason to reject."""

    entries: int = 0
    head: str = GENESIS
    root: str = ""
    checkpoints: int = 0
    signed_to: int = 0
    witnessed_to: int = 0
    proved: str = ""
    """The record a proof that holds is about, and where it stands."""
    problems: list[tuple[int | None, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def first_bad(self) -> int | None:
        """The first entry that is not right; None when none is to blame."""
        return min((seq for seq, _ in self.problems if seq is not None), default=None)

    def blame(self, seq: int | None, words: str) -> None:
        """Add a problem."""
        self.problems.append((seq, words))


class UnreadableError(Exception):
    """An input is not what it should be: the call, not the ledger, is wrong."""


# --- the chain ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One entry as it was found: its own place, and the rest in bytes as stored; None for what is not there or no text."""

    seq: Any
    kind: bytes | None
    id: bytes | None
    at: bytes | None
    body: bytes | None
    prev: bytes | None
    digest: bytes | None
    form: str | None = None
    """What is wrong with the form it was found in, before anything else."""


def canonical(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def entry_digest(seq: int, kind: str, id: str, at: str, body: bytes, prev: str) -> str:
    """SHA-256 over the canonical JSON of the six fields, the body as the bytes it is stored in."""
    tail = canonical({"id": id, "kind": kind, "prev": prev, "seq": seq})
    text = canonical({"at": at})[:-1] + b',"body":' + body + b"," + tail[1:]
    return TAG + hashlib.sha256(text).hexdigest()


def row_fault(row: Row, seq: int, prev: str) -> tuple[str | None, Any]:
    """What is wrong with the row that should be entry `seq` after `prev`, and its body."""
    if row.form is not None:
        return row.form, None
    if row.seq != seq:
        return f"it is missing; the next one found is {row.seq}", None
    try:
        kind, id, at, linked, tag = (v.decode() for v in (row.kind, row.id, row.at, row.prev, row.digest))  # type: ignore[union-attr]
        if row.body is None:
            raise AttributeError
        row.body.decode()
    except (AttributeError, UnicodeDecodeError):
        return "a field is empty or not UTF-8", None
    if linked != prev:
        return "prev is not the digest of the entry before it", None
    if entry_digest(seq, kind, id, at, row.body, linked) != tag:
        return "its content does not have the stored digest", None
    return _body_fault(row.body, id, at)


def _body_fault(text: bytes, id: str, at: str) -> tuple[str | None, Any]:
    try:
        body = json.loads(text)
        if canonical(body) != text:
            return "its body is not canonical JSON", None
    except (ValueError, RecursionError):
        return "its body is not JSON", None
    if not isinstance(body, dict) or body.get("id") != id or body.get("at") != at:
        return "the id or at field differs from the body", None
    return None, body


# --- the tree ----------------------------------------------------------------------------------------------------------------------------


def leaf_hash(digest: str) -> bytes:
    """Leaf of an entry: its digest's text, hashed as a leaf."""
    return hashlib.sha256(b"\x00" + digest.encode()).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """Roots of the complete subtrees of a growing tree."""

    def __init__(self, leaves: list[bytes] | None = None) -> None:
        """Begin with these leaves."""
        self.size, self._roots = 0, list[bytes]()
        for leaf in leaves or []:
            self.add(leaf)

    def add(self, node: bytes) -> None:
        """Add a leaf hash."""
        full, self.size = self.size, self.size + 1
        while full & 1:
            node, full = node_hash(self._roots.pop(), node), full >> 1
        self._roots.append(node)

    def root(self) -> str:
        """The tagged root."""
        if not self._roots:
            return TAG + hashlib.sha256(b"").hexdigest()
        node = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            node = node_hash(left, node)
        return TAG + node.hex()


def root_of_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> str | None:
    """The root an inclusion path leads to (RFC 9162, 2.1.3.2); None when no tree of that size has such a path."""
    if not 0 <= index < size:
        return None
    place, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    return TAG + node.hex() if last == 0 else None


def is_consistent(old: int, size: int, old_root: str, root: str, path: list[bytes]) -> bool:
    """Whether a path proves that the larger tree begins with the smaller one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= size:
        return False
    if old == size:
        return not path and old_root == root
    steps = [bytes.fromhex(old_root.removeprefix(TAG)), *path] if old & (old - 1) == 0 else list(path)
    if not steps:
        return False
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and (TAG + first.hex(), TAG + second.hex()) == (old_root, root)


# --- checkpoints and witness -------------------------------------------------------------------------------------------------------------


def note_fault(said: Any, keys: set[str]) -> str | None:
    """What is wrong with a checkpoint in itself: its form, its key (any when `keys` is empty), its signature."""
    try:
        size, root, head, at, key, note = (said[k] for k in ("size", "root", "head", "at", "key", "note"))
        raw = base64.b64decode(key.removeprefix("ed25519:"), validate=True)
        origin = "sekisho/" + hashlib.sha256(raw).hexdigest()[:16]
        root_text = base64.b64encode(bytes.fromhex(root.removeprefix(TAG))).decode()
        text = f"{origin}\n{size}\n{root_text}\nhead {head}\nat {at}\n"
        signed = base64.b64decode(note[-93:-1], validate=True)
        key_hash = hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest()[:4]
        mark = base64.b64encode(signed).decode()
        if note != f"{text}\n\u2014 {origin} {mark}\n" or signed[:4] != key_hash:
            return "its note does not say what it says"
        Ed25519PublicKey.from_public_bytes(raw).verify(signed[4:], text.encode())
    except InvalidSignature:
        return "its signature does not hold"
    except (KeyError, TypeError, ValueError, AttributeError):
        return "it is no readable checkpoint"
    return None if not keys or key in keys else "it is signed with a key that is not the ledger's"


@dataclass(frozen=True)
class Seen:
    """One line of a witness: a checkpoint, and the digests since the line before, its own entry's the last."""

    said: Mapping[str, Any]
    digests: tuple[str, ...]

    @property
    def size(self) -> int:
        """Entries it signs. Its own entry stands right behind them."""
        return int(self.said["size"])


def read_witness(path: Path, keys: set[str]) -> list[Seen]:
    """Read a witness file; each line must be signed, and cover more than the one before."""
    found: list[Seen] = []
    # What stands behind the last line break is a line that a power failure cut; it was never acknowledged.
    for number, raw in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            held = json.loads(raw)
            said, joined = held["checkpoint"], base64.b64decode(held.get("digests", ""), validate=True)
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise UnreadableError(f"line {number} of {path} is no checkpoint ({e})") from e
        wrong = note_fault(said, keys)
        if wrong is None and found and said["size"] <= found[-1].size:
            wrong = "it covers no more than the line before"
        if wrong is not None:
            raise UnreadableError(f"line {number} of {path}: {wrong}")
        found.append(Seen(said, tuple(TAG + joined[i : i + 32].hex() for i in range(0, len(joined), 32))))
    return found


def read_note(path: Path, keys: set[str]) -> Seen:
    """Read a checkpoint's note by itself, as the QR code of a printed sheet holds it. The key must be given: a note only names it."""
    text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n") + "\n"
    if not keys:
        raise UnreadableError("a note needs the ledger's key (--key), which is printed beside it")
    try:
        _, size, root, head, at = text.split("\n")[:5]
        said = {
            "size": int(size),
            "root": TAG + base64.b64decode(root, validate=True).hex(),
            "head": head.removeprefix("head "),
            "at": at.removeprefix("at "),
            "note": text,
        }
    except ValueError as e:
        raise UnreadableError(f"{path} is no checkpoint's note ({e})") from e
    faults = [note_fault(said | {"key": key}, keys) for key in sorted(keys)]
    if None not in faults:
        raise UnreadableError(f"{path}: {faults[0]}")
    return Seen(said | {"key": sorted(keys)[faults.index(None)]}, ())


# --- the walk ----------------------------------------------------------------------------------------------------------------------------


class Walk:
    """From the first entry to the first that is not right."""

    def __init__(self, witness: list[Seen], keys: set[str]) -> None:
        """Compare with a witness, and accept these keys (when none is given: the first one met)."""
        self.result, self.tree = Result(), Tree()
        self.blocks: dict[tuple[int, int], bytes] = {}
        self.named: dict[str, tuple[int, str]] = {}
        """First entry that names each content, and that entry's time."""
        self.erased: dict[str, int] = {}
        self.roots: dict[int, str] = {}
        self._marks: dict[int, int] = {}
        self._repeated = ""
        self._open: list[list[bytes]] = [[]]
        self._witness, self._at, self._from = witness, 0, 1
        self._keys = set(keys)

    def take(self, row: Row) -> bool:
        """Take the next row; False when it is not right."""
        result = self.result
        seq = result.entries + 1
        wrong, body = row_fault(row, seq, result.head)
        if wrong is None and row.kind == b"checkpoint":
            wrong = self._checkpoint_fault(body, seq)
        if wrong is None:
            wrong = self._repetition(row, seq)
        if wrong is not None:
            result.blame(seq, wrong)
            return False
        digest = row.digest.decode()  # type: ignore[union-attr]
        self._grow(leaf_hash(digest))
        different = self._compare(seq, digest)
        if different is not None:
            result.blame(*different)
            return False
        result.entries, result.head = seq, digest
        self._note(row.kind, body, seq)
        return True

    def end(self) -> None:
        """After the last row: what the witness saw must all have been there."""
        result = self.result
        result.root = self.tree.root()
        result.warnings += [self._repeated] if self._repeated else []
        if not result.problems and self._at < len(self._witness):
            newest = self._witness[-1]
            words = f"it is missing: the witness saw {newest.size + 1} entries at {newest.said['at']}"
            result.blame(result.entries + 1, words)

    def _checkpoint_fault(self, said: Any, seq: int) -> str | None:
        wrong = note_fault(said, self._keys)
        if wrong is not None:
            return f"this checkpoint is not right: {wrong}"
        if said["size"] != seq - 1:
            return f"this checkpoint speaks of {said['size']} entries but {seq - 1} stand before it"
        if said["head"] != self.result.head or said["root"] != self.tree.root():
            return "this checkpoint speaks of another ledger"
        self._keys = self._keys or {said["key"]}
        self.result.checkpoints, self.result.signed_to = self.result.checkpoints + 1, seq - 1
        self.roots[seq - 1] = said["root"]
        return None

    def _repetition(self, row: Row, seq: int) -> str | None:
        """A record that equals an earlier one in all but its id, to the microsecond, is a copy.

        Up to the newest line of a witness nothing can be a later addition; behind it only this shows a copy. Without a witness it is a
        warning: who writes records without a time of their own makes such rows too.
        """
        own = canonical({"id": row.id.decode()})[1:-1]  # type: ignore[union-attr]
        mark = hash((row.kind, row.body.replace(own, b"", 1)))  # type: ignore[union-attr]
        first = self._marks.setdefault(mark, seq)
        if first == seq or self._at < len(self._witness):
            return None
        words = f"it repeats entry {first} under another id"
        if self._witness:
            return words
        self._repeated = self._repeated or f"entry {seq}: {words}"
        return None

    def _grow(self, node: bytes) -> None:
        self.tree.add(node)
        level = 0
        self._open[0].append(node)
        while len(self._open[level]) == BLOCK:
            whole = bytes.fromhex(Tree(self._open[level]).root().removeprefix(TAG))
            self._open[level] = []
            level += 1
            if level == len(self._open):
                self._open.append([])
            place = (self.tree.size - 1) // BLOCK**level
            self.blocks[level, place] = whole
            self._open[level].append(whole)

    def _compare(self, seq: int, digest: str) -> tuple[int, str] | None:
        """Compare with the witness. A line's digests end with its checkpoint's own entry, one behind what its root covers."""
        if self._at < len(self._witness):
            line, at = self._witness[self._at], seq - self._from
            if at < len(line.digests) and line.digests[at] != digest:
                return seq, "the witness saw another entry here"
            if seq == line.size + 1:
                self.result.witnessed_to, self._at, self._from = seq, self._at + 1, seq + 1
        line_here = self._at < len(self._witness) and self._witness[self._at].size == seq
        if line_here and self.tree.root() != self._witness[self._at].said["root"]:
            return min(self._from, seq), f"the witness saw other entries from here to {seq}"
        return None

    def _note(self, kind: bytes | None, body: Mapping[str, Any], seq: int) -> None:
        content = body.get("content")
        if kind in (b"judgement", b"correction", b"stretch") and isinstance(content, str):
            self.named.setdefault(content, (seq, str(body["at"])))
        if kind == b"erasure":
            self.erased.update(dict.fromkeys(body.get("digests", ()), seq))


def walk_rows(rows: Iterator[Row], walk: Walk) -> None:
    """Walk to the end or to the first bad entry."""
    try:
        for row in rows:
            if not walk.take(row):
                break
    except sqlite3.Error as e:
        walk.result.blame(walk.result.entries + 1, f"the file cannot be read here ({e})")
    walk.end()


# --- an exported ledger ------------------------------------------------------------------------------------------------------------------


def exported_rows(path: Path) -> Iterator[Row]:
    """The entries of an export."""
    with path.open("rb") as file:
        for line in file:
            yield _exported(line)


def _exported(line: bytes) -> Row:
    nothing = (None,) * 6
    try:
        held = json.loads(line)
        if not isinstance(held, dict) or tuple(sorted(held)) != FIELDS:
            return Row(None, *nothing, form="its line has other fields than an entry has")
        if canonical(held) + b"\n" != line:
            return Row(None, *nothing, form="its line is not canonical JSON")
        texts = {k: held[k].encode() for k in ("kind", "id", "at", "prev", "digest")}
    except (ValueError, AttributeError, RecursionError):
        return Row(None, *nothing, form="its line is no entry")
    return Row(seq=held["seq"], body=canonical(held["body"]), **texts)


# --- a live ledger -----------------------------------------------------------------------------------------------------------------------

_ROWS = """SELECT seq, CAST(kind AS BLOB), CAST(id AS BLOB), CAST(at AS BLOB), CAST(body AS BLOB), CAST(prev AS BLOB),
    CAST(digest AS BLOB) FROM entries ORDER BY seq"""


def check_live(path: Path, walk: Walk) -> None:
    """Walk a live ledger on one snapshot, then distrust the rest of the file."""
    with closing(_connect(path)) as db:
        try:
            db.execute("BEGIN")
            version = _versions(db, walk.result)
            walk_rows((Row(*r) for r in db.execute(_ROWS)), walk)
            _check_objects(db, version, walk.result)
            if version >= 2:
                _check_contents(db, walk, dated=version >= DATED)
            if version >= 3 and not walk.result.problems:
                _check_blocks(db, walk)
            _check_structure(db, walk.result)
        except sqlite3.Error as e:
            walk.result.blame(None, f"the file cannot be read ({e})")
    _check_free_pages(path, walk.result)


def _connect(path: Path) -> sqlite3.Connection:
    """Open for reading; from a medium where not even a reader may write, as a file that nobody changes."""
    uri = path.absolute().as_uri()
    try:
        db = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return db
    except sqlite3.OperationalError:
        if Path(f"{path}-wal").exists():
            raise UnreadableError(
                f"{path} cannot be opened for reading; copy it together with {path}-wal"
            ) from None
        return sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)


def _versions(db: sqlite3.Connection, result: Result) -> int:
    (mark,), (version,) = (db.execute(f"PRAGMA {p}").fetchone() for p in ("application_id", "user_version"))
    if mark != APPLICATION_ID:
        result.blame(None, f"the file's application id is {mark:#x}, not {APPLICATION_ID:#x}")
    return int(version)


def _check_objects(db: sqlite3.Connection, version: int, result: Result) -> None:
    wanted = VERSIONS.get(version)
    if wanted is None:
        result.blame(
            None, f"version {version} of the file is not known here ({', '.join(map(str, VERSIONS))} are)"
        )
        return
    sql = f"SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_master WHERE NOT {OF_SQLITE}"  # noqa: S608
    found = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in db.execute(sql)}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            how = "is missing" if name not in found else "was added" if name not in wanted else "was changed"
            result.blame(None, f"{name} {how}")


def _check_contents(db: sqlite3.Connection, walk: Walk, dated: bool) -> None:
    """Content must have its digest and its entry's time, be erased where an entry says so, and be gone only where one does."""
    left, broken = dict(walk.named), walk.result.first_bad is not None
    for digest, salt, body, at in db.execute("SELECT digest, salt, CAST(body AS BLOB), at FROM contents"):
        owner, time = left.pop(digest, (None, None))
        if TAG + hashlib.sha256(bytes(salt) + bytes(body)).hexdigest() != digest:
            walk.result.blame(owner, f"content {digest} was altered")
        if digest in walk.erased:
            said = walk.erased[digest]
            walk.result.blame(
                owner, f"content {digest} is there, though entry {said} says that it was erased"
            )
        if dated and owner is not None and at != time:
            walk.result.blame(owner, f"content {digest} was given another time than its entry's")
    # Behind an entry that is not right nothing was read, so an erasure there is not known.
    gone = [seq for digest, (seq, _) in left.items() if digest not in walk.erased]
    if gone and not broken:
        words = f"the content of {len(gone)} entries is gone and no entry says that it was erased"
        walk.result.blame(min(gone), words)


def _check_blocks(db: sqlite3.Connection, walk: Walk) -> None:
    stored = {
        (level, place): hash for level, place, hash in db.execute("SELECT level, place, hash FROM tree")
    }
    for key in sorted(walk.blocks.keys() | stored.keys()):
        if walk.blocks.get(key) != stored.get(key):
            walk.result.blame(
                None, f"block {key[1]} of level {key[0]} of the tree is not that of the entries"
            )


def _check_structure(db: sqlite3.Connection, result: Result) -> None:
    found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(5)")]
    for line in found if found != ["ok"] else []:
        result.blame(None, f"SQLite's check: {line}")


# --- free pages (SQLite file format, sections 1.3, 1.5 and 4.1) ----------------------------------------------------------------------------


class Pages:
    """A database file's pages as a reader sees them: from the write-ahead log where it has a committed copy."""

    def __init__(self, path: Path) -> None:
        """Read header and log."""
        with path.open("rb") as file:
            self._main = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size = int.from_bytes(self._main[16:18], "big")
        self.size = 65536 if size == 1 else size
        self._newer = self._log(Path(f"{path}-wal"))

    def __getitem__(self, number: int) -> bytes:
        """Page `number`, from 1."""
        newer = self._newer.get(number)
        return newer if newer is not None else self._main[(number - 1) * self.size : number * self.size]

    def __len__(self) -> int:
        """Pages of the file as its header says."""
        return int.from_bytes(self[1][28:32], "big")

    def surplus(self) -> int:
        """Bytes behind the last page; a file whose newest pages are still in the log may be shorter, or longer until it is cut."""
        return 0 if self._newer else len(self._main) - len(self) * self.size

    def _log(self, path: Path) -> dict[int, bytes]:
        log = path.read_bytes() if path.exists() else b""
        found: dict[int, bytes] = {}
        pending: dict[int, bytes] = {}
        step = 24 + self.size
        for at in range(32, len(log) - step + 1, step):
            head = log[at : at + 24]
            if head[8:16] != log[16:24]:
                break
            pending[int.from_bytes(head[:4], "big")] = log[at + 24 : at + step]
            if int.from_bytes(head[4:8], "big"):
                found, pending = found | pending, {}
        return found


def _check_free_pages(path: Path, result: Result) -> None:
    """Erasing fills pages with zeros before they are freed, so one that holds anything was written by somebody else."""
    found = set(_free_page_faults(Pages(path)))
    for _ in range(
        2
    ):  # this reads the file itself: what a writer's work in progress looked like is gone a moment later
        found = found & set(_free_page_faults(Pages(path))) if found else found
    for words in sorted(found):
        result.blame(None, words)


def _free_page_faults(pages: Pages) -> Iterator[str]:
    if pages.size < 512 or len(pages[1]) < 100:
        return
    if pages.surplus():
        yield f"{pages.surplus()} bytes stand behind the last page of the file"
    trunk, visited = int.from_bytes(pages[1][32:36], "big"), set[int]()
    while trunk and trunk not in visited:
        visited.add(trunk)
        page = pages[trunk]
        words = [int.from_bytes(page[i : i + 4], "big") for i in range(0, len(page), 4)]
        if len(words) < 2 or words[1] > len(words) - 2:
            yield f"the list of free pages is broken at page {trunk}"
            return
        if not _is_old_list(words[2 + words[1] :], len(pages)):
            yield f"free page {trunk} holds something"
        for number in words[2 : 2 + words[1]]:
            if any(pages[number]):
                yield f"free page {number} holds something"
        trunk = words[0]


def _is_old_list(words: list[int], pages: int) -> bool:
    """Behind the list of a trunk page stand numbers of pages that were once in it, without gaps, then zeros."""
    used = [w for w in words if w]
    return words[: len(used)] == used and all(w <= pages for w in used)


# --- proofs ------------------------------------------------------------------------------------------------------------------------------


def proof_fault(proof: Any, roots: Mapping[int, str], keys: set[str]) -> str | None:
    """What is wrong with a proof of inclusion, whole or compact, or of consistency; `roots` are trusted roots by size."""
    try:
        if "old" in proof:
            return _consistency_fault(proof, roots, keys)
        if "entry" in proof:
            return _whole_proof_fault(proof, roots, keys)
        joined = base64.b64decode(proof["path"], validate=True)
        path = [joined[i : i + 32] for i in range(0, len(joined), 32)]
        seq, digest, size = proof["seq"], proof["digest"], proof["size"]
        if size not in roots:
            return f"no checkpoint of {size} entries is at hand to hold it against"
        found = root_of_path(leaf_hash(digest), seq - 1, size, path)
    except (KeyError, TypeError, ValueError, AttributeError):
        return "it is no proof"
    return None if found == roots[size] else "its path does not lead to the checkpoint's root"


def _consistency_fault(proof: Any, roots: Mapping[int, str], keys: set[str]) -> str | None:
    old, new = proof["old"], proof["new"]
    for name, said in (("earlier", old), ("later", new)):
        wrong = note_fault(said, keys)
        if wrong is not None:
            return f"its {name} checkpoint: {wrong}"
        if roots.get(said["size"], said["root"]) != said["root"]:
            return f"its {name} checkpoint is not the one that is known for {said['size']} entries"
    if old["key"] != new["key"]:
        return "its checkpoints are signed with different keys"
    path = [bytes.fromhex(step) for step in proof["path"]]
    whole = is_consistent(old["size"], new["size"], old["root"], new["root"], path)
    return None if whole else "the later ledger does not begin with the earlier one"


def _whole_proof_fault(proof: Any, roots: Mapping[int, str], keys: set[str]) -> str | None:
    entry, said = proof["entry"], proof["checkpoint"]
    made = entry_digest(
        entry["seq"], entry["kind"], entry["id"], entry["at"], canonical(entry["body"]), entry["prev"]
    )
    if made != entry["digest"]:
        return "its entry does not have its digest"
    wrong = note_fault(said, keys)
    if wrong is not None:
        return f"its checkpoint: {wrong}"
    if roots.get(said["size"], said["root"]) != said["root"]:
        return f"its checkpoint is not the one that is known for {said['size']} entries"
    path = [bytes.fromhex(step) for step in proof["path"]]
    found = root_of_path(leaf_hash(made), entry["seq"] - 1, said["size"], path)
    return None if found == said["root"] else "its path does not lead to the checkpoint's root"


def _proved(proof: Mapping[str, Any]) -> str:
    """What a proof that holds is about, in words; a compact one knows its record's digest alone."""
    if "old" in proof:
        return f"the ledger of {proof['new']['size']} entries begins with that of {proof['old']['size']}"
    if "entry" not in proof:
        return f"entry {proof['seq']} of {proof['size']}, {proof['digest']}"
    entry = proof["entry"]
    where = f"entry {entry['seq']} of {proof['checkpoint']['size']}, {entry['digest']}"
    return f"{entry['kind']} {entry['id']} of {entry['at']}, {where}"


# --- the command -------------------------------------------------------------------------------------------------------------------------


def verify(
    ledger: Path | None,
    witness: Path | None = None,
    keys: tuple[str, ...] = (),
    proof: Path | None = None,
    strict: bool = False,
    note: Path | None = None,
) -> Result:
    """Check what is given, and return what was found. Raises UnreadableError when an input is not what it should be."""
    trusted = set(keys)
    seen = read_witness(witness, trusted) if witness is not None else []
    noted = read_note(note, trusted) if note is not None else None
    trusted = trusted or {str(line.said["key"]) for line in seen[:1]}
    walk = Walk(seen, trusted)
    if ledger is not None:
        _check_ledger(ledger, walk)
        if noted is not None:
            _check_note(walk, noted)
    if proof is not None:
        known = [*seen, noted] if noted else seen
        roots = {line.size: str(line.said["root"]) for line in known} | walk.roots
        given = _json_of(proof)
        wrong = proof_fault(given, roots, trusted)
        if wrong is not None:
            walk.result.blame(None, f"the proof does not hold: {wrong}")
        else:
            walk.result.proved = _proved(given)
    _warn(walk.result, ledger, witness or note, trusted)
    if strict:
        walk.result.problems += [(None, words) for words in walk.result.warnings]
    return walk.result


def _check_note(walk: Walk, noted: Seen) -> None:
    """Hold the ledger against a note: its own entry must be there, and sign the same."""
    result = walk.result
    if result.problems:
        return
    if result.entries <= noted.size:
        words = f"it is missing: the note saw {noted.size + 1} entries at {noted.said['at']}"
        result.blame(result.entries + 1, words)
    elif walk.roots.get(noted.size) != noted.said["root"]:
        result.blame(None, f"the note speaks of other entries up to {noted.size}")
    else:
        result.witnessed_to = max(result.witnessed_to, noted.size + 1)


def _check_ledger(path: Path, walk: Walk) -> None:
    with path.open("rb") as file:
        is_database = file.read(16) == b"SQLite format 3\x00"
    if is_database:
        check_live(path, walk)
    else:
        walk_rows(exported_rows(path), walk)


def _warn(result: Result, ledger: Path | None, witness: Path | None, keys: set[str]) -> None:
    if not keys:
        result.warnings.append(
            "no key was given (--key) and no witness: the checkpoints' own key was believed"
        )
    if ledger is not None and witness is None:
        result.warnings.append(
            "no witness was given (--witness): a cut tail or a ledger written anew would not show"
        )
    behind = result.entries - max(result.signed_to + 1, result.witnessed_to)
    if ledger is not None and behind > 0 and not result.problems:
        result.warnings.append(f"the last {behind} entries stand behind the newest checkpoint")


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as e:
        raise UnreadableError(f"{path} is not JSON: {e}") from e


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("ledger", type=Path, nargs="?", help="ledger.sqlite, or an export (.jsonl)")
    parser.add_argument("--witness", type=Path, help="the witness file")
    parser.add_argument(
        "--note", type=Path, help="a checkpoint's note, as the QR code of a printed sheet holds it"
    )
    parser.add_argument("--key", action="append", default=[], help="a public key that is trusted, ed25519:…")
    parser.add_argument("--proof", type=Path, help="a proof of inclusion or consistency")
    parser.add_argument("--strict", action="store_true", help="warnings are problems")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    if given.ledger is None and given.proof is None:
        parser.error("name a ledger, a proof, or both")
    try:
        result = verify(given.ledger, given.witness, tuple(given.key), given.proof, given.strict, given.note)
    except (UnreadableError, OSError) as e:
        print(f"verify_ledger: {e}", file=sys.stderr)
        return 2
    _print(result, given.json)
    return 1 if result.problems else 0


def _print(result: Result, as_json: bool) -> None:
    told: dict[str, Any] = {
        "ok": not result.problems,
        "entries": result.entries,
        "head": result.head,
        "root": result.root,
        "checkpoints": result.checkpoints,
        "signed_to": result.signed_to,
        "witnessed_to": result.witnessed_to,
        "first_bad": result.first_bad,
        "proved": result.proved or None,
        "problems": [{"entry": seq, "what": words} for seq, words in result.problems],
        "warnings": result.warnings,
    }
    if as_json:
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return
    print("WHOLE" if told["ok"] else "NOT WHOLE")
    if result.proved:
        print(f"{'proved':<13} {result.proved}")
    # Without a ledger nothing was counted.
    for name in (
        ("entries", "head", "root", "checkpoints", "signed_to", "witnessed_to") if result.root else ()
    ):
        print(f"{name:<13} {told[name]}")
    for seq, words in result.problems:
        print(f"problem       {f'entry {seq}: ' if seq is not None else ''}{words}")
    for words in result.warnings:
        print(f"warning       {words}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
