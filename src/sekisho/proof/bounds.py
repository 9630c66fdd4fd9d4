"""Exact bounds of a rate (Clopper and Pearson 1934). A share without its bound is not reported anywhere in this house."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from ..core.errors import ProofError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """`k` of `n` cases, with exact bounds.

    Attributes:
        rate: k / n; None when n is 0, and then the bounds are 0 and 1.
        low, high: two-sided Clopper–Pearson interval.
        upper: one-sided upper bound, the one a promise such as "at most 5 %" is made with.
    """

    k: int
    n: int
    rate: float | None
    low: float
    high: float
    upper: float

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@lru_cache(maxsize=65536)
def upper_bound(k: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper Clopper–Pearson bound of k misses in n cases; 1 when n is 0."""
    _check(k, n, confidence)
    if k == n:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(confidence, k + 1, n - k))


def grouped_upper_bound(groups: Sequence[tuple[int, int]], confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of a rate whose cases come in groups that depend on each other (Korn and Graubard 1998).

    It is the Clopper–Pearson bound of the effective number of cases: n over the design effect, the variance of the rate with groups over
    that without. It is never below `upper_bound` of the same misses. Where all cases or none are misses, the design effect cannot be seen
    and members of a group are taken to be copies of each other (Kish 1965).

    Args:
        groups: misses and cases of each group; a group has at least one case.
    """
    for k, n in groups:
        _check(k, n, confidence)
    k, n = sum(k for k, _ in groups), sum(n for _, n in groups)
    if k == n:
        return 1.0
    effect = _design_effect(groups, k, n)
    from scipy.stats import beta

    return float(beta.ppf(confidence, k / effect + 1, (n - k) / effect))


def _design_effect(groups: Sequence[tuple[int, int]], k: int, n: int) -> float:
    if k == 0 or len(groups) < 2:
        return sum(size**2 for _, size in groups) / n
    rate = k / n
    spread = sum((misses - rate * size) ** 2 for misses, size in groups)
    single = n * n * rate * (1 - rate) / (n - 1)
    return max(1.0, len(groups) / (len(groups) - 1) * spread / single)


@lru_cache(maxsize=65536)
def lower_bound(k: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided lower Clopper–Pearson bound of k in n; 0 when k is 0."""
    _check(k, n, confidence)
    if k == 0:
        return 0.0
    from scipy.stats import beta

    return float(beta.ppf(1.0 - confidence, k, n - k + 1))


def rate(k: int, n: int, confidence: float = CONFIDENCE) -> Rate:
    """Return `k` of `n` as a Rate: two-sided bounds at `confidence`, and the one-sided upper bound at `confidence`."""
    two_sided = (1.0 + confidence) / 2.0
    return Rate(
        k,
        n,
        k / n if n else None,
        lower_bound(k, n, two_sided),
        upper_bound(k, n, two_sided),
        upper_bound(k, n, confidence),
    )


def rate_of(value: Mapping[str, Any]) -> float | None:
    """Read the point estimate back from a rate's JSON."""
    found = value["rate"]
    return None if found is None else float(found)


@lru_cache(maxsize=1024)
def cases_needed(k: int, alpha: float, confidence: float = CONFIDENCE) -> int:
    """Return the fewest cases at which `k` misses still prove a rate of at most `alpha`: 59, 93, 124 … at 5 % and 95 %."""
    if not 0.0 < alpha < 1.0:
        raise ProofError(f"A rate of {alpha} cannot be proved.", "Give alpha between 0 and 1.")
    low, high = k, k + 1
    while upper_bound(k, high, confidence) > alpha:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if upper_bound(k, middle, confidence) <= alpha else (middle, high)
    return high


def _check(k: int, n: int, confidence: float) -> None:
    if not 0 <= k <= n or not 0.0 < confidence < 1.0:
        raise ProofError(
            f"{k} of {n} at confidence {confidence} is no rate.", "Give 0 ≤ k ≤ n and 0 < confidence < 1."
        )
