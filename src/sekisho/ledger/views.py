"""Read-only questions about the present state, answered from the ledger alone: what serves, what was corrected, which policy is in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from sekisho.core.oversight import Certificate, Key
from sekisho.core.records import Contract, Correction, Policy, Promotion, Proof, Record

from .chain import Entry
from .store import MAX_PAGE, Ledger

_PAGE = 1000


def serving(ledger: Ledger) -> Promotion | None:
    """Return the latest promotion (a rollback is one too), which says what serves; None before the first."""
    return cast("Promotion | None", _latest(ledger, "promotion"))


def promotions(ledger: Ledger) -> list[Promotion]:
    """Return every promotion and rollback, oldest first."""
    return [cast(Promotion, e.record) for e in _all(ledger, "promotion")]


def active_policy(ledger: Ledger) -> Policy | None:
    """Return the policy in force: the latest one; None before the first."""
    return cast("Policy | None", _latest(ledger, "policy"))


def stretches(ledger: Ledger, judgement: Entry) -> list[Entry]:
    """Return the text that left in a stream, in order, for the gate's judgement that let it pass or the one that closed the stream."""
    gate = judgement.body["links"].get("gate", judgement.id)
    return ledger.entries(kind="stretch", judgement=gate, limit=MAX_PAGE)


def corrections_for(ledger: Ledger, task: str, superseded: bool = False) -> list[Correction]:
    """Return the corrections of a task in ledger order.

    By default only the last word on each judgement, so that training never sees a label that was itself corrected.

    Args:
        superseded: whether to return earlier words too.
    """
    found = [cast(Correction, e.record) for e in _all(ledger, "correction", task)]
    if superseded:
        return found
    last = {c.judgement: c.id for c in found}
    return [c for c in found if last[c.judgement] == c.id]


def certificate(ledger: Ledger, adapter: str) -> Certificate | None:
    """Return the newest certificate of an adapter; None when there is none."""
    found = None
    for entry in _all(ledger, "certificate"):
        record = cast(Certificate, entry.record)
        found = record if record.adapter == adapter else found
    return found


def correctors(ledger: Ledger) -> set[str]:
    """Return everybody who ever filed a correction, by name."""
    return {cast(Correction, e.record).by for e in _all(ledger, "correction")}


def keys(ledger: Ledger) -> dict[str, Key]:
    """Return every API key by its lasting name, as its latest record has it, in the order of making."""
    found: dict[str, Key] = {}
    for entry in _all(ledger, "key"):
        record = cast(Key, entry.record)
        found[record.key] = record
    return found


def proof(ledger: Ledger, id: str) -> Proof | None:
    """Return the proof with that id; None when there is none, or the id is another kind's."""
    entry = ledger.get(id)
    return cast(Proof, entry.record) if entry is not None and entry.kind == "proof" else None


def latest_proof(ledger: Ledger, candidate: str) -> Proof | None:
    """Return the latest proof of a candidate, passed or not; None when there is none."""
    found = [p for e in _all(ledger, "proof") if (p := cast(Proof, e.record)).candidate == candidate]
    return found[-1] if found else None


def _latest(ledger: Ledger, kind: str) -> Record | None:
    page = ledger.entries(kind=kind, limit=1, newest_first=True)
    return page[0].record if page else None


def _all(ledger: Ledger, kind: str, task: str | None = None) -> Iterator[Entry]:
    """Every entry of a kind, and of a task when it is given, page by page."""
    after = 0
    while page := ledger.entries(kind=kind, task=task, after=after, limit=_PAGE):
        yield from page
        after = page[-1].seq


def active_contracts(ledger: Ledger) -> dict[str, Contract]:
    """The identity contracts in force, by name: the latest version of each."""
    found: dict[str, Contract] = {}
    after = 0
    while page := ledger.entries(kind="contract", after=after, limit=500):
        for entry in page:
            record = entry.record
            assert isinstance(record, Contract)
            found[record.name] = record
        after = page[-1].seq
    return found


def newest_proof(ledger: Ledger, candidate: str | None = None) -> Proof | None:
    """The newest proof of a gate that passed, of one candidate when it is named; None when there is none."""
    after, found = 0, None
    while page := ledger.entries(kind="proof", after=after, limit=500):
        for entry in page:
            record = entry.record
            assert isinstance(record, Proof)
            if record.passed and record.task == "gate" and candidate in (None, record.candidate):
                found = record
        after = page[-1].seq
    return found
