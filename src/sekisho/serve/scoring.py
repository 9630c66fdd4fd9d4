"""From an engine's log-probabilities to a calibrated answer: pure arithmetic, plain floats, no clock, disk or model."""

from __future__ import annotations

import math
from collections.abc import Sequence


def softmax(logits: Sequence[float]) -> tuple[float, ...]:
    """Probabilities of `logits` `[n]`; the largest is subtracted first, so nothing overflows, and the sum is 1 within 1e-12.

    An entry of minus infinity gets probability 0.

    Raises:
        ValueError: for an empty list, NaN, plus infinity, or nothing but minus infinity.
    """
    peak = _peak(logits)
    weights = [math.exp(x - peak) for x in logits]
    total = math.fsum(weights)
    return tuple(w / total for w in weights)


def log_softmax(logits: Sequence[float]) -> tuple[float, ...]:
    """Natural logarithms of `softmax(logits)`, without passing through probabilities that underflow.

    Raises:
        ValueError: as `softmax` does.
    """
    peak = _peak(logits)
    log_total = math.log(math.fsum(math.exp(x - peak) for x in logits))
    return tuple(x - peak - log_total for x in logits)


def _peak(logits: Sequence[float]) -> float:
    """The largest entry, after checking that there is a distribution at all."""
    if not logits:
        raise ValueError("no options to score")
    peak = max(logits)
    if any(math.isnan(x) for x in logits) or not math.isfinite(peak):
        raise ValueError("a logit is not a number, or none is finite")
    return peak


def calibrate(logprobs: Sequence[float], temperature: float) -> tuple[float, ...]:
    """Probabilities after temperature scaling, p ∝ exp(logprob / T) (Guo et al. 2017, section 4.2).

    The distance to the largest entry is taken before the division, so a small T makes far options 0 instead of overflowing;
    at T = 1 the engine's own probabilities come back.

    Args:
        logprobs: log-probabilities (or logits) `[n]`.
        temperature: T > 0; above 1 softens, below 1 sharpens.

    Raises:
        ValueError: when T is not a positive finite number, or as `softmax` does.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature is a positive number, got {temperature!r}")
    peak = _peak(logprobs)
    return softmax([(x - peak) / temperature for x in logprobs])


def argmax(probabilities: Sequence[float]) -> int:
    """Index of the likeliest option; the first of equals."""
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def choice_confidence(probabilities: Sequence[float]) -> float:
    """How far the likeliest of n options is above chance: (p_max − 1/n) / (1 − 1/n), 0 to 1; 1 for a single option (System One)."""
    n = len(probabilities)
    if n == 1:
        return 1.0
    return _unit((max(probabilities) - 1 / n) / (1 - 1 / n))


def expected_score(probabilities: Sequence[float]) -> float:
    """Expected level Σ i·p_i, with levels counted from 0 (System One)."""
    return math.fsum(i * p for i, p in enumerate(probabilities))


def score_confidence(probabilities: Sequence[float]) -> float:
    """How close a score's mass lies to its mode: max(0, 1 − Σ p_i·|i − mode| / D), 0 to 1 (System One).

    D = mean |i − (n − 1)/2| is the mean distance of the n levels from their middle; a single level gives 1.
    """
    n = len(probabilities)
    if n == 1:
        return 1.0
    mode = argmax(probabilities)
    spread = math.fsum(p * abs(i - mode) for i, p in enumerate(probabilities))
    middle = (n - 1) / 2
    return _unit(1 - spread / (math.fsum(abs(i - middle) for i in range(n)) / n))


def _unit(value: float) -> float:
    """`value` held between 0 and 1, against the last bit of rounding."""
    return min(1.0, max(0.0, value))
