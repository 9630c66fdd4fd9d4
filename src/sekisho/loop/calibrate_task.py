"""Calibrate a task from the ledger: reviewed answers in, measures out; for the NLI service also versions, put in force, compared and taken back."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from ..core.adapting import Calibrated
from ..core.canonical import digest_json, digest_text, model_digest, new_id, pair_key, utc_now
from ..core.errors import ConflictError, NotFoundError, ProofError
from ..core.records import Judgement
from ..ledger import adapting, views
from ..ledger.chain import Head
from ..tasks.adapting import active
from .adapters import history, nli_folder
from .parts import Parts
from .reviewed import TASK, subjects

Target = tuple[str, str | None]
"""Digests of a model and of the adapter over it; None is the base alone."""

LEAST = 20
"""Fewest reviewed answers that anything is fitted on."""
_FLOOR = 1e-12
_FLATTEST = 0.05
"""Least slope of a Platt fit that is put into force: what scaling by a temperature of 20, the highest that is tried, comes to."""
_TOLD = ("n", "accuracy", "nll", "ece15", "ece15_equal_mass", "smooth_ece", "brier")


def measure(parts: Parts, task: str, target: Target | None = None) -> dict[str, Any]:
    """Measure and fit a task's reviewed answers: half of them, by their ids, are fitted on, the other half measured.

    Of `nli`, only answers of the model and adapter in force count, or of `target`, each pair once, and none that was erased or whose source or claim was rejected. Of questions with different options, those of the commonest options count.

    Raises:
        ProofError: too few were reviewed.
    """
    import numpy as np

    from ..proof.sureness import calibrated

    rows = _rows(parts, task, target)
    if len(rows) < LEAST:
        raise ProofError(
            f"{len(rows)} reviewed answers are too few; {LEAST} are needed.", "Review more answers."
        )
    keys = sorted(rows[0][1])
    logits = np.log(np.maximum([[raw[k] for k in keys] for _, raw, _ in rows], _FLOOR))
    labels = np.asarray([keys.index(label) for _, _, label in rows])
    found = calibrated(logits, labels, len(rows) // 2)
    return {"task": task, "keys": keys, "data": digest_json([[i, label] for i, _, label in rows]), **found}


def _rows(parts: Parts, task: str, target: Target | None) -> list[tuple[str, Mapping[str, float], str]]:
    """Judgement, raw probabilities and right label of each reviewed answer, in an order that no one chose."""
    wanted = (target or _target(parts)) if task == TASK else None
    out = adapting.rejected(parts.ledger) if task == TASK else set()
    asked: dict[tuple[str, str], int] = {}
    found: list[tuple[str, Mapping[str, float], str]] = []
    for word in views.corrections_for(parts.ledger, task):
        entry = parts.ledger.get(word.judgement)
        record = entry.record if entry is not None else None
        if not isinstance(record, Judgement) or word.label not in record.raw:
            continue
        if wanted is not None:
            if (record.stamp.model_digest, record.stamp.adapter_digest) != wanted:
                continue
            content = parts.ledger.content(word.content) if word.content else None
            if content is None or out & subjects(content):
                continue
            asked[pair_key(content)] = len(found)
        found.append((record.id, record.raw, word.label))
    if wanted is not None:  # a pair asked several times counts once, or it would be fitted and measured on
        found = [found[i] for i in asked.values()]
    if not found:
        return []
    (common, _), *_ = Counter(tuple(sorted(raw)) for _, raw, _ in found).most_common(1)
    kept = [row for row in found if tuple(sorted(row[1])) == common]
    return sorted(kept, key=lambda row: digest_text(row[0]))


def _target(parts: Parts) -> Target:
    """Digests of the model and the adapter in force."""
    model = model_digest(nli_folder(parts))
    return model, active(history(parts, model))


def apply(parts: Parts, method: Literal["temperature", "platt"], by: str) -> Calibrated:
    """Fit a version for the NLI answers in force and put it into force. A running server takes it up by itself.

    Raises:
        ProofError: too few were reviewed, the version would make the log-likelihood of the other half worse, or the fit is at its bound: a temperature beyond those that are tried, a Platt slope as flat.
        ConflictError: another adapter came to serve meanwhile.
    """
    target = _target(parts)
    found = measure(parts, TASK, target)
    if found["at_bound"] if method == "temperature" else found["platt"]["a"] < _FLATTEST:
        raise ProofError(
            "These answers say too little about how sure the model may be: the best temperature lies beyond those that are tried, or by Platt's fit it is never the surer the likelier it is right.",
            "Review answers as they come, right ones too.",
        )
    after = found[f"{method}_after"]
    if after["nll"] > found["before"]["nll"]:
        raise ProofError(
            f"On the other half it makes the log-likelihood worse: {after['nll']:.4f}, {found['before']['nll']:.4f} without.",
            "Review more answers, or leave it as it is.",
        )
    told = {
        f"{name}_{when}": float(m[name])
        for when, m in (("before", found["before"]), ("after", after))
        for name in _TOLD
    }
    return _write(
        parts,
        Calibrated(
            id=new_id("clb"),
            at=utc_now(),
            task=TASK,
            version=new_id("cal"),
            model=target[0],
            adapter=target[1],
            method=method,
            temperature=found["temperature"] if method == "temperature" else 1.0,
            a=found["platt"]["a"] if method == "platt" else 1.0,
            b=found["platt"]["b"] if method == "platt" else 0.0,
            rows=found["fitted_on"],
            data=found["data"],
            measures=told,
            by=by,
        ),
    )


def versions(parts: Parts) -> list[Calibrated]:
    """Every calibration of the NLI answers in force, oldest first; the last one is in force."""
    return adapting.calibrations(parts.ledger, TASK, *_target(parts))


def rollback(parts: Parts, by: str) -> Calibrated:
    """Put the version before into force again; before the first there was none, which is a version too.

    Raises:
        ConflictError: none is in force.
    """
    target = _target(parts)
    fields = earlier(adapting.calibrations(parts.ledger, TASK, *target))
    record = Calibrated(
        id=new_id("clb"),
        at=utc_now(),
        task=TASK,
        model=target[0],
        adapter=target[1],
        rollback=True,
        by=by,
        **fields,
    )
    return _write(parts, record)


def earlier(past: Sequence[Calibrated]) -> dict[str, Any]:
    """What a rollback brings back: the fields of the version that was in force when the present one first came, or none.

    Args:
        past: every calibration of one target, oldest first.

    Raises:
        ConflictError: none is in force.
    """
    if not past or past[-1].method == "none":
        raise ConflictError("No calibration is in force.", "Nothing to do.")
    before = next(c.previous for c in past if c.version == past[-1].version)
    if before is None:
        return {"version": "uncalibrated", "method": "none"}
    same = next((c for c in past if c.version == before), None)
    if same is None:
        raise NotFoundError(f"There is no version {before}.", "See `sekisho calibrate --versions`.")
    whose = {"task", "model", "adapter", "pack"}
    return same.model_dump(exclude={"id", "at", "by", "previous", "rollback", *whose})


def _write(parts: Parts, record: Calibrated) -> Calibrated:
    """Write a version with the one it takes the place of, if what it is for still serves."""

    def work(db: sqlite3.Connection, head: Head) -> list[Any]:
        if active(adapting.history(db, TASK, record.model)) != record.adapter:
            raise ConflictError("Another adapter came to serve meanwhile.", "Try again.")
        past = adapting.calibrations_in(db, TASK, record.model, record.adapter)
        now = past[-1].version if past and past[-1].method != "none" else None
        return [record.model_copy(update={"previous": now})]

    (entry,) = parts.ledger.act(work)
    return cast(Calibrated, entry.record)
