"""The course of a learning rate that warms up, follows a cosine and may cool down early, and the end of training when it has."""

from __future__ import annotations

import math
from typing import Any, Protocol

from transformers import TrainerCallback


class Course(Protocol):
    """The fields of a recipe that say the course; shares of all steps."""

    @property
    def warmup(self) -> float:
        """Share in which the rate rises."""

    @property
    def cooldown_start(self) -> float:
        """Share from which it falls in a straight line; 1 never."""

    @property
    def cooldown(self) -> float:
        """Share over which it falls to zero."""


def learning_rate_factor(course: Course, steps: int, step: int) -> float:
    """Share of the peak learning rate at an optimiser step out of `steps`."""
    warm = math.ceil(course.warmup * steps)
    if step < warm:
        return step / warm
    start = course.cooldown_start * steps
    cosine = 0.5 * (1 + math.cos(math.pi * (min(step, start) - warm) / max(1, steps - warm)))
    return cosine * max(0.0, 1 - max(0.0, step - start) / (course.cooldown * steps))


class EndOfCooldown(TrainerCallback):
    """Ends training when the cool-down has reached zero."""

    def __init__(self, course: Course) -> None:
        self._end = course.cooldown_start + course.cooldown if course.cooldown_start < 1 else 1.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Called by the trainer after every optimiser step."""
        if state.global_step >= self._end * state.max_steps:
            control.should_training_stop = True
        return control
