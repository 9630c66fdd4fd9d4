"""Platt scaling (Platt 1999): a slope and an offset for each criterion's log-odds, so that probabilities mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_RIDGE = 1.0
_ROUNDS = 50


def fit(log_odds: Floats, answers: Floats) -> tuple[float, float]:
    """Slope and offset of one criterion by Newton's method, drawn towards 1 and 0 with a ridge of one observation.

    Args:
        log_odds, answers: `[images]`; answers are 0 or 1.
    """
    x, w = np.stack((np.clip(log_odds, -20, 20), np.ones_like(log_odds)), axis=1), np.array([1.0, 0.0])
    for _ in range(_ROUNDS):
        p = sigmoid(x @ w)
        gradient = x.T @ (p - answers) + _RIDGE * (w - [1.0, 0.0])
        curvature = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        w = w - np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-9:
            break
    return float(max(w[0], 0.05)), float(w[1])


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -60, 60))), dtype=np.float64)
