"""How right an eye is on labelled images where not every criterion need be labelled, and the scales that labels can mend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.question import Frozen
from .bounds import CONFIDENCE, lower_bound, rate
from .platt import fit, sigmoid
from .rubric import ece

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Scale = tuple[float, float]
"""Slope and offset of log-odds."""

LEAST = 20
"""Fewest yes, and fewest no, that a criterion is fitted on: ten of the rarer answer for each of the two numbers, the rule of thumb of logistic regression (Peduzzi and others 1996)."""
LEAST_HELD = 5
"""Fewest yes, and fewest no, that a fit is checked on: with fewer, one image decides."""
FLATTEST = 0.05
"""Slope at which `platt.fit` ends: the likelier the eye says yes, the less, or no more, it is so."""
_EDGE = 1e-12


class CriterionMeasures(Frozen):
    """One criterion over the images it is labelled on.

    Attributes:
        n, yes: labels, and those of them that are yes.
        accuracy: share of right answers, as `bounds.Rate` with its 95 % Clopper–Pearson bounds.
        majority: what always giving the more frequent of these labels would score.
        balanced: mean of both answers' recalls; None where all labels are the same.
        log_loss: mean negative natural logarithm of the probability of the label.
    """

    n: int
    yes: int
    accuracy: Mapping[str, Any]
    majority: float
    balanced: float | None
    log_loss: float


class LabelMeasures(Frozen):
    """Figures over labelled images. Means are over the criteria that have labels; those without are absent.

    Attributes:
        answers: labels in all.
        mean, majority_mean: of the criteria's accuracies, and of always giving the more frequent answer.
        balanced: mean of the criteria that have both answers; None when none has.
        ece: expected calibration error of the probability of yes over all answers, 15 bins of equal width.
        wins, losses: images on which the eye is right more, and less often than the more frequent answers are.
        outcome: share of right outcomes with its bounds, of the images on which every criterion is labelled.
    """

    images: int
    answers: int
    mean: float
    majority_mean: float
    balanced: float | None
    ece: float
    wins: int
    losses: int
    outcome: Mapping[str, Any]
    criteria: Mapping[str, CriterionMeasures]

    @property
    def better(self) -> bool:
        """Whether the eye is right more often than the more frequent answers are: the exact sign test over images, one-sided at 5 %.

        Those answers are taken from these very labels, so that the eye has it harder than they have.
        """
        return lower_bound(self.wins, self.wins + self.losses, CONFIDENCE) > 0.5


class Fitted(Frozen):
    """What labels can say of the scales.

    Attributes:
        scales: the criteria that are fitted anew, and only those.
        left: why each other one stays as it was: `few_labels`, `flat` or `worse`.
        rows: labelled answers that were fitted on.
        measures: of the held-out answers of the fitted criteria: their number `n`; `nll` (mean negative log-likelihood) and `ece15` before and after;
            `nll_before:ID` and `nll_after:ID` by criterion.
    """

    scales: Mapping[str, Scale]
    left: Mapping[str, str]
    rows: int
    measures: Mapping[str, float]


def chances(log_odds: Floats, ids: Sequence[str], scales: Mapping[str, Scale]) -> Floats:
    """Calibrated probabilities of yes `[images, criteria]`; a criterion without a scale is taken as it is."""
    pairs = np.array([scales.get(i, (1.0, 0.0)) for i in ids])
    return sigmoid(log_odds * pairs[:, 0] + pairs[:, 1])


def measure_labelled(
    ids: Sequence[str],
    probabilities: Floats,
    labels: Floats,
    thresholds: Floats,
    outcomes: tuple[int, int],
) -> LabelMeasures:
    """Measure answers where there are labels.

    Args:
        probabilities: calibrated, of yes, `[images, criteria]`.
        labels: of the same shape: 0, 1, or NaN where there is none. At least one is none of these NaN.
        thresholds: `[criteria]`.
        outcomes: right ones, and images on which every criterion is labelled.
    """
    there = ~np.isnan(labels)
    said = probabilities >= thresholds
    criteria = {
        id: _criterion(probabilities[there[:, i], i], said[there[:, i], i], labels[there[:, i], i] > 0)
        for i, id in enumerate(ids)
        if there[:, i].any()
    }
    wins, losses = _against_majority(said, labels, there)
    both = [c.balanced for c in criteria.values() if c.balanced is not None]
    return LabelMeasures(
        images=len(labels),
        answers=int(there.sum()),
        mean=float(np.mean([c.accuracy["rate"] for c in criteria.values()])),
        majority_mean=float(np.mean([c.majority for c in criteria.values()])),
        balanced=float(np.mean(both)) if both else None,
        ece=ece(probabilities[there], labels[there]),
        wins=wins,
        losses=losses,
        outcome=rate(*outcomes).json(),
        criteria=criteria,
    )


def _criterion(probabilities: Floats, said: Mask, truth: Mask) -> CriterionMeasures:
    right, n, yes = said == truth, len(truth), int(truth.sum())
    both = 0 < yes < n
    return CriterionMeasures(
        n=n,
        yes=yes,
        accuracy=rate(int(right.sum()), n).json(),
        majority=max(yes, n - yes) / n,
        balanced=float((right[truth].mean() + right[~truth].mean()) / 2) if both else None,
        log_loss=log_loss(probabilities, truth.astype(float)),
    )


def _against_majority(said: Mask, labels: Floats, there: Mask) -> tuple[int, int]:
    """Images on which what is said has more, and fewer, right answers than the more frequent label of each criterion."""
    counts = there.sum(axis=0)
    more = (labels == 1).sum(axis=0) * 2 > counts
    eye = ((said == (labels == 1)) & there).sum(axis=1)
    rival = ((more == (labels == 1)) & there).sum(axis=1)
    return int((eye > rival).sum()), int((eye < rival).sum())


def log_loss(probabilities: Floats, labels: Floats) -> float:
    """Mean negative log-likelihood of labels 0 and 1, in nats; a probability is held at least 1e-12 from 0 and 1."""
    p = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return float(-(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean())


def fit_scales(
    ids: Sequence[str], log_odds: Floats, labels: Floats, held: Mask, now: Mapping[str, Scale]
) -> Fitted:
    """Fit a slope and an offset to each criterion that has labels enough, and keep those that do not raise the log loss of images held out.

    Args:
        log_odds: uncalibrated, `[images, criteria]`.
        labels: of the same shape: 0, 1, or NaN where there is none.
        held: `[images]`, true where an image is kept for the check.
        now: the scales in force, which a fit must not be worse than.
    """
    scales: dict[str, Scale] = {}
    left: dict[str, str] = {}
    for i, id in enumerate(ids):
        there = ~np.isnan(labels[:, i])
        x, y, apart = log_odds[there, i], labels[there, i], held[there]
        found = _fitted(x, y, apart, now.get(id, (1.0, 0.0)))
        if isinstance(found, str):
            left[id] = found
        else:
            scales[id] = found
    kept = [i for i, id in enumerate(ids) if id in scales]
    rows = int((~np.isnan(labels[~held][:, kept])).sum())
    return Fitted(
        scales=scales, left=left, rows=rows, measures=_check(ids, kept, log_odds, labels, held, now, scales)
    )


def _fitted(x: Floats, y: Floats, held: Mask, now: Scale) -> Scale | str:
    """A criterion's scale, or why it stays."""
    if _rarer(y[~held]) < LEAST or _rarer(y[held]) < LEAST_HELD:
        return "few_labels"
    slope, offset = fit(x[~held], y[~held])
    if slope <= FLATTEST:
        return "flat"
    before, after = (log_loss(sigmoid(a * x[held] + b), y[held]) for a, b in (now, (slope, offset)))
    return "worse" if after >= before else (slope, offset)


def _rarer(labels: Floats) -> int:
    yes = int(labels.sum())
    return min(yes, len(labels) - yes)


def _check(
    ids: Sequence[str],
    kept: Sequence[int],
    log_odds: Floats,
    labels: Floats,
    held: Mask,
    now: Mapping[str, Scale],
    scales: Mapping[str, Scale],
) -> dict[str, float]:
    """Figures of the held-out answers of the criteria that were fitted, before and after."""
    if not kept:
        return {}
    names, truth = [ids[i] for i in kept], labels[held][:, kept]
    there = ~np.isnan(truth)
    found = {"n": float(there.sum())}
    for when, by in (("before", now), ("after", scales)):
        p = chances(log_odds[held][:, kept], names, by)
        found |= {
            f"nll_{when}": log_loss(p[there], truth[there]),
            f"ece15_{when}": ece(p[there], truth[there]),
        }
        for i, id in enumerate(names):
            found[f"nll_{when}:{id}"] = log_loss(p[there[:, i], i], truth[there[:, i], i])
    return found
