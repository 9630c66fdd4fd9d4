"""How right a rubric's answers are: by criterion, against always saying what is more frequent, and as probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.question import Frozen

Floats = NDArray[np.float64]
_BINS = 15


class RubricMeasures(Frozen):
    """Figures over labelled images.

    Attributes:
        accuracy: share of right answers by criterion.
        majority: what always giving the criterion's more frequent answer would have scored.
        recall: share of the yes answers that were found, by criterion; None where no image has one.
        mean, worst: over the criteria; `worst_id` names the worst.
        balanced: mean over criteria of the mean of both answers' recalls, where both occur.
        ece: expected calibration error over all answers, 15 bins of equal width of the probability of yes.
        pattern: share of images with the right outcome.
    """

    images: int
    accuracy: Mapping[str, float]
    majority: Mapping[str, float]
    recall: Mapping[str, float | None]
    mean: float
    worst: float
    worst_id: str
    majority_mean: float
    balanced: float
    ece: float
    pattern: float


def measure(
    ids: Sequence[str], probabilities: Floats, answers: Floats, thresholds: Floats, patterns: float
) -> RubricMeasures:
    """Measure answers.

    Args:
        probabilities, answers: `[images, criteria]`.
        thresholds: `[criteria]`.
        patterns: share of images with the right outcome.
    """
    said = probabilities >= thresholds
    right = (said == (answers > 0)).mean(axis=0)
    share = answers.mean(axis=0)
    found = [float(said[answers[:, i] > 0, i].mean()) if share[i] else None for i in range(len(ids))]
    spared = [float((~said[answers[:, i] == 0, i]).mean()) if share[i] < 1 else None for i in range(len(ids))]
    pairs = [(f + s) / 2 for f, s in zip(found, spared, strict=True) if f is not None and s is not None]
    return RubricMeasures(
        images=len(answers),
        accuracy=dict(zip(ids, right.tolist(), strict=True)),
        majority=dict(zip(ids, np.maximum(share, 1 - share).tolist(), strict=True)),
        recall=dict(zip(ids, found, strict=True)),
        mean=float(right.mean()),
        worst=float(right.min()),
        worst_id=ids[int(right.argmin())],
        majority_mean=float(np.maximum(share, 1 - share).mean()),
        balanced=float(np.mean(pairs)) if pairs else 0.0,
        ece=ece(probabilities.ravel(), answers.ravel()),
        pattern=patterns,
    )


def ece(probabilities: Floats, answers: Floats) -> float:
    """Expected calibration error of the probability of yes (Naeini and others 2015), 15 bins of equal width."""
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for b in range(_BINS):
        inside = bins == b
        if inside.any():
            total += inside.mean() * abs(probabilities[inside].mean() - answers[inside].mean())
    return float(total)
