"""Checkpoints by wall clock, whole ones only, found again after a power cut."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

_NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth")


class WallClockSaves(TrainerCallback):
    """Ask the trainer for a checkpoint every `seconds` of wall time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Called by the trainer after every optimiser step."""
        if time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            control.should_save = True
        return control


def newest_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that has all its files, or None. Broken ones are passed over."""
    found = [p for p in folder.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()]
    for path in sorted(found, key=lambda p: int(p.name.rpartition("-")[2]), reverse=True):
        if all((path / name).is_file() for name in _NEEDED):
            return str(path)
    return None
