"""Audit: is the ledger whole, and what is in it. Light on purpose: a clerk's laptop runs it without any model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, NotFoundError
from ..core.records import DECISIONS, KINDS
from ..ledger import views
from ..ledger.chain import Entry
from ..ledger.store import Ledger
from ..ledger.verify import Verification
from . import far_witness
from .parts import Parts


def verify(ledger: Ledger, witness: Path | None = None) -> Verification:
    """Recompute every digest and link of the ledger, and compare it with what a witness saw.

    Raises:
        LedgerError: the witness cannot be read.
    """
    found = ledger.verify(witness)
    if witness is None or witness.exists() or not ledger.count("checkpoint"):
        return found
    gone = f"the witness {witness} is not there; if it was never written, take a checkpoint"
    return replace(found, ok=False, problem="; ".join(filter(None, (found.problem, gone))))


def verify_all(parts: Parts) -> Verification:
    """Verify against every witness that is set, in a file and behind an address; the first that finds something is returned.

    Raises:
        LedgerError: a witness cannot be read or reached.
        SettingsError: the address is not on the allow-list.
    """
    found = verify(parts.ledger, parts.settings.witness)
    with far_witness.fetched(parts.settings) as copy:
        return found if copy is None or not found.ok else verify(parts.ledger, copy)


def witnesses(parts: Parts) -> str | None:
    """The witnesses that are set, in words; None without any."""
    return ", ".join(str(w) for w in (parts.settings.witness, parts.settings.witness_url) if w) or None


def show(
    ledger: Ledger,
    kind: str | None = None,
    task: str | None = None,
    decision: str | None = None,
    after: int = 0,
    limit: int = 20,
    id: str | None = None,
    newest_first: bool = True,
) -> list[dict[str, Any]]:
    """Return entries as plain values, newest first.

    Args:
        after: `seq` of the last entry of the page before; 0 for the first page.
        limit: most entries returned.
        id: one record; its kept content and the corrections filed on it come with it.

    Raises:
        NotFoundError: for an unknown id.
        InputError: for an unknown kind or decision, or a page outside the ledger's limits.
    """
    if id is not None:
        return [_whole(ledger, id)]
    _one_of("kind", kind, tuple(KINDS))
    if task == "gate":
        _one_of("decision", decision, DECISIONS)
    entries = ledger.entries(
        kind=kind, task=task, decision=decision, after=after, limit=limit, newest_first=newest_first
    )
    return [_plain(entry) for entry in entries]


def _one_of(name: str, given: str | None, valid: tuple[str, ...]) -> None:
    if given is not None and given not in valid:
        raise InputError(f"There is no {name} {given!r}.", f"Use one of: {', '.join(valid)}.")


def _whole(ledger: Ledger, id: str) -> dict[str, Any]:
    entry = ledger.get(id)
    if entry is None:
        raise NotFoundError(f"The ledger has no record {id!r}.", "List records with `sekisho audit show`.")
    sealed = entry.body.get("content")
    found = {**_plain(entry), "content": ledger.content(sealed) if sealed else None}
    if entry.kind == "judgement":
        found["corrections"] = [
            dict(e.body) for e in ledger.entries(kind="correction", judgement=id, limit=1000)
        ]
        found["stretches"] = stretches(ledger, entry)
    return found


def stretches(ledger: Ledger, judgement: Entry) -> list[dict[str, Any]]:
    """Return what left in a stream under a judgement, in order, as plain values; `kept` is the text, None when it was erased."""
    return [
        {"seq": e.seq, **e.body, "kept": ledger.content(e.body["content"])}
        for e in views.stretches(ledger, judgement)
    ]


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "kind": entry.kind,
        "id": entry.id,
        "at": entry.at,
        "record": dict(entry.body),
        "prev": entry.prev,
        "digest": entry.digest,
    }
