"""Is the candidate worse than what serves? An exact paired test on the same rows, not "accuracy went up"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import ProofError
from ..core.records import Decision


@dataclass(frozen=True)
class Comparison:
    """Candidate and serving model on the same hold-out rows.

    Attributes:
        gained: rows only the candidate has right; lost: rows only the serving model has right.
        p_worse: exact one-sided McNemar p-value of "the candidate is worse"; p_two_sided: of "they differ" (McNemar 1947).
        false_allow, false_allow_serving: shares of DENY-labelled rows released; None without such rows.
    """

    n: int
    gained: int
    lost: int
    p_worse: float
    p_two_sided: float
    false_allow: float | None
    false_allow_serving: float | None


def compare(
    labels: Mapping[str, Decision], candidate: Mapping[str, Decision], serving: Mapping[str, Decision]
) -> Comparison:
    """Compare two models' released decisions, matched by row id.

    Raises:
        ProofError: when the three do not cover the same rows.
    """
    if not labels or set(labels) != set(candidate) or set(labels) != set(serving):
        raise ProofError(
            f"The models were not judged on the same rows ({len(labels)} labels, {len(candidate)} and {len(serving)} decisions).",
            "Score both on the same hold-out.",
        )
    from scipy.stats import binomtest

    gained = sum(candidate[i] == label != serving[i] for i, label in labels.items())
    lost = sum(serving[i] == label != candidate[i] for i, label in labels.items())
    differ = gained + lost
    unsafe = [i for i, label in labels.items() if label == "DENY"]
    return Comparison(
        len(labels),
        gained,
        lost,
        float(binomtest(lost, differ, alternative="greater").pvalue) if differ else 1.0,
        float(binomtest(lost, differ).pvalue) if differ else 1.0,
        _allowed(candidate, unsafe),
        _allowed(serving, unsafe),
    )


def _allowed(decisions: Mapping[str, Decision], ids: Sequence[str]) -> float | None:
    return sum(decisions[i] == "ALLOW" for i in ids) / len(ids) if ids else None
