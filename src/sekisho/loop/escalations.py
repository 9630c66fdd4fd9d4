"""The escalation queue: what the gate handed to people, taken, decided, handed back, expired; each step an entry of the ledger."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import Any, cast

from .. import metrics
from ..core.access import Caller
from ..core.canonical import new_id, utc_after, utc_now
from ..core.errors import ConflictError, NotFoundError
from ..core.escalating import Standing, Step, check_step, standing
from ..core.oversight import Escalation
from ..core.records import Judgement
from ..ledger import rows, waiting
from ..ledger.chain import Head
from .parts import Parts

SWEEPER = "sekisho"
"""Who writes down that an escalation expired."""
_PAGE = 500
_SWEEP_SECONDS = 60.0
_log = logging.getLogger("sekisho.escalations")


def listed(
    parts: Parts, state: str | None = None, after: int = 0, limit: int = 100
) -> tuple[list[dict[str, Any]], int | None]:
    """Return a page of escalations nobody has decided on, oldest first, and the `after` of the next page, None at the end.

    Args:
        state: only those that are open, taken, or expired without its entry yet.
    """
    found: list[dict[str, Any]] = []
    while page := waiting.unfinished(parts.ledger, after, _PAGE):
        for entry, steps in page:
            after = entry.seq
            at = _standing(parts, entry.at, steps)
            if state in (None, at.state):
                found.append({"seq": entry.seq, **_told(cast(Judgement, entry.record)), **at.json()})
            if len(found) == limit:
                return found, after
    return found, None


def show(parts: Parts, judgement: str, caller: Caller | None = None) -> dict[str, Any]:
    """Return where one escalation stands, its steps and, for who may read judgements, what was asked.

    Args:
        caller: who wants to know; one who may only ask sees what was asked with the same key. None sees everything.

    Raises:
        NotFoundError: there is no such escalation, or it is not this caller's to see.
    """
    with parts.ledger.snapshot() as db:
        record, steps = _found(db, judgement)
    reader = caller is None or caller.may(("audit", "correct"))
    if not reader and caller is not None and caller.key != record.links.get("key"):
        raise _unknown(judgement)
    told = {**_told(record), **_standing(parts, record.at, steps).json()}
    if not reader:
        return told
    kept = parts.ledger.content(record.content) if record.content else None
    return {**told, "steps": [s.model_dump(mode="json") for s in steps], "kept": kept}


def take(parts: Parts, judgement: str, by: str) -> Escalation:
    """Take an open escalation; nobody else may decide on it until the lease is over. Raises as `_step`."""
    until = utc_after(utc_now(), parts.settings.escalation_lease_minutes * 60)
    return _step(parts, judgement, "take", by, until=until)


def decide(
    parts: Parts, judgement: str, outcome: str, reason: str, by: str, key: str | None = None
) -> Escalation:
    """Decide on an escalation one has taken. Final.

    Args:
        key: the API key it is decided with; where duties are separate, not the one it was asked with.
    """
    return _step(parts, judgement, "decide", by, reason, outcome, key)


def hand_back(parts: Parts, judgement: str, reason: str, by: str) -> Escalation:
    """Give an escalation one has taken back to the others."""
    return _step(parts, judgement, "hand_back", by, reason)


def expire(parts: Parts) -> list[str]:
    """Write down which escalations expired; return their judgements."""
    done: list[str] = []
    after = 0
    while page := waiting.unfinished(parts.ledger, after, _PAGE):
        after = page[-1][0].seq
        late = [e.id for e, steps in page if _standing(parts, e.at, steps).state == "expired"]
        if late:
            entries = parts.ledger.act(lambda db, _, late=late: _expired(parts, db, late))  # type: ignore[misc]
            metrics.ESCALATIONS.labels("expire").inc(len(entries))
            done += [str(e.body["judgement"]) for e in entries]
    return done


def _expired(parts: Parts, db: sqlite3.Connection, late: list[str]) -> list[Escalation]:
    """One entry for each that is still without an end: another process may have been quicker."""
    found = []
    for judgement in late:
        record, steps = _found(db, judgement)
        over = steps and steps[-1].step in ("decide", "expire")
        if not over and _standing(parts, record.at, steps).state == "expired":
            now = utc_now()
            found.append(Escalation(id=new_id("esc"), at=now, judgement=judgement, step="expire", by=SWEEPER))
    return found


async def sweep(parts: Parts) -> None:
    """Write down once a minute what expired, until cancelled."""
    while True:
        try:
            await asyncio.to_thread(expire, parts)
        except Exception as e:  # the sweep must outlive a full disk, and whatever a strange entry does to it
            _log.warning("expired escalations could not be written down: %s", e)
        await asyncio.sleep(_SWEEP_SECONDS)


def _step(
    parts: Parts,
    judgement: str,
    step: Step,
    by: str,
    reason: str = "",
    outcome: str | None = None,
    key: str | None = None,
    until: str | None = None,
) -> Escalation:
    """Append a step, decided upon inside the writer's transaction, so that of two people who take at once one gets it.

    Raises:
        NotFoundError: there is no such escalation.
        ConflictError, InputError: as `check_step`; or the decider asked for it, where duties are separate.
    """

    def work(db: sqlite3.Connection, _: Head) -> list[Escalation]:
        record, steps = _found(db, judgement)
        check_step(_standing(parts, record.at, steps), step, by, reason, outcome)
        _check_duties(parts, record, key)
        fields = {"step": step, "by": by, "reason": reason, "outcome": outcome, "until": until}
        return [Escalation(id=new_id("esc"), at=utc_now(), judgement=judgement, **fields)]

    (entry,) = parts.ledger.act(work)
    metrics.ESCALATIONS.labels(step).inc()
    return cast(Escalation, entry.record)


def _check_duties(parts: Parts, record: Judgement, key: str | None) -> None:
    asker = record.links.get("key")
    if parts.settings.separate_duties == "on" and key is not None and key == asker:
        raise ConflictError("Duties are separate, and this key asked for it.", "Let somebody else decide.")


def _found(db: sqlite3.Connection, judgement: str) -> tuple[Judgement, list[Escalation]]:
    entry = rows.get(db, judgement)
    record = entry.record if entry is not None and entry.kind == "judgement" else None
    if not isinstance(record, Judgement) or record.task != "gate" or record.decision != "ESCALATE":
        raise _unknown(judgement)
    return record, [cast(Escalation, e.record) for e in rows.about(db, "escalation", judgement)]


def _unknown(judgement: str) -> NotFoundError:
    return NotFoundError(
        f"There is no escalation {judgement!r}.", "List them with `sekisho escalations list`."
    )


def _standing(parts: Parts, asked: str, steps: list[Escalation]) -> Standing:
    return standing(asked, steps, utc_now(), parts.settings.escalation_hours)


def _told(record: Judgement) -> dict[str, Any]:
    return {
        "judgement": record.id,
        "at": record.at,
        "target": record.escalation_target,
        "policy_ref": record.policy_ref,
        "reasons": list(record.reasons),
    }
