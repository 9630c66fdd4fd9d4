"""What the lanes tell Prometheus. Gauges are moved by differences, so that an engine that drains beside a new one is counted too."""

from __future__ import annotations

from collections.abc import Sequence

from .. import metrics
from ..core.engine import Lane
from ..core.question import OptionScores
from .rules import LANES
from .schedule import Schedule


class LaneMetrics:
    """The numbers of one schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._slots: dict[str, int] = {}
        self._waiting: dict[Lane, int] = {}

    def show(self) -> None:
        """Bring the gauges to the schedule's present state."""
        self._move(self._schedule.counts(), {lane: self._schedule.waiting(lane) for lane in LANES})

    def close(self) -> None:
        """Take this schedule out of the gauges."""
        self._move({}, {})

    def started(self, lane: Lane, waited: float | None, tokens: int) -> None:
        """A request was given a slot: after `waited` seconds, or again (None), with `tokens` of its text already written."""
        if waited is not None:
            metrics.LANE_WAIT_SECONDS.labels(lane).observe(waited)
        if tokens:
            metrics.LANE_RESUMED_TOKENS.inc(tokens)

    def answered(self, lane: Lane, seconds: float) -> None:
        """A request gave its first text or its scores, so many seconds after it came."""
        metrics.LANE_FIRST_SECONDS.labels(lane).observe(seconds)

    def decided(self, lane: Lane, scores: Sequence[OptionScores], seconds: float) -> None:
        """A decision that waited for no slot was answered."""
        tokens = sum(s.input_tokens for s in scores)
        self.started(lane, 0.0, 0)
        self.answered(lane, seconds)
        self.read(lane, tokens, seconds)
        self.ended(lane, tokens, 0)

    def read(self, lane: Lane, tokens: int, seconds: float) -> None:
        """A prompt, or the prompts of some questions, were read in so many seconds."""
        if tokens and seconds > 0:
            metrics.LANE_PROMPT_RATE.labels(lane).observe(tokens / seconds)

    def wrote(self, lane: Lane, rate: float) -> None:
        """A text was written at so many tokens a second."""
        metrics.LANE_DECODE_RATE.labels(lane).observe(rate)

    def ended(self, lane: Lane, input_tokens: int, output_tokens: int) -> None:
        """A request has all it asked for."""
        metrics.LANE_PROMPT_TOKENS.labels(lane).inc(input_tokens)
        metrics.LANE_OUTPUT_TOKENS.labels(lane).inc(output_tokens)

    def _move(self, slots: dict[str, int], waiting: dict[Lane, int]) -> None:
        for state in {*slots, *self._slots}:
            if moved := slots.get(state, 0) - self._slots.get(state, 0):
                metrics.LANE_SLOTS.labels(state).inc(moved)
        for lane in {*waiting, *self._waiting}:
            if moved := waiting.get(lane, 0) - self._waiting.get(lane, 0):
                metrics.LANE_WAITING.labels(lane).inc(moved)
        self._slots, self._waiting = slots, waiting
