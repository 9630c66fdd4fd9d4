"""When a far server is not asked any more, and when it is tried again. Pure: it is told the time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Breaker:
    """Counts failures in a row. After `failures` of them nothing passes for `pause` seconds; then one call passes as a trial.

    A trial that fails begins another pause, twice as long, at most `longest`; one that goes well closes the circuit.
    """

    failures: int = 5
    pause: float = 2.0
    longest: float = 60.0
    _count: int = 0
    _until: float = 0.0
    _trial: bool = False

    def wait(self, now: float) -> float:
        """Seconds until a call may pass, 0 when one may pass now."""
        if self._count < self.failures:
            return 0.0
        if self._trial:
            return max(self._until - now, 0.001)
        return max(0.0, self._until - now)

    def passed(self, now: float) -> None:
        """A call begins; in an open circuit it is the trial, and nobody else passes until it has ended or a pause is over."""
        if self._count >= self.failures:
            self._trial, self._until = True, now + self._length()

    def went_well(self) -> None:
        """A call was answered."""
        self._count, self._trial = 0, False

    def failed(self, now: float) -> None:
        """A call was not answered."""
        self._count, self._trial = self._count + 1, False
        if self._count >= self.failures:
            self._until = now + self._length()

    def left(self) -> None:
        """A call ended without telling anything: its caller went away."""
        self._trial = False

    def _length(self) -> float:
        return float(min(self.longest, self.pause * 2 ** min(self._count - self.failures, 16)))
