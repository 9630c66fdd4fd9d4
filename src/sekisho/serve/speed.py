"""How fast texts are written, beside how fast the warm-up was: an engine that has become slow says so before its callers do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from .. import metrics
from ..core.engine import Piece

SLOW = 0.2
"""Below this part of the warm-up's speed an engine is slow. Texts that share it are each slower than one alone, by less than that."""
_SMOOTH = 0.2


@dataclass
class Speed:
    """Tokens a second: of the warm-up, and a running mean since. Pure but for the metric."""

    warm: float | None = None
    now: float | None = None

    def warmed(self, rate: float | None) -> None:
        """The warm-up wrote so fast; None when it could not be told. What was known before is forgotten."""
        self.warm, self.now = rate, rate
        metrics.SPEED.set(1.0)

    def note(self, rate: float) -> None:
        """A text was written so fast."""
        self.now = rate if self.now is None else self.now + _SMOOTH * (rate - self.now)
        if self.warm:
            metrics.SPEED.set(self.now / self.warm)

    @property
    def problem(self) -> str | None:
        """What is wrong with the speed; None when nothing is, or nothing is known."""
        if not self.warm or self.now is None or self.now >= SLOW * self.warm:
            return None
        return f"The engine writes {self.now:.3g} tokens a second; after its start it wrote {self.warm:.3g}."


@dataclass
class Stopwatch:
    """Times one hold of a slot by a text.

    Attributes:
        began: when the slot was given, in seconds on any clock.
        first, last: when the first and the latest piece came.
        at_first, at_last: tokens of the text by then.
    """

    began: float
    first: float | None = None
    last: float = 0.0
    at_first: int = 0
    at_last: int = 0

    def piece(self, now: float, tokens: int) -> None:
        """A piece came; the text has so many tokens now, at least one."""
        if self.first is None:
            self.first, self.at_first = now, tokens
        self.last, self.at_last = now, tokens

    @property
    def rate(self) -> float | None:
        """Tokens a second after the first piece; None when there were none."""
        if self.first is None or self.last <= self.first or self.at_last <= self.at_first:
            return None
        return (self.at_last - self.at_first) / (self.last - self.first)


async def rate_of(pieces: AsyncIterator[Piece]) -> float | None:
    """Read a text to its end and return its tokens a second after the first piece; None when it had only one."""
    watch = Stopwatch(time.monotonic())
    async for piece in pieces:
        watch.piece(time.monotonic(), piece.output_tokens or 1)
    return watch.rate
