"""Evidence: signed checkpoints, proofs against them, and the ledger as a file others can check."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.records import Checkpoint
from ..ledger import checkpoint as ledger_checkpoint
from ..ledger.backup import back_up
from ..ledger.checkpoint import Inclusion
from ..ledger.export import export as export_ledger
from ..ledger.signing import Signer
from . import far_witness
from .parts import Parts

KEY = Path("keys") / "ledger.pem"
"""Where the signing key lies, under `home`."""


def checkpoint(parts: Parts) -> Checkpoint:
    """Sign everything in the ledger, append the checkpoint, and write it to the witness when one is set.

    Raises:
        ConflictError: the ledger is empty.
        LedgerError: a witness saw another ledger, cannot be written or reached, or others may read the key.
        SettingsError: the witness's address is not on the allow-list.
    """
    signer = Signer.open(parts.settings.home / KEY)
    with far_witness.fetched(parts.settings) as copy:
        if copy is not None:
            ledger_checkpoint.agree(parts.ledger, copy)
        made = ledger_checkpoint.take(parts.ledger, signer, parts.settings.witness)
        if copy is not None:
            known = len(copy.read_bytes())
            ledger_checkpoint.tell(parts.ledger, made, copy)
            far_witness.deliver(parts.settings, copy.read_bytes()[known:])
    return made


def prove_entry(parts: Parts, id: str, compact: bool = False) -> dict[str, Any]:
    """Prove that a record stands in the ledger that the newest checkpoint speaks of.

    Args:
        compact: only what a holder of the checkpoint needs, at most 1 KB for a million entries: the entry's place and digest, the size of
            the tree, and the path joined in base64, 32 bytes a step from the leaf up.

    Raises:
        NotFoundError: there is no such record.
        ConflictError: no checkpoint covers it yet.
    """
    proof = ledger_checkpoint.prove(parts.ledger, id)
    return compact_form(proof) if compact else whole_form(proof)


def prove_consistency(parts: Parts, old: str | None = None) -> dict[str, Any]:
    """Prove that the ledger of the newest checkpoint begins with that of an earlier one, by default the one before.

    Raises:
        NotFoundError: there is no such checkpoint.
        ConflictError: there are no two yet.
    """
    proof = ledger_checkpoint.prove_consistency(parts.ledger, old)
    path = [step.hex() for step in proof.path]
    return {"old": proof.old.model_dump(), "new": proof.new.model_dump(), "path": path}


def whole_form(proof: Inclusion) -> dict[str, Any]:
    """The entry as an exported line has it, the checkpoint, and the path in hex, from the leaf up."""
    fields = ("at", "body", "digest", "id", "kind", "prev", "seq")
    return {
        "entry": {name: getattr(proof.entry, name) for name in fields},
        "checkpoint": proof.checkpoint.model_dump(),
        "path": [step.hex() for step in proof.path],
    }


def compact_form(proof: Inclusion) -> dict[str, Any]:
    """What one who has the checkpoint needs beside it; see `prove_entry`."""
    path = base64.b64encode(b"".join(proof.path)).decode()
    place = {"seq": proof.entry.seq, "digest": proof.entry.digest}
    return {**place, "size": proof.checkpoint.size, "path": path}


def export(parts: Parts, path: Path) -> dict[str, Any]:
    """Write every entry to a new file of JSON lines. Raises InputError when it exists or lies where the house keeps its own files."""
    target = path.absolute()
    if target == parts.settings.witness:
        raise InputError(f"{path} is the witness.", "Name another file.")
    head = export_ledger(parts.ledger, target)
    return {"file": str(target), "entries": head.seq, "head": head.digest}


def backup(parts: Parts, path: Path) -> dict[str, Any]:
    """Copy the whole ledger, content too, to a new file, and audit the copy. Raises as `ledger.backup.back_up`."""
    target = path.absolute()
    head = back_up(parts.ledger, target)
    return {"file": str(target), "entries": head.seq, "head": head.digest}
