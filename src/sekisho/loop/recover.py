"""Recover: after a power cut, which trainings can go on and from where; what is half written or broken is swept away."""

from __future__ import annotations

from pathlib import Path

from ..core.question import Frozen
from ..train.checkpoints import recover as look
from ..train.checkpoints import resume_from
from .making import making
from .parts import Parts


class Recovered(Frozen):
    """One run that was not finished.

    Attributes:
        run: its folder.
        step: optimiser step of its newest whole checkpoint; None when there is none and it starts anew.
        swept: names of the checkpoints that were not whole, and are gone.
    """

    run: str
    step: int | None
    swept: tuple[str, ...]


class Recovery(Frozen):
    """All runs that were not finished."""

    runs: tuple[Recovered, ...]


@making
def recover(parts: Parts) -> Recovery:
    """Look at every unfinished run of the home. The next `finetune` goes on from what is named here."""
    folders = sorted((parts.settings.home / "runs").glob("*/checkpoints"))
    return Recovery(runs=tuple(recover_run(f.parent) for f in folders))


def recover_run(run: Path) -> Recovered:
    """Sweep one run's folder, and say where it goes on."""
    checkpoints = run / "checkpoints"
    broken = look(checkpoints).broken
    newest = resume_from(checkpoints)
    step = None if newest is None else int(newest.rpartition("-")[2])
    return Recovered(run=str(run), step=step, swept=tuple(p.name for p in broken))
