"""Retain: content that is older than its class allows is erased, unless it is held; and the word of who asked for it."""

from __future__ import annotations

from typing import Any

from ..core.canonical import new_id, utc_now
from ..core.errors import InputError, NotFoundError
from ..core.records import Hold
from ..core.retention import retention_days
from ..ledger import erasure, views
from ..ledger.store import Ledger
from . import summarytrees
from .parts import Parts

_LONGEST = 4000


def retain(parts: Parts, by: str) -> dict[str, Any]:
    """Erase all content past its days, and the summaries made of it; what was decided about it stays in the chain.

    Raises:
        LedgerError: it could not be erased, or a reader kept the log, with erased text in it, from being emptied.
    """
    done = erasure.retain(parts.ledger, retention_days(parts.settings.retention), by)
    return _told(done, summarytrees.sweep(parts.ledger))


def erase(ledger: Ledger, id: str, reason: str, by: str) -> dict[str, Any]:
    """Erase the content of one record now, of every record that shares it, of the stream it let pass or closed, and summaries made of it.

    Raises:
        NotFoundError: there is no such record.
        ConflictError: it is under a legal hold.
        InputError: the reason is empty or too long.
    """
    _check(reason)
    entry = ledger.get(id)
    if entry is None:
        raise NotFoundError(f"The ledger has no record {id!r}.", "List records with `sekisho audit show`.")
    stream = views.stretches(ledger, entry) if entry.kind == "judgement" else []
    sealed = [e.body["content"] for e in (entry, *stream) if e.body.get("content")]
    done = erasure.erase(ledger, sealed, reason, by)
    return _told(done, summarytrees.sweep(ledger))


def hold(ledger: Ledger, id: str, active: bool, reason: str, by: str) -> Hold:
    """Put a record's content under a legal hold, or end the hold. `*` means all content.

    Raises:
        NotFoundError: there is no such record.
        InputError: the reason is empty or too long.
    """
    _check(reason)
    if id != erasure.EVERYTHING and ledger.get(id) is None:
        raise NotFoundError(f"The ledger has no record {id!r}.", "List records with `sekisho audit show`.")
    filed = Hold(id=new_id("hld"), at=utc_now(), subject=id, active=active, reason=reason, by=by)
    ledger.append([filed])
    return filed


def _told(done: erasure.Erased, summaries: int) -> dict[str, Any]:
    ids = [e.id for e in done.entries]
    told = {"erased": done.erased, "held": done.held, "kept": done.kept, "entries": ids}
    return told | {"summaries": summaries}


def _check(reason: str) -> None:
    if not reason.strip() or len(reason) > _LONGEST:
        raise InputError("The reason is empty or too long.", f"Give 1 to {_LONGEST} characters.")
