"""The baseline every claim stands beside: a linear model over character n-grams, trained on the same rows in the same run.

It reads no meaning at all, only which characters stand together. A gate that is not above it has learnt language, topic or source. It gets a
temperature and a threshold of its own from the same calibration split by the same rules, so that false allows and escalations compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.deciding import OPTIONS
from ..core.errors import ProofError
from ..core.records import Decision
from .bounds import CONFIDENCE
from .calibration import Calibration, fit
from .measures import Scored
from .probabilities import Floats
from .threshold import Threshold, choose

SEED = 20261121
_RARE_FROM = 200
"""From this many rows on, an n-gram must occur in two of them."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A row with its text, as the baseline reads it; `id`, `label`, `meta` and `group` as in Scored."""

    id: str
    text: str
    label: Decision
    meta: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""


class Baseline:
    """TF-IDF of character 1- to 4-grams (logarithmic counts) and multinomial logistic regression.

    Args:
        rows: training rows.
        seed: of the solver; the same rows and seed give the same model.

    Raises:
        ProofError: when fewer than two decisions occur.
    """

    def __init__(self, rows: Sequence[Labelled], seed: int = SEED) -> None:
        present = {r.label for r in rows}
        if len(present) < 2:
            raise ProofError(
                f"The baseline's {len(rows)} training rows hold {len(present)} kinds of decision.",
                "Give rows of at least two.",
            )
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        rare = 2 if len(rows) >= _RARE_FROM else 1
        self._pipeline = make_pipeline(
            TfidfVectorizer(
                analyzer="char", ngram_range=(1, 4), min_df=rare, sublinear_tf=True, dtype=np.float32
            ),
            LogisticRegression(C=10.0, max_iter=300, random_state=seed),
        )
        self._pipeline.fit([r.text for r in rows], [r.label for r in rows])
        self._n = len(rows)

    def logprobs(self, texts: Sequence[str]) -> Floats:
        """Return log-probabilities [n, 3] over ALLOW, DENY, ESCALATE.

        A decision that never occurred in training gets 1 / (rows + 3), the rule of succession, not an impossible 0.
        """
        known = [str(c) for c in self._pipeline.classes_]
        out = np.full((len(texts), len(OPTIONS)), 1.0 / (self._n + len(OPTIONS)))
        if texts:
            left = 1.0 - out[0, 0] * (len(OPTIONS) - len(known))
            out[:, [OPTIONS.index(c) for c in OPTIONS if c in known]] = left * self._pipeline.predict_proba(
                texts
            )
        logged: Floats = np.log(np.maximum(out, np.finfo(np.float64).tiny))
        return logged

    def score(self, rows: Sequence[Labelled]) -> list[Scored]:
        """Return one Scored a row, in order, without guards."""
        scores = self.logprobs([r.text for r in rows]).tolist()
        return [
            Scored(r.id, r.label, tuple(s), (), r.meta, r.group) for r, s in zip(rows, scores, strict=True)
        ]


@dataclass(frozen=True)
class BaselineRun:
    """The baseline on the same rows: its own calibration and threshold, and its scores by split name."""

    calibration: Calibration
    threshold: Threshold
    scored: Mapping[str, list[Scored]]


def run(
    train: Sequence[Labelled],
    calibration: Sequence[Labelled],
    splits: Mapping[str, Sequence[Labelled]],
    fitted_on: str,
    *,
    alpha: float = 0.05,
    confidence: float = CONFIDENCE,
    per_stratum: bool = False,
    seed: int = SEED,
) -> BaselineRun:
    """Train, calibrate, choose the threshold and score every split, all as the candidate does."""
    model = Baseline(train, seed)
    held = model.score(calibration)
    fitted = fit(held, fitted_on)
    threshold = choose(held, fitted.temperature, alpha, confidence, per_stratum=per_stratum)
    return BaselineRun(fitted, threshold, {name: model.score(rows) for name, rows in splits.items()})
