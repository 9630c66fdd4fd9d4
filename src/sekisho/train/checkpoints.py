"""Checkpoints by wall clock, whole ones only, found again after a power cut."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..core.canonical import digest_file
from ..core.disk import sync
from ..shelf import write_json

_log = logging.getLogger("sekisho.train")
_WHOLE = "whole.json"
"""Size and digest of every file of a checkpoint, by relative name; written last, so it stands only in a checkpoint that is on the disk."""


class WallClockSaves(TrainerCallback):
    """Ask the trainer for a checkpoint every `seconds` of wall time, and mark it as whole once it is on the disk."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Called by the trainer after every optimiser step."""
        if time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after it has written a checkpoint."""
        mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def mark_whole(checkpoint: Path) -> None:
    """Flush a checkpoint to the disk and write down what it consists of."""
    sync([*_files(checkpoint), checkpoint])
    write_json(
        checkpoint / _WHOLE, {p.relative_to(checkpoint).as_posix(): _entry(p) for p in _files(checkpoint)}
    )
    sync([checkpoint])


def newest_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint whose files are, byte for byte, those that were saved, or None. Others are passed over with a warning in the log."""
    found = [p for p in folder.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()]
    for path in sorted(found, key=lambda p: int(p.name.rpartition("-")[2]), reverse=True):
        if _is_whole(path):
            return str(path)
        _log.warning("%s is not whole, as after a power cut; the one before it is taken.", path)
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        entries = json.loads((checkpoint / _WHOLE).read_bytes()).items()
        # Sizes first: they are free, and a power cut mostly leaves files that are too short.
        sizes = all((checkpoint / name).stat().st_size == want["bytes"] for name, want in entries)
        return sizes and all(_entry(checkpoint / name) == want for name, want in entries)
    except (OSError, ValueError):
        return False


def _files(checkpoint: Path) -> list[Path]:
    return sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != _WHOLE)


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "digest": digest_file(path)}
