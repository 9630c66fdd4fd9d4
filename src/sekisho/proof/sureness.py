"""How sure a classifier may be, for any number of classes: calibration errors of three kinds, the Brier score in parts, and two ways to mend it.

Everything is finite for every input that is accepted: fuzzed logits (huge, equal, one class) never give NaN; NaN itself is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from ..core.errors import ProofError
from .calibration import HIGHEST, LOWEST, fit_temperature
from .probabilities import BINS, Floats, Ints, brier, ece, log_softmax, nll, reliability

Method = Literal["none", "temperature", "platt"]
_GRID = 400
"""Cells of the unit interval on which the smooth calibration error is computed; its kernel is never narrower than one."""
_EDGE = 1e-12


@dataclass(frozen=True)
class Platt:
    """Platt scaling of the likeliest class: P(right) = 1 / (1 + exp(-(a s + b))), s the log-odds of its probability (Platt 1999)."""

    a: float
    b: float


def logits_from(array: Any, probabilities: bool) -> Floats:
    """Check an array and return it as logits [n, k].

    Args:
        array: [n, k], or [n] with the probability (or logit) of the second of two classes.
        probabilities: whether it holds probabilities; their logarithms are logits.

    Raises:
        ProofError: another shape, NaN, an infinite logit, or what is no distribution.
    """
    try:
        with np.errstate(over="ignore"):  # an infinity, which is refused below
            z = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise ProofError("The predictions are no numbers.", "Give floats.") from e
    if z.ndim == 1:
        z = np.stack([1.0 - z if probabilities else np.zeros_like(z), z], axis=1)
    if z.ndim != 2 or not z.size:
        raise ProofError(f"The predictions have the shape {z.shape}.", "Give [rows, classes].")
    if np.isnan(z).any() or np.isposinf(z).any() or not np.isfinite(z.max(axis=1)).all():
        raise ProofError("Some predictions are NaN or infinite.", "Mend them; nothing is filled in for them.")
    return _log_of(z) if probabilities else z


def _log_of(p: Floats) -> Floats:
    if (p < 0).any() or (np.abs(p.sum(axis=1) - 1.0) > 1e-3).any():
        raise ProofError(
            "Some rows are no probabilities: below 0, or a sum other than 1.", "Name logits `logits`."
        )
    with np.errstate(divide="ignore"):
        found: Floats = np.log(p)
    return found


def labels_from(array: Any, rows: int, classes: int) -> Ints:
    """Check labels: [n] or [n, 1] whole numbers from 0 to k - 1. Raises ProofError."""
    y = np.asarray(array)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    try:
        with np.errstate(invalid="ignore"):  # what is no whole number is refused below
            whole = y.astype(np.int64)
        same = np.array_equal(whole, y)
    except (TypeError, ValueError, OverflowError):
        same = False
    if y.shape != (rows,) or not same or (whole < 0).any() or (whole >= classes).any():
        raise ProofError(
            f"The ground truth is not one class from 0 to {classes - 1} for each of {rows} rows.",
            "Check `ground_truth`.",
        )
    return whole


def ece_equal_mass(probabilities: Floats, labels: Ints, bins: int = BINS) -> float:
    """Expected calibration error of the likeliest class over bins of equally many rows, in the order of confidence (Nixon et al. 2019)."""
    if not len(labels):
        return 0.0
    top, right = probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(float)
    order = np.argsort(top, kind="stable")
    parts = [p for p in np.array_split(order, min(bins, len(order))) if len(p)]
    return float(sum(abs(right[p].sum() - top[p].sum()) for p in parts) / len(labels))


def smooth_ece(probabilities: Floats, labels: Ints) -> float:
    """Smooth calibration error of the likeliest class: the width at which the Gaussian-smoothed error equals the width (Błasiok and Nakkiran 2023).

    The kernel is reflected at 0 and 1, so that no mass is lost at the borders.
    """
    if not len(labels):
        return 0.0
    top, right = probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(float)
    cells = np.minimum((top * _GRID).astype(np.int64), _GRID - 1)
    mass = np.bincount(cells, weights=right - top, minlength=_GRID) / len(labels)
    low, high = 1.0 / _GRID, 1.0
    if _smoothed(mass, low) <= low:
        return _smoothed(mass, low)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if _smoothed(mass, middle) <= middle else (middle, high)
    return high


def _smoothed(mass: Floats, width: float) -> float:
    """Integral of the absolute value of the smoothed error; `mass` [cells] holds the error of each cell.

    Smoothing with a Gaussian that is reflected at both borders damps each cosine by itself.
    """
    waves, order = _cosines(), np.arange(_GRID)
    damped = (waves @ mass) * np.exp(-0.5 * (np.pi * order * width) ** 2)
    damped[1:] *= 2.0
    return float(np.abs(waves.T @ damped).mean())


@lru_cache(maxsize=1)
def _cosines() -> Floats:
    """cos(pi k t) of every wave k at the middle t of every cell [waves, cells]."""
    at = (np.arange(_GRID) + 0.5) / _GRID
    found: Floats = np.cos(np.pi * np.arange(_GRID)[:, None] * at[None, :])
    return found


def brier_parts(probabilities: Floats, labels: Ints, bins: int = BINS) -> dict[str, float]:
    """Brier score of "the likeliest class is right" in parts (Murphy 1973; within bins, Stephenson et al. 2008).

    Returns:
        score = reliability - resolution + uncertainty + within; `within` is what rows of one bin differ among themselves.
    """
    top, right = probabilities.max(axis=1), (probabilities.argmax(axis=1) == labels).astype(float)
    n, base = max(len(labels), 1), float(right.mean()) if len(labels) else 0.0
    rows = reliability(probabilities, labels, bins)
    score = float(((top - right) ** 2).mean()) if len(labels) else 0.0
    told = sum(b["n"] * (b["confidence"] - b["accuracy"]) ** 2 for b in rows) / n
    resolved = sum(b["n"] * (b["accuracy"] - base) ** 2 for b in rows) / n
    unsure = base * (1 - base)
    return {
        "score": score,
        "reliability": told,
        "resolution": resolved,
        "uncertainty": unsure,
        "within": score - told + resolved - unsure,
    }


def fit_platt(logits: Floats, labels: Ints) -> Platt:
    """Fit Platt's two numbers by damped Newton steps on his smoothed targets (Platt 1999; Lin, Lin and Weng 2007). Never NaN."""
    s, right = log_odds(np.exp(log_softmax(logits))), np.exp(log_softmax(logits)).argmax(axis=1) == labels
    hits, misses = int(right.sum()), int((~right).sum())
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))
    found = np.array([0.0, np.log((hits + 1) / (misses + 1))])
    design = np.stack([s, np.ones_like(s)], axis=1)
    loss = _platt_loss(design @ found, target)
    for _ in range(100):
        p = _sigmoid(design @ found)
        slope = design.T @ (p - target)
        bend = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step, size = np.linalg.solve(bend, slope), 1.0
        while size > 1e-10 and _platt_loss(design @ (found - size * step), target) > loss:
            size /= 2
        found = found - size * step
        now = _platt_loss(design @ found, target)
        if size <= 1e-10 or loss - now < 1e-12 * (1 + abs(loss)):
            break
        loss = now
    return Platt(float(found[0]), float(found[1]))


def log_odds(probabilities: Floats) -> Floats:
    """Log-odds [n] of the likeliest class, finite also for a probability of 1."""
    top = np.clip(probabilities.max(axis=1), _EDGE, 1 - _EDGE)
    found: Floats = np.log(top) - np.log1p(-top)
    return found


def _platt_loss(z: Floats, target: Floats) -> float:
    return float((np.logaddexp(0.0, z) - target * z).sum())


def _sigmoid(z: Floats) -> Floats:
    found: Floats = np.exp(-np.logaddexp(0.0, -z))
    return found


def with_platt(probabilities: Floats, platt: Platt) -> Floats:
    """Probabilities [n, k] with the likeliest class at what Platt says, the others in their old proportions; it stays the likeliest."""
    rows, best = np.arange(len(probabilities)), probabilities.argmax(axis=1)
    rest = probabilities.copy()
    rest[rows, best] = 0.0
    sums = rest.sum(axis=1, keepdims=True)
    share = np.where(sums > 0, rest / np.where(sums > 0, sums, 1.0), 1.0 / max(probabilities.shape[1] - 1, 1))
    share[rows, best] = 0.0
    # At least as likely as the second: c >= (1 - c) * largest share.
    second = share.max(axis=1)
    sure = np.maximum(_sigmoid(platt.a * log_odds(probabilities) + platt.b), second / (1 + second))
    out = share * (1 - sure)[:, None]
    out[rows, best] = sure
    found: Floats = out / out.sum(axis=1, keepdims=True)
    return found


def measured(probabilities: Floats, labels: Ints) -> dict[str, Any]:
    """Every measure of a set of rows: n, classes, accuracy, nll, ece10, ece15, ece15_equal_mass, smooth_ece, brier, brier_top, reliability."""
    with np.errstate(divide="ignore"):
        logs = log_softmax(np.log(probabilities))
    return {
        "n": len(labels),
        "classes": probabilities.shape[1],
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()) if len(labels) else 0.0,
        "nll": nll(logs, labels),
        "ece10": ece(probabilities, labels, 10),
        "ece15": ece(probabilities, labels),
        "ece15_equal_mass": ece_equal_mass(probabilities, labels),
        "smooth_ece": smooth_ece(probabilities, labels),
        "brier": brier(probabilities, labels),
        "brier_top": brier_parts(probabilities, labels),
        "reliability": reliability(probabilities, labels),
    }


def calibrated(logits: Floats, labels: Ints, fit_rows: int | None = None) -> dict[str, Any]:
    """Fit both ways and measure.

    Args:
        fit_rows: fit on so many first rows and measure the gain on the rest; None fits and measures on all rows, which flatters.

    Returns:
        all: `measured` of every row as it is; temperature, platt: what was fitted; at_bound: whether a better temperature lies beyond those that are tried; before, temperature_after, platt_after: `measured` of
        the rows that were not fitted on (of all rows when `fit_rows` is None).

    Raises:
        ProofError: too few rows on either side.
    """
    count = len(labels) if fit_rows is None else fit_rows
    if not 1 <= count <= len(labels) or (fit_rows is not None and count == len(labels)):
        raise ProofError(
            f"{count} of {len(labels)} rows cannot be fitted on.", "Leave some rows to measure on."
        )
    shown, truth = (logits, labels) if fit_rows is None else (logits[count:], labels[count:])
    temperature, platt = (
        fit_temperature(logits[:count], labels[:count]),
        fit_platt(logits[:count], labels[:count]),
    )
    plain = np.exp(log_softmax(shown))
    return {
        "all": measured(np.exp(log_softmax(logits)), labels),
        "fitted_on": count,
        "temperature": temperature,
        "at_bound": temperature in (LOWEST, HIGHEST),
        "platt": {"a": platt.a, "b": platt.b},
        "before": measured(plain, truth),
        "temperature_after": measured(np.exp(log_softmax(shown, temperature)), truth),
        "platt_after": measured(with_platt(plain, platt), truth),
    }
