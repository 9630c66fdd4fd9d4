"""Which calibration an eye answers by: its own, or the newest in the ledger that was fitted on its very weights and pack."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from ..core.adapting import Calibrated
from ..core.canonical import new_id, utc_now
from ..core.errors import ConflictError
from ..core.sight import Sight
from ..ledger import adapting
from ..ledger.chain import Head
from ..ledger.store import Ledger
from ..tasks.rubric.pack import Pack

TASK = "rubric"


def in_force(ledger: Ledger, sight: Sight, pack: Pack) -> Sight:
    """A started eye with the scales that are in force for a pack. What it came with stays where the ledger has none, or took it back."""
    past = past_of(ledger, sight, pack)
    if not past or past[-1].method == "none":
        return sight
    return replace(sight, scales=past[-1].scales, calibration=past[-1].version)


def past_of(ledger: Ledger, sight: Sight, pack: Pack) -> list[Calibrated]:
    """Every calibration of a started eye's weights for a pack in this version, oldest first; the last one counts."""
    return _of_pack(adapting.calibrations(ledger, TASK, sight.eye.info.model_digest, None), pack)


def _of_pack(found: Sequence[Calibrated], pack: Pack) -> list[Calibrated]:
    digest = pack.digest()
    return [c for c in found if c.pack == digest]


def put(ledger: Ledger, sight: Sight, pack: Pack, by: str, rollback: bool = False, **made: Any) -> Calibrated:
    """Write a version with the one it takes the place of. `sight` is the eye as it came out of `in_force` before the version was made.

    Args:
        made: what is in the version, by the names of `Calibrated`.

    Raises:
        ConflictError: another version came into force meanwhile, so that this one was compared with what no longer serves.
    """
    record = Calibrated(
        id=new_id("clb"),
        at=utc_now(),
        task=TASK,
        model=sight.eye.info.model_digest,
        adapter=None,
        pack=pack.digest(),
        rollback=rollback,
        by=by,
        **made,
    )

    def work(db: sqlite3.Connection, head: Head) -> list[Any]:
        past = _of_pack(adapting.calibrations_in(db, TASK, record.model, None), pack)
        now = past[-1].version if past and past[-1].method != "none" else None
        if now != (sight.calibration if sight.calibration.startswith("cal_") else None):
            raise ConflictError("Another calibration came into force meanwhile.", "Try again.")
        return [record.model_copy(update={"previous": now})]

    (entry,) = ledger.act(work)
    return cast(Calibrated, entry.record)
