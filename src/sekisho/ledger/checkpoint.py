"""Checkpoints: the ledger signs what it is, in itself and for a witness; and proofs against them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from sekisho.core.canonical import new_id, utc_now
from sekisho.core.errors import ConflictError, LedgerError, NotFoundError
from sekisho.core.records import Checkpoint

from . import rows, tree, witness
from .chain import Entry, Head
from .signing import Signer, Statement
from .store import Ledger


class Inclusion(NamedTuple):
    """That an entry stands in the ledger a checkpoint speaks of.

    Attributes:
        path: audit path of leaf `entry.seq - 1` in the tree of `checkpoint.size` leaves, from the leaf up.
    """

    entry: Entry
    checkpoint: Checkpoint
    path: list[bytes]


class Consistency(NamedTuple):
    """That the ledger of a later checkpoint begins with the whole ledger of an earlier one.

    Attributes:
        path: consistency path of RFC 6962 between the trees of `old.size` and `new.size` leaves.
    """

    old: Checkpoint
    new: Checkpoint
    path: list[bytes]


def take(ledger: Ledger, signer: Signer, witnessed: Path | None) -> Checkpoint:
    """Sign every entry there is, append the checkpoint right behind them, then write it to the witness.

    Raises:
        ConflictError: the ledger is empty.
        LedgerError: the witness saw another ledger (nothing is signed then), or could not be written.
    """
    if witnessed is not None:
        agree(ledger, witnessed)
    (entry,) = ledger.act(lambda db, head: [_signed(db, head, signer)])
    made = cast(Checkpoint, entry.record)
    if witnessed is not None:
        try:
            witness.append(witnessed, made, lambda low, high: _digests(ledger, low, high))
        except OSError as e:
            what = f"The checkpoint is in the ledger, but the witness {witnessed} cannot be written: {e}."
            raise LedgerError(what, "Check the path and its rights, then take another checkpoint.") from e
    return made


def _signed(db: sqlite3.Connection, head: Head, signer: Signer) -> Checkpoint:
    if head.seq == 0:
        raise ConflictError("The ledger is empty.", "There is nothing to sign yet.")
    said = Statement(head.seq, "sha256:" + tree.root(db, head.seq).hex(), head.digest, utc_now())
    return Checkpoint(
        id=new_id("chk"),
        at=said.at,
        size=said.size,
        root=said.root,
        head=said.head,
        key=signer.public,
        note=signer.sign(said),
    )


def tell(ledger: Ledger, made: Checkpoint, witnessed: Path) -> None:
    """Write a checkpoint to one more witness file. Errors as `witness.append`."""
    witness.append(witnessed, made, lambda low, high: _digests(ledger, low, high))


def agree(ledger: Ledger, path: Path) -> None:
    """Refuse to sign a ledger that is not the one the witness saw.

    Raises:
        LedgerError: it holds other entries, or fewer.
    """
    seen = witness.last(path)
    if seen is None:
        return
    with ledger.snapshot() as db:
        whole = rows.head(db).seq > seen.size
        agrees = whole and "sha256:" + tree.root(db, seen.size).hex() == seen.root
    if not agrees:
        what = "holds other entries than" if whole else "is shorter than"
        raise LedgerError(
            f"The ledger {what} the one that the witness {path} saw at {seen.at}.",
            "Keep both files, and run `sekisho audit verify`; nothing was signed.",
        )


def _digests(ledger: Ledger, low: int, high: int) -> Sequence[str]:
    with ledger.snapshot() as db:
        found = db.execute("SELECT digest FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq", (low, high))
        return [row[0] for row in found]


def newest(ledger: Ledger) -> Checkpoint | None:
    """Return the newest checkpoint; None when there is none."""
    page = ledger.entries(kind="checkpoint", limit=1, newest_first=True)
    return cast(Checkpoint, page[0].record) if page else None


def prove(ledger: Ledger, id: str) -> Inclusion:
    """Prove that a record stands in the ledger, against the newest checkpoint.

    Raises:
        NotFoundError: there is no such record.
        ConflictError: no checkpoint covers it yet.
    """
    entry = ledger.get(id)
    if entry is None:
        raise NotFoundError(f"The ledger has no record {id!r}.", "List records with `sekisho audit show`.")
    against = newest(ledger)
    if against is None or against.size < entry.seq:
        raise ConflictError(f"No checkpoint covers {id} yet.", "Run `sekisho audit checkpoint` first.")
    with ledger.snapshot() as db:
        return Inclusion(entry, against, tree.inclusion(db, entry.seq, against.size))


def prove_consistency(ledger: Ledger, old: str | None = None) -> Consistency:
    """Prove that the ledger of the newest checkpoint begins with that of an earlier one: nothing in it was changed, removed or put between.

    Args:
        old: id of the earlier checkpoint; the one before the newest when None.

    Raises:
        NotFoundError: there is no such checkpoint.
        ConflictError: there is none before the newest.
    """
    page = ledger.entries(kind="checkpoint", limit=2, newest_first=True)
    if old is not None:
        entry = ledger.get(old)
        if entry is None or entry.kind != "checkpoint":
            raise NotFoundError(
                f"There is no checkpoint {old!r}.", "List them with `sekisho audit show --kind checkpoint`."
            )
        page = [*page[:1], entry]
    if len(page) < 2:
        raise ConflictError("There are no two checkpoints yet.", "Run `sekisho audit checkpoint` first.")
    later, earlier = (cast(Checkpoint, e.record) for e in page)
    with ledger.snapshot() as db:
        return Consistency(earlier, later, tree.consistency(db, earlier.size, later.size))
