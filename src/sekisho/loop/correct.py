"""Correct: a person's word on a judgement, written down beside the machine's original answer."""

from __future__ import annotations

from .. import metrics
from ..core.canonical import new_id, utc_now
from ..core.errors import InputError, NotFoundError
from ..core.records import Correction, Judgement
from ..ledger.store import Ledger
from ..tasks import gate

_LONGEST = 4000


def correct(ledger: Ledger, judgement: str, label: str, reason: str, by: str = "unknown") -> Correction:
    """File a correction, or "reviewed and right" when `label` is the machine's own answer. Raises as `correction_of`."""
    filed = correction_of(ledger, judgement, label, reason, by)
    ledger.append([filed])
    metrics.CORRECTIONS.labels(filed.task).inc()
    return filed


def correction_of(ledger: Ledger, judgement: str, label: str, reason: str, by: str) -> Correction:
    """The record of a correction, not yet filed. Of several on one judgement each is a record; `was` stays the machine's original answer.

    Raises:
        NotFoundError: for an unknown judgement.
        InputError: for a label the question did not offer, a judgement without options, or a reason that is empty or too long.
    """
    entry = ledger.get(judgement)
    if entry is None or entry.kind != "judgement":
        raise NotFoundError(f"There is no judgement {judgement!r}.", "List them with `sekisho audit show`.")
    record = entry.record
    assert isinstance(record, Judgement)
    _check(record, label, reason, by)
    return Correction(
        id=new_id("cor"),
        at=utc_now(),
        judgement=judgement,
        task=record.task,
        was=_said(record, label),
        label=label,
        reason=reason,
        by=by,
        content=record.content,
    )


def _said(record: Judgement, label: str) -> str | None:
    """The machine's original answer; of a rubric, its answer to the criterion that is corrected."""
    if record.task == "gate":
        return record.decision
    if record.task == "rubric":
        criterion = label.partition(":")[0]
        return f"{criterion}:{'yes' if criterion in record.reasons else 'no'}"
    return record.answer


def _labels(record: Judgement) -> list[str]:
    if record.task == "gate":
        return sorted(gate.KEYS)
    if record.task == "rubric":
        return [f"{id}:{answer}" for id in sorted(record.probabilities) for answer in ("yes", "no")]
    return sorted(record.probabilities)


def _check(record: Judgement, label: str, reason: str, by: str) -> None:
    valid = _labels(record)
    if not valid:
        raise InputError(
            f"Judgement {record.id} is free text and has no options.", "Correct its gate judgement."
        )
    if label not in valid:
        raise InputError(
            f"{label!r} is not an option.", f"Use one of: {', '.join(valid)}.", ("body", "label")
        )
    if not reason.strip() or len(reason) > _LONGEST:
        raise InputError(
            "The reason is empty or too long.", f"Give 1 to {_LONGEST} characters.", ("body", "reason")
        )
    if not by.strip() or len(by) > 200:
        raise InputError("The name is empty or too long.", "Give 1 to 200 characters.", ("body", "by"))
