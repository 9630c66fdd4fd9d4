"""How good probabilities are: log-softmax that is never NaN, expected calibration error, Brier score, log-likelihood. For any number of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ProofError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 15
_FLOOR = -1e3
"""Smallest log-ratio to the likeliest option. A probability of exactly 0 would make the log-likelihood infinite at every temperature."""


def log_softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return log softmax(logits / temperature), [n, k], finite for every logit but NaN and +inf.

    Raises:
        ProofError: for those, and for a row without any finite logit.
    """
    if logits.size and (np.isnan(logits).any() or not np.isfinite(logits.max(axis=1)).all()):
        raise ProofError(
            "Some logits are NaN or infinite.", "Check the engine's answers; nothing is filled in for them."
        )
    with np.errstate(over="ignore"):
        z = np.maximum(logits - logits.max(axis=1, keepdims=True), _FLOOR) / temperature
    out: Floats = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return out


def ece(probabilities: Floats, labels: Ints, bins: int = BINS) -> float:
    """Expected calibration error of the likeliest class over equal-width bins (lo, hi] (Naeini et al. 2015; Guo et al. 2017)."""
    return sum(
        b["n"] * abs(b["accuracy"] - b["confidence"]) for b in reliability(probabilities, labels, bins)
    ) / max(len(labels), 1)


def reliability(probabilities: Floats, labels: Ints, bins: int = BINS) -> list[dict[str, float]]:
    """Return the non-empty bins of a reliability diagram: lo, hi, n, mean confidence, accuracy."""
    if not len(labels):
        return []
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.digitize(top, edges, right=True) - 1, 0, bins - 1)
    out = []
    for i in np.unique(place):
        inside = place == i
        values = edges[i], edges[i + 1], inside.sum(), top[inside].mean(), right[inside].mean()
        out.append(dict(zip(("lo", "hi", "n", "confidence", "accuracy"), map(float, values), strict=True)))
    return out


def brier(probabilities: Floats, labels: Ints) -> float:
    """Multi-class Brier score: mean over rows of the squared distance to the one-hot label, 0 to 2 (Brier 1950)."""
    if not len(labels):
        return 0.0
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(labels)), labels] = 1.0
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def nll(logprobs: Floats, labels: Ints) -> float:
    """Mean negative log-likelihood of the labels, in nats; 0 without rows."""
    return float(-logprobs[np.arange(len(labels)), labels].mean()) if len(labels) else 0.0
