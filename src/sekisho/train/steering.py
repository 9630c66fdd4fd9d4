"""What steers a training beside the loss: noise on gradients, the mean of late weights, and a stop when refusals are forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from ..core.question import Example
from .recipe import Watch

Weights = dict[str, Tensor]
_STRIDE = 1_000_003
_MEAN, _BEST, _WATCH = "mean.safetensors", "best.safetensors", "watch.json"
_COUNT = "count"


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, by name."""
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def set_weights(model: nn.Module, wanted: Mapping[str, Tensor]) -> None:
    """Set what is trained."""
    for name, parameter in trained_weights(model).items():
        parameter.copy_(wanted[name])


class GradientNoise(TrainerCallback):
    """Adds normal noise to every gradient, after clipping (Neelakantan et al. 2015).

    It comes from a generator of the seed and the optimiser step: a resumed run, and every one of several processes, draws the same.
    """

    def __init__(self, size: float, decay: float, seed: int) -> None:
        self._size, self._decay, self._seed = size, decay, seed

    def size(self, step: int) -> float:
        """Standard deviation at an optimiser step."""
        return float(self._size / (1 + step) ** self._decay)

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Called by the trainer when gradients are clipped."""
        drawn = torch.Generator().manual_seed(self._seed * _STRIDE + state.global_step)
        for parameter in model.parameters():
            if parameter.grad is not None:
                noise = torch.randn(parameter.grad.shape, generator=drawn)
                parameter.grad.add_(noise.to(parameter.grad), alpha=self.size(state.global_step))


class LateMean(TrainerCallback):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights after every optimiser step from a progress on; it is the result of the run."""

    def __init__(self, start: float) -> None:
        self._start = start
        self.count = 0
        self._mean: Weights = {}

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Called by the trainer after every optimiser step."""
        if state.global_step < self._start * state.max_steps:
            return
        self.count += 1
        for name, parameter in trained_weights(model).items():
            mean = self._mean.setdefault(name, torch.zeros_like(parameter))
            mean.add_(parameter - mean, alpha=1 / self.count)

    def finish(self, model: nn.Module) -> None:
        """Put the mean into the model, if there is one."""
        if self.count:
            set_weights(model, self._mean)

    def save(self, folder: Path) -> None:
        """Write the mean into a checkpoint."""
        if self.count:
            save_file({**self._mean, _COUNT: torch.tensor(self.count)}, folder / _MEAN)

    def load(self, folder: Path) -> None:
        """Read it back; a checkpoint from before the start has none."""
        if (folder / _MEAN).is_file():
            self._mean = load_file(folder / _MEAN)
            self.count = int(self._mean.pop(_COUNT))


class RefuseWatch(TrainerCallback):
    """Stops when refuse recall has fallen and stays down, and goes back to the weights that refused best.

    Attributes:
        best: the highest recall so far; below 0 before the first measurement.
        low: measurements in a row that were too low.
        stopped: whether training was stopped.
    """

    def __init__(self, watch: Watch, measure: Callable[[], float]) -> None:
        self._watch, self._measure = watch, measure
        self.best, self.low, self.stopped = -1.0, 0, False
        self.last = -1.0
        self._weights: Weights = {}

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> Any:
        """Called by the trainer after every optimiser step."""
        if state.global_step % self._watch.every:
            return control
        self.last = self._measure()
        if self.last > self.best:
            self.best, self._weights = self.last, _copies(model)
        self.low = self.low + 1 if self.last < self.best - self._watch.drop else 0
        if self.low >= self._watch.patience:
            self.stopped = control.should_training_stop = True
        return control

    def finish(self, model: nn.Module) -> None:
        """Go back to the best weights, if training was stopped for it."""
        if self.stopped:
            set_weights(model, self._weights)

    def save(self, folder: Path) -> None:
        """Write what was seen into a checkpoint."""
        if self._weights:
            save_file(self._weights, folder / _BEST)
            (folder / _WATCH).write_text(json.dumps({"best": self.best, "low": self.low, "last": self.last}))

    def load(self, folder: Path) -> None:
        """Read it back."""
        if (folder / _WATCH).is_file():
            self._weights = load_file(folder / _BEST)
            for name, value in json.loads((folder / _WATCH).read_text()).items():
                setattr(self, name, value)


def set_aside(examples: list[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Split rows into those to train on and those to watch, whole topics at a time, by the digest of the topic."""
    watched = [e for e in examples if int(_topic(e)[:8], 16) < share * 16**8]
    kept = {id(e) for e in watched}
    return [e for e in examples if id(e) not in kept], watched


def _topic(example: Example) -> str:
    from ..core.canonical import digest_text

    return digest_text(f"watch {example.group or example.id}").rpartition(":")[2]


def _copies(model: nn.Module) -> Weights:
    return {n: p.detach().clone() for n, p in trained_weights(model).items()}
