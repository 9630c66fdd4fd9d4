"""The dashboard's data: how the reviewed answers of each adapter did, day by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ..core.canonical import model_digest, utc_after, utc_now
from ..core.nli_labels import KEYS
from .adapters import history, nli_folder
from .parts import Parts
from .reviewed import Reviewed, reviewed

_DAY = 10
"""Letters of a UTC time that name its day."""


def series(parts: Parts, days: int = 365) -> dict[str, Any]:
    """Reviewed answers of the last days by day and adapter, each adapter as a whole, and the steps between them.

    A day's figures are of answers given on it. `correction_rate` is the share of reviewed answers that were corrected; people review what
    they doubt, so it says more from day to day than by itself.
    """
    model = model_digest(nli_folder(parts))
    since = utc_after(utc_now(), -86_400.0 * days)
    by_day: dict[tuple[str, str | None], list[Reviewed]] = defaultdict(list)
    whole: dict[str | None, list[Reviewed]] = defaultdict(list)
    for one in reviewed(parts.ledger, model):
        if one.judgement.at >= since:
            adapter = one.judgement.stamp.adapter_digest
            by_day[one.judgement.at[:_DAY], adapter].append(one)
            whole[adapter].append(one)
    steps = [a for a in history(parts, model) if a.at >= since]
    return {
        "model": model,
        "days": [
            {"day": d, "adapter": a, **figures(rows)}
            for (d, a), rows in sorted(by_day.items(), key=lambda x: (x[0][0], x[0][1] or ""))
        ],
        "adapters": [
            {"adapter": a, **figures(rows)} for a, rows in sorted(whole.items(), key=lambda x: x[0] or "")
        ],
        "steps": [{"at": a.at, "step": a.step, "adapter": a.adapter, "by": a.by} for a in steps],
    }


def figures(rows: Sequence[Reviewed]) -> dict[str, float]:
    """Reviewed answers, accuracy, correction rate, Brier score and ECE-15 of some rows; at least one."""
    import numpy as np

    from ..proof.probabilities import brier, ece

    p = np.asarray([[r.judgement.probabilities[k] for k in KEYS] for r in rows], dtype=np.float64)
    labels = np.asarray([KEYS.index(r.word.label) for r in rows], dtype=np.int64)
    wrong = sum(r.wrong for r in rows) / len(rows)
    return {
        "reviewed": len(rows),
        "accuracy": 1 - wrong,
        "correction_rate": wrong,
        "brier": brier(p, labels),
        "ece": ece(p, labels),
    }
