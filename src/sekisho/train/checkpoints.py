"""Checkpoints by wall clock and by signal, whole ones only, found again after a power cut."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback

from ..core.canonical import digest_file
from ..core.disk import sync
from ..core.errors import TrainingError
from ..shelf import write_json
from .steering import trained_weights
from .together import any_of, wait_for_all

_log = logging.getLogger("sekisho.train")
_WHOLE = "whole.json"
"""Size and digest of every file of a checkpoint, by relative name; written last, so it stands only in a checkpoint that is on the disk."""
_STATE = "trainer_state.json"


class Recovery(NamedTuple):
    """What was found in a folder of checkpoints.

    Attributes:
        newest: the newest whole one, or None.
        broken: those after it, newest first, that are not what was saved.
    """

    newest: Path | None
    broken: tuple[Path, ...]


class WholeTrainer(Trainer):
    """A trainer whose checkpoints appear under their name when they are on the disk, never before."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write beside, sync, mark, rename; then drop the oldest. A disk that refuses ends the run, and the last good checkpoint stays; so do weights that are spoilt."""
        require_finite(self.model, self.args.output_dir)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        beside = folder.with_name(f".{folder.name}")
        try:
            if self.args.should_save:
                shutil.rmtree(beside, ignore_errors=True)
                beside.mkdir(parents=True)
            wait_for_all()
            self._write(beside)
            wait_for_all()
            if self.args.should_save:
                _keep(beside, folder)
                _drop_oldest(folder.parent, self.args.save_total_limit)
        except (OSError, RuntimeError, SafetensorError) as e:
            shutil.rmtree(beside, ignore_errors=True)
            raise TrainingError(
                f"The checkpoint of step {self.state.global_step} cannot be written: {e}.",
                "Check the free space and the rights of the run's folder; the last good checkpoint is intact.",
            ) from e

    def _write(self, beside: Path) -> None:
        self.save_model(str(beside), _internal_call=True)
        self._save_optimizer_and_scheduler(str(beside))
        self._save_scaler(str(beside))
        self._save_rng_state(str(beside))
        if self.args.should_save:
            self.state.save_to_json(str(beside / _STATE))


class Saves(TrainerCallback):
    """Asks for a checkpoint every `seconds` of wall time, and on SIGTERM or SIGINT for a last one before the run ends.

    A second signal ends the process as ever. Of several processes, one that asks is enough.

    Attributes:
        received: the signal that came, or None.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._before: dict[signal.Signals, Any] = {}
        self.received: signal.Signals | None = None
        self.stopped = False

    def __enter__(self) -> Saves:
        """Listen to signals; outside the main thread, where Python hears none, do nothing."""
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._hear) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        """Put back who listened before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _hear(self, number: int, _frame: object) -> None:
        self.received = signal.Signals(number)
        self.__exit__()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Called by the trainer after every optimiser step."""
        due, self.stopped = any_of(time.monotonic() - self._last >= self._seconds, self.received is not None)
        if due or self.stopped:
            self._last = time.monotonic()
            control.should_save = True
        if self.stopped:
            control.should_training_stop = True
        return control

    def require_finished(self, state: Any) -> None:
        """Raise TrainingError when a signal ended the run before its last step."""
        if self.stopped and state.global_step < state.max_steps:
            name = self.received.name if self.received is not None else "A signal to another process"
            raise TrainingError(
                f"{name} stopped the training at step {state.global_step} of {state.max_steps}.",
                "It has saved a checkpoint; start it again and it goes on from there.",
            )


def require_finite(model: Any, checkpoints: str | Path | None) -> None:
    """Refuse weights that are spoilt: the loss shows them only a step later, when a checkpoint might hold them already. Raises TrainingError."""
    if not all(bool(p.isfinite().all()) for p in trained_weights(model).values()):
        raise not_a_number("A trained weight", checkpoints)


def not_a_number(what: str, checkpoints: str | Path | None) -> TrainingError:
    """The error for a loss or a weight that is no number; it speaks of a checkpoint only where there is one."""
    newest = newest_checkpoint(Path(checkpoints or "."))
    left = "no checkpoint was written before" if newest is None else f"{newest} is from before, and intact"
    return TrainingError(
        f"{what} is not a number.",
        f"Lower learning_rate and begin anew, in another run folder; {left}.",
    )


def mark_whole(checkpoint: Path) -> None:
    """Flush a checkpoint to the disk and write down what it consists of."""
    sync([*_files(checkpoint), checkpoint])
    write_json(
        checkpoint / _WHOLE, {p.relative_to(checkpoint).as_posix(): _entry(p) for p in _files(checkpoint)}
    )
    sync([checkpoint])


def recover(folder: Path) -> Recovery:
    """Find the newest checkpoint whose files are, byte for byte, those that were saved. Others are passed over with a warning in the log."""
    broken: list[Path] = []
    for path in sorted(_checkpoints(folder), key=_step, reverse=True):
        if _is_whole(path):
            return Recovery(path, tuple(broken))
        _log.warning("%s is not whole, as after a power cut; the one before it is taken.", path)
        broken.append(path)
    return Recovery(None, tuple(broken))


def newest_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint, or None."""
    newest = recover(folder).newest
    return None if newest is None else str(newest)


def resume_from(folder: Path) -> str | None:
    """The newest whole checkpoint, or None; what is half written or broken is swept away, so that it never counts among those that are kept."""
    found = recover(folder)
    for path in (*found.broken, *folder.glob(".checkpoint-*")):
        shutil.rmtree(path, ignore_errors=True)
    return None if found.newest is None else str(found.newest)


def require_processes(checkpoint: str | None, processes: int) -> None:
    """Refuse to go on with another number of processes than wrote a checkpoint: rows and random draws would be others.

    Raises:
        TrainingError: naming both numbers.
    """
    if checkpoint is None:
        return
    wrote = len(list(Path(checkpoint).glob("rng_state*.pth")))
    if wrote != processes:
        raise TrainingError(
            f"{checkpoint} was written by {wrote} processes, and here are {processes}.",
            f"Go on with {wrote}, or start a new run folder.",
        )


def _keep(beside: Path, folder: Path) -> None:
    mark_whole(beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.replace(folder)
    sync([folder.parent])


def _drop_oldest(folder: Path, keep: int | None) -> None:
    for path in sorted(_checkpoints(folder), key=_step)[: -(keep or 1)]:
        shutil.rmtree(path, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


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
