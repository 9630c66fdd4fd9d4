"""Watching a training: scalars and histograms for TensorBoard while it runs, and a plot of its curves when it is done."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from ..core.disk import write_whole
from ..weights.gates import gates
from ..weights.rotation import orthogonality_error
from .plan import MIB, peak
from .steering import trained_weights

_PLOTTED = (
    "loss",
    "decision",
    "pet",
    "language",
    "grad_norm",
    "learning_rate",
    "lambda",
    "tokens_per_second",
)


class Board(TrainerCallback):
    """Writes what the trainer logs, and what the weights look like when a checkpoint is made, into a folder that TensorBoard reads.

    Loss and its parts, λ, gradient norm, learning rates, tokens a second, memory, how far the gates are from orthogonal; temperature and use of a GPU where there is one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._model: nn.Module | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Called by the trainer; of several processes the first one writes."""
        if state.is_world_process_zero:
            from torch.utils.tensorboard import SummaryWriter

            # What a run that was stopped wrote after its last checkpoint is written again.
            self._writer = SummaryWriter(str(self._folder), purge_step=state.global_step or None)
            self._model = model

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Called by the trainer every few steps."""
        if self._writer is None or self._model is None:
            return
        shown = {k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float)}
        for name, value in {**shown, **machine(), "orthogonality": orthogonality(self._model)}.items():
            self._writer.add_scalar(name, value, state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after a checkpoint."""
        self._weights(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer."""
        self._weights(state.global_step)
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _weights(self, step: int) -> None:
        if self._writer is None or self._model is None:
            return
        for name, parameter in trained_weights(self._model).items():
            values = parameter.detach().float().cpu()
            values = values[values.isfinite()]  # TensorBoard makes no histogram of anything else
            if values.numel():
                self._writer.add_histogram(name, values, step)


class Speed:
    """Tokens a second between two readings."""

    def __init__(self) -> None:
        self._tokens, self._since = 0, time.monotonic()

    def add(self, tokens: int) -> None:
        """Count tokens."""
        self._tokens += tokens

    def read(self) -> float:
        """Tokens a second since the last reading."""
        now = time.monotonic()
        rate = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0, now
        return rate


def orthogonality(model: nn.Module) -> float:
    """Largest max |R Rᵀ − I| of all gates as they are applied; 0 without gates."""
    with torch.no_grad():
        return max((orthogonality_error(g.rotations()) for g in gates(model).values()), default=0.0)


def machine() -> dict[str, float]:
    """Most memory so far in MiB, and temperature (°C) and use (%) of a GPU where there is one that says."""
    most = peak()
    found = {} if most is None else {"memory_mib": most / MIB}
    if torch.cuda.is_available():
        for name, read in (("gpu_celsius", torch.cuda.temperature), ("gpu_percent", torch.cuda.utilization)):
            try:
                found[name] = float(read())
            except (RuntimeError, ModuleNotFoundError):
                continue  # without NVML's Python package the card does not say
    return found


def plot(points: list[dict[str, float]], out: Path) -> None:
    """Draw the curves of a run as SVG, one panel each for what was logged."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = [n for n in _PLOTTED if any(n in p for p in points)]
    figure = Figure(figsize=(8, 1.8 * max(len(names), 1)), layout="constrained")
    FigureCanvasSVG(figure)
    for place, name in enumerate(names):
        axes = figure.add_subplot(len(names), 1, place + 1)
        axes.plot([p["step"] for p in points if name in p], [p[name] for p in points if name in p])
        axes.set_ylabel(name)
    if names:
        axes.set_xlabel("optimiser step")
    beside = out.with_name(f".{out.name}")
    figure.savefig(beside, format="svg", metadata={"Date": None})
    write_whole(out, beside.read_bytes())
    beside.unlink()


def read_points(curve: Path) -> list[dict[str, float]]:
    """The points of a run's `curve.json`; none when there is none."""
    return list(json.loads(curve.read_bytes())) if curve.is_file() else []
