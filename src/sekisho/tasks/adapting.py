"""When to train, what may serve, when to go back: rules over what the ledger says. Pure; they know no clock, disk or model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ..core.adapting import Activation
from ..core.errors import ConflictError
from ..core.question import Frozen
from ..core.records import Proof


class Limits(Frozen):
    """What a training waits for: new corrections, their share of all reviewed answers, and days since the last training."""

    corrections: int = 100
    rate: float = 0.05
    days: float = 7.0


class Trigger(Frozen):
    """Whether a training is due.

    Attributes:
        corrections: new ones since the last training; reviewed: those and the answers found right; rate: their ratio.
        days: since the last training, or since the first review; None before any.
        holds: each condition by name.
    """

    corrections: int
    reviewed: int
    rate: float
    days: float | None
    holds: Mapping[str, bool]

    @property
    def due(self) -> bool:
        """Whether every condition holds."""
        return all(self.holds.values())


def trigger(corrections: int, reviewed: int, since: str | None, now: str, limits: Limits) -> Trigger:
    """Look whether a training is due.

    Args:
        corrections, reviewed: new since the last training.
        since: UTC time of the last training, else of the first review; None when there is neither.
    """
    rate = corrections / reviewed if reviewed else 0.0
    days = None if since is None else max(0.0, days_between(since, now))
    holds = {
        "corrections": corrections >= limits.corrections,
        "rate": rate >= limits.rate,
        "days": days is not None and days >= limits.days,
    }
    return Trigger(corrections=corrections, reviewed=reviewed, rate=rate, days=days, holds=holds)


def days_between(start: str, end: str) -> float:
    """Days from one UTC time to another, both as `utc_now` writes them."""
    one, two = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (start, end))
    return (two - one).total_seconds() / 86_400


def active(history: Sequence[Activation]) -> str | None:
    """The adapter that serves after this history, oldest first; None for the base alone."""
    return history[-1].adapter if history else None


def before(history: Sequence[Activation]) -> str | None:
    """What a rollback goes back to: what answered when the present adapter first came into force.

    Raises:
        ConflictError: when the base alone serves and nothing was ever taken off it.
    """
    now = active(history)
    if now is None:
        raise ConflictError(
            "The base serves, and there is nothing before it.", "Load an adapter by its digest."
        )
    return next(a.previous for a in history if a.adapter == now)


def proof_for(adapter: str, proofs: Iterable[Proof]) -> Proof:
    """The proof by which an adapter may serve: its latest one, which must have passed.

    Args:
        proofs: oldest first, of any candidate.

    Raises:
        ConflictError: there is none, or it fell short.
    """
    own = [p for p in proofs if p.candidate == adapter]
    if not own:
        raise ConflictError("This adapter has no proof.", "Run `sekisho adapt prove`.")
    if not own[-1].passed:
        raise ConflictError(
            f"Its latest proof falls short: {'; '.join(own[-1].why)}.", "Train again with more corrections."
        )
    return own[-1]


def check_standing(adapter: str, proof: Proof, history: Iterable[Activation]) -> None:
    """Refuse an adapter that the house took back by itself after this proof. Raises ConflictError."""
    for step in history:
        if step.step == "auto_rollback" and step.previous == adapter and step.at >= proof.at:
            raise ConflictError(
                f"It was rolled back by the house after its proof: {step.why}.",
                "Prove it again, with what was reviewed since.",
            )


def check_rival(proof: Proof, serving: str) -> None:
    """Refuse a proof that compared with another than what serves now. Raises ConflictError."""
    if proof.base != serving:
        raise ConflictError(
            f"Proof {proof.id} is outdated: it compared with something else than what serves now.",
            "Run `sekisho adapt prove`.",
        )


def live_drop(scores: Sequence[float], proved: float, rows: int, margin: float) -> float | None:
    """The mean Brier score of the last `rows` reviewed answers, when it is worse than what was proved by more than a margin.

    Args:
        scores: Brier score of each reviewed answer of the adapter, oldest first.
        proved: its Brier score on the hold-out of its proof.

    Returns:
        The mean; None while there are fewer rows, or it is no worse.
    """
    if len(scores) < rows:
        return None
    mean = sum(scores[-rows:]) / rows
    return mean if mean > proved + margin else None


def brier_of(probabilities: Mapping[str, float], label: str) -> float:
    """Brier score of one answer: the squared distance to the right label, 0 to 2."""
    return sum((p - (k == label)) ** 2 for k, p in probabilities.items())
