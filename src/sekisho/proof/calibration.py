"""Temperature scaling (Guo et al. 2017): one number that makes probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core.canonical import digest_json
from ..core.errors import ProofError
from .measures import Scored, labels_of, logits_of, sureness
from .probabilities import Floats, Ints, log_softmax

LOWEST, HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature and where it came from.

    Attributes:
        fitted_on: digest or name of the rows it was fitted on.
        n: number of those rows.
        ece_before, ece_after: ECE-15 on those rows; the hold-out's figures are in the report.
    """

    temperature: float
    fitted_on: str
    n: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float

    @property
    def id(self) -> str:
        """Digest of the content: the same fit has the same id."""
        return digest_json(asdict(self))

    @property
    def at_bound(self) -> bool:
        """Whether the fit ran into LOWEST or HIGHEST: the rows are too few, too easy, or say nothing."""
        return self.temperature in (LOWEST, HIGHEST)

    def json(self) -> dict[str, Any]:
        """As JSON values, with the id."""
        return {**asdict(self), "id": self.id}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Calibration:
        """Read back what `json` wrote. Raises ProofError when the content is not what its id says."""
        try:
            found = Calibration(**{k: v for k, v in value.items() if k != "id"})
        except TypeError as e:
            raise ProofError(f"This is no calibration: {e}.", "Fit it again with `sekisho prove`.") from None
        if found.id != value.get("id"):
            raise ProofError(
                "The calibration was altered after it was fitted.", "Fit it again with `sekisho prove`."
            )
        return found


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """Return the temperature in [0.05, 20] that minimises the negative log-likelihood.

    The loss is convex in b = 1/T; its slope, mean(E_p[z] - z_label), is found zero by bisection in a bracket. Undamped Newton diverges to
    NaN on overconfident logits. Logits that are all equal in each row say nothing about T and give 1.

    Args:
        logits: [n, k], any real numbers; log-probabilities are logits too.
        labels: [n], column of the right class.
    """
    if not len(labels):
        raise ProofError("There are no rows to calibrate on.", "Check the calibration split.")
    z = log_softmax(np.asarray(logits, dtype=np.float64))
    z = z - z.max(axis=1, keepdims=True)
    if not z.any():
        return 1.0
    right = z[np.arange(len(labels)), labels]
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    if _slope(z, right, high) <= 0:
        return LOWEST
    if _slope(z, right, low) >= 0:
        return HIGHEST
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if _slope(z, right, middle) > 0 else (middle, high)
    return float(1.0 / ((low * high) ** 0.5))


def _slope(z: Floats, right: Floats, b: float) -> float:
    """Derivative of the mean NLL in the inverse temperature `b`; z [n, k] with row maximum 0, right [n]."""
    p = np.exp(log_softmax(z, 1.0 / b))
    return float(((p * z).sum(axis=1) - right).mean())


def fit(rows: Sequence[Scored], fitted_on: str) -> Calibration:
    """Fit a Calibration on rows.

    Args:
        fitted_on: digest or name of the rows, kept with the result.
    """
    temperature = fit_temperature(logits_of(rows), labels_of(rows))
    s = sureness(rows, temperature)
    return Calibration(
        temperature, fitted_on, len(rows), s["ece_before"], s["ece_after"], s["nll_before"], s["nll_after"]
    )
