"""Eye: what looks at an image. Whoever fulfils this protocol can answer a rubric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .engine import EngineInfo
from .question import Frozen

OBSERVED = math.log(2.0)
"""Log-odds of an answer without a probability: one observation, (1 + 1) / (1 + 2) (rule of succession, Laplace 1774)."""


class Seen(Frozen):
    """What an eye makes of one image.

    Attributes:
        log_odds: natural logarithm of p / (1 - p) of yes, by criterion; every criterion that was asked, and no other. Uncalibrated.
        input_tokens: tokens of the image and the questions; 0 when the eye does not tell.
        tries: requests it took; more than 1 when parts had to be asked again.
    """

    log_odds: Mapping[str, float]
    input_tokens: int = 0
    tries: int = 1

    @property
    def observed(self) -> bool:
        """Whether every answer is one observation and no probability, so that nothing fitted on probabilities is for it."""
        return is_observed(self.log_odds)


def is_observed(log_odds: Mapping[str, float]) -> bool:
    """As `Seen.observed`, also of log-odds that come from probabilities written down."""
    return all(abs(abs(x) - OBSERVED) < 1e-9 for x in log_odds.values())


def chance_of(log_odds: float) -> float:
    """The probability that has these log-odds; they are held within 60, beyond which it is 0 or 1 to the last digit."""
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, log_odds))))


def log_odds_of(chance: float, edge: float = 1e-12) -> float:
    """Log-odds of a probability, which is held so far from 0 and 1 as `edge` says."""
    held = min(max(chance, edge), 1 - edge)
    return math.log(held) - math.log1p(-held)


class Eye(Protocol):
    """Looks at one image and answers yes/no questions about it. May be called from many tasks at once.

    Errors: EngineError when it is down or unreadable, EngineTimeoutError past the deadline.
    """

    @property
    def info(self) -> EngineInfo:
        """What is looking; fixed once started."""
        ...

    async def start(self) -> None:
        """Load and become ready."""
        ...

    async def stop(self) -> None:
        """Stop and free everything; safe to call twice."""
        ...

    async def look(self, image: bytes, questions: Mapping[str, str], timeout: float) -> Seen:
        """Answer questions about an image.

        Args:
            image: a PNG that passed the guard.
            questions: by criterion id.
            timeout: seconds.
        """
        ...


@dataclass(frozen=True)
class Sight:
    """An eye and what is known about it.

    Attributes:
        pack: digest of the only rubric pack it has learnt; None when it may be asked anything.
        scales: slope and offset of the log-odds by criterion, fitted on labelled images; empty when nothing was fitted.
        calibration: digest of those, name of the version in the ledger they are from (`cal_…`), or `uncalibrated`.
    """

    eye: Eye
    pack: str | None = None
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    calibration: str = "uncalibrated"
