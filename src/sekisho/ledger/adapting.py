"""Read-only questions about adapters that come and go, answered from the ledger alone, also inside a writer's own transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import cast

from sekisho.core.adapting import Activation, Calibrated, Feedback
from sekisho.core.canonical import pair_key
from sekisho.core.records import Correction, Judgement, Proof

from . import rows
from .store import Ledger

_PAGE = 1000


def history(db: sqlite3.Connection, task: str, model: str) -> list[Activation]:
    """Every activation over a base, oldest first; the last one says what serves."""
    found = [cast(Activation, r) for r in _in(db, "activation", task)]
    return [a for a in found if a.model == model]


def proofs(db: sqlite3.Connection, task: str) -> list[Proof]:
    """Every proof of a task, passed or not, oldest first."""
    return [cast(Proof, r) for r in _in(db, "proof", task)]


def proofs_of(ledger: Ledger, task: str) -> list[Proof]:
    """As `proofs`, of a ledger."""
    with ledger.snapshot() as db:
        return proofs(db, task)


def calibrations(ledger: Ledger, task: str, model: str, adapter: str | None) -> list[Calibrated]:
    """Every calibration of a model under an adapter, oldest first; the last one is in force."""
    with ledger.snapshot() as db:
        return calibrations_in(db, task, model, adapter)


def calibrations_in(db: sqlite3.Connection, task: str, model: str, adapter: str | None) -> list[Calibrated]:
    """As `calibrations`, also of this very transaction."""
    found = [cast(Calibrated, r) for r in _in(db, "calibrated", task)]
    return [c for c in found if (c.model, c.adapter) == (model, adapter)]


_JUDGED = rows.field("judgement", "word")
_REVIEWS = f"""SELECT word.id, answer.id FROM entries AS word JOIN entries AS answer ON answer.id = {_JUDGED}
    WHERE word.kind = 'correction' AND word.kind <> 'judgement' AND {rows.field("task", "word")} = ?1 AND word.seq > ?3 AND answer.seq > ?3
    AND json_extract(answer.body, '$.stamp.adapter_digest') = ?2
    AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.kind <> 'judgement' AND {rows.field("judgement", "later")} = {_JUDGED}
        AND +later.kind = 'correction' AND later.seq > word.seq)
    ORDER BY word.seq DESC"""  # noqa: S608


def latest_reviews(
    ledger: Ledger, task: str, adapter: str, since: str, most: int
) -> list[tuple[Judgement, Correction]]:
    """The last answers of an adapter on which people spoke, each with the latest word on it, oldest word first. What was asked several times counts once.

    Args:
        since: id of the entry after which answers and words count.
    """
    found: dict[tuple[str, str], tuple[Judgement, Correction]] = {}
    with ledger.snapshot() as db:
        start = rows.get(db, since)
        for spoken, answered in db.execute(_REVIEWS, (task, adapter, start.seq if start else 0)):
            word, answer = rows.get(db, spoken), rows.get(db, answered)
            if word is not None and answer is not None:
                pair = (cast(Judgement, answer.record), cast(Correction, word.record))
                found.setdefault(_asked(db, pair[0]), pair)
            if len(found) == most:
                break
    return list(reversed(found.values()))


def _asked(db: sqlite3.Connection, answer: Judgement) -> tuple[str, str]:
    """The pair of an answer; an answer whose content was erased is like no other."""
    row = db.execute("SELECT body FROM contents WHERE digest = ?", (answer.content or "",)).fetchone()
    return (answer.id, "") if row is None else pair_key(json.loads(row[0]))


def rejected(ledger: Ledger) -> set[tuple[str, str]]:
    """Level and subject of every source and claim that is rejected now."""
    return {(f.level, f.subject) for f in latest_words(ledger) if f.action == "reject"}


def latest_words(ledger: Ledger) -> list[Feedback]:
    """The latest word on every source and claim, in the order in which they were first spoken of."""
    latest: dict[tuple[str, str], Feedback] = {}
    for feedback in _feedbacks(ledger):
        latest[feedback.level, feedback.subject] = feedback
    return list(latest.values())


def _feedbacks(ledger: Ledger) -> Iterator[Feedback]:
    after = 0
    while page := ledger.entries(kind="feedback", after=after, limit=_PAGE):
        yield from (cast(Feedback, e.record) for e in page)
        after = page[-1].seq


def _in(db: sqlite3.Connection, kind: str, task: str) -> Iterator[object]:
    where = f"WHERE {rows.of_kind(kind)} AND {rows.field('task')} = ? ORDER BY seq"
    for row in db.execute(rows.SELECT + where, (kind, task)):
        yield rows.entry(row).record
