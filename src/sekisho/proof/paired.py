"""Two classifiers on the same rows: exact McNemar, bootstrap intervals, F1 a label, Brier, calibration error, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from ..core.errors import ProofError
from .probabilities import Floats, Ints, brier, ece

Rule = Literal["better", "not_worse"]


@dataclass(frozen=True)
class Terms:
    """What a candidate must show.

    Attributes:
        rule: better: significantly more right than what serves; not_worse: at most `margin` less, with the stated confidence.
        alpha: with `better`, the most probability that any candidate that is no better than what serves ever passes against it, however many are proved and however often.
        look: which proof against what serves this is, from 1.
        accuracy: least accuracy on the target hold-out.
        margin: most accuracy the guard set may lose, with confidence 1 - alpha.
        least: fewest rows of the target hold-out.
        looked_at: which share of the right answers people looked at, if they found all wrong ones. Below 1, what the rival has wrong is over-represented among the rows.
    """

    rule: Rule = "better"
    alpha: float = 0.05
    look: int = 1
    accuracy: float = 0.85
    margin: float = 0.05
    least: int = 30
    looked_at: float = 1.0

    @property
    def chance(self) -> float:
        """The most probability with which a candidate that is no better wins a row on which the two differ: of those it would lose only `looked_at` are among the rows."""
        return 1 / (1 + self.looked_at)

    @property
    def level(self) -> float:
        """Level of this look's test: 6 alpha / (pi look)². Over all looks these add up to alpha, so that it holds whatever depends on what (Bonferroni)."""
        return 6 * self.alpha / (math.pi * self.look) ** 2


@dataclass(frozen=True)
class Versus:
    """Rival and candidate on the same rows.

    Attributes:
        gained, lost: rows only the candidate, or only the rival, has right.
        p_better, p_worse: exact one-sided McNemar p-values; p_two_sided: of "they differ" (McNemar 1947).
        documents_gained, documents_lost: of one row a document, its lot, those only the candidate, or only the rival, has right. Rows of one document are not independent, documents are.
        difference: accuracy gained; low, high: its 95 % bootstrap interval; least: its one-sided lower bound at 1 - alpha (`least_difference`).
    """

    n: int
    gained: int
    lost: int
    p_better: float
    p_worse: float
    p_two_sided: float
    documents_gained: int
    documents_lost: int
    difference: float
    low: float
    high: float
    least: float

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@lru_cache(maxsize=65536)
def tail(k: int, n: int, chance: float = 0.5) -> float:
    """P(X >= k) of a coin thrown n times that falls on its head with that chance; exactly for a fair one."""
    if k <= 0:
        return 1.0
    if chance >= 1:
        return 1.0
    if chance == 0.5:
        return float(sum(math.comb(n, i) for i in range(k, n + 1)) / 2**n)
    head, other = math.log(chance), math.log1p(-chance)
    ways = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k, n + 1)]
    return min(1.0, math.fsum(math.exp(w + i * head + (n - i) * other) for i, w in enumerate(ways, k)))


def mcnemar(gained: int, lost: int) -> tuple[float, float, float]:
    """Exact p-values: the candidate is better, is worse, they differ. All 1 when they agree on every row."""
    n = gained + lost
    better, worse = tail(gained, n), tail(lost, n)
    return better, worse, min(1.0, 2 * min(better, worse))


def versus(
    rival: Ints,
    candidate: Ints,
    labels: Ints,
    alpha: float = 0.05,
    draws: int = 2000,
    seed: int = 1,
    alone: Sequence[bool] | None = None,
) -> Versus:
    """Compare two models' answers [n] on the same rows with their labels [n].

    Args:
        alone: which rows [n] are their documents' lots, at most one a document; None when each row is a document of its own.

    The bootstrap draws rows with replacement; only gained, lost and tied rows differ, so their counts are drawn (a multinomial).

    Raises:
        ProofError: without rows, or with another number of answers.
    """
    if not len(labels) or not len(rival) == len(candidate) == len(labels):
        raise ProofError("The models were not judged on the same rows.", "Score both on the same hold-out.")
    hit, hit_rival = candidate == labels, rival == labels
    gained, lost, n = int((hit & ~hit_rival).sum()), int((hit_rival & ~hit).sum()), len(labels)
    counts = np.random.default_rng(seed).multinomial(
        n, [gained / n, lost / n, (n - gained - lost) / n], size=draws
    )
    drawn = (counts[:, 0] - counts[:, 1]) / n
    low, high = (float(np.quantile(drawn, q)) for q in (0.025, 0.975))
    least = least_difference(gained, lost, n, alpha)
    one = np.ones(n, dtype=bool) if alone is None else np.asarray(alone, dtype=bool)
    by_document = int((hit & ~hit_rival)[one].sum()), int((hit_rival & ~hit)[one].sum())
    return Versus(
        n, gained, lost, *mcnemar(gained, lost), *by_document, (gained - lost) / n, low, high, least
    )


def least_difference(gained: int, lost: int, n: int, alpha: float) -> float:
    """One-sided lower bound at 1 - alpha of the difference of two paired shares, by the score test (Tango 1998, Statistics in Medicine 17, 891-908).

    A bootstrap is too kind on few rows: of 30 without a loss it would say that nothing can be lost.
    """
    z = NormalDist().inv_cdf(1 - alpha)

    def passed(d: float) -> float:
        """How far the score at a difference `d` is above z; falls with d."""
        b = (2 * n - gained + lost) * d - gained - lost
        shared = (math.sqrt(max(0.0, b * b + 8 * n * lost * d * (1 - d))) - b) / (4 * n)
        spread = max(n * (2 * shared + d * (1 - d)), 1e-12)
        return (gained - lost - n * d) / math.sqrt(spread) - z

    low, high = -1.0, (gained - lost) / n
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if passed(middle) > 0 else (low, middle)
    return low


def scores_of(probabilities: Floats, labels: Ints, names: Sequence[str]) -> dict[str, Any]:
    """Accuracy, F1 a label (None where it cannot be said), macro F1, Brier and ECE-15 of rows [n, k]."""
    said = probabilities.argmax(axis=1)
    f1 = {}
    for i, name in enumerate(names):
        both = int((said == i).sum()) + int((labels == i).sum())
        f1[name] = 2 * int(((said == i) & (labels == i)).sum()) / both if both else None
    found = [f1[name] for i, name in enumerate(names) if (labels == i).any()]
    return {
        "n": len(labels),
        "accuracy": float((said == labels).mean()) if len(labels) else 0.0,
        "f1": f1,
        "macro_f1": float(np.mean([x for x in found if x is not None])) if found else None,
        "brier": brier(probabilities, labels),
        "ece": ece(probabilities, labels),
    }


@dataclass(frozen=True)
class Judged:
    """One set of rows as both models judged them: probabilities [n, k] of rival and candidate, labels [n]."""

    rival: Floats
    candidate: Floats
    labels: Ints

    def versus(self, alpha: float, alone: Sequence[bool] | None = None) -> Versus:
        """The paired comparison of their answers."""
        said = self.rival.argmax(axis=1), self.candidate.argmax(axis=1)
        return versus(*said, self.labels, alpha, alone=alone)


def verdict(
    target: Versus, accuracy: float, guard: Versus | None, terms: Terms
) -> tuple[bool, tuple[str, ...]]:
    """Say whether a candidate may be promoted, and why in words; every reason is given, also those that hold.

    Args:
        accuracy: the candidate's on the target hold-out.
        guard: None when there is no guard set, which is a reason to refuse.
    """
    found = [
        _enough(target, terms),
        _improves(target, terms),
        _reaches(accuracy, terms),
        _guards(guard, terms),
    ]
    return all(ok for ok, _ in found), tuple(why for _, why in found)


def _enough(target: Versus, terms: Terms) -> tuple[bool, str]:
    ok = target.n >= terms.least
    return ok, f"the hold-out has {target.n} reviewed rows{'' if ok else f', fewer than {terms.least}'}"


def _improves(target: Versus, terms: Terms) -> tuple[bool, str]:
    told = f"on the hold-out it gains {target.gained} rows and loses {target.lost}"
    chosen = f" (people looked at {terms.looked_at:.0%} of the right answers)" * (terms.looked_at < 1)
    if terms.rule == "better":
        p, by_document = p_values(target, terms)
        ok = max(p, by_document) <= terms.level
        limit = f"{terms.level:.3g}, its part of {terms.alpha:g} as proof {terms.look} against what serves"
        name = "exact McNemar" if terms.looked_at >= 1 else "binomial"
        one = f"{by_document:.3g} on one row a document ({target.documents_gained} gained, {target.documents_lost} lost)"
        test = f"{name} p = {p:.3g}, and {one}{chosen}"
        told = f"{told}: {test}, {'at most' if ok else 'not both at most'} {limit}"
        return ok, f"{told}{'' if ok else ', so no improvement is shown'}"
    # What is lost of answers at which nobody looked cannot be bounded by those at which somebody did: the rival may have been another when they got their words.
    least = target.least if terms.looked_at >= 1 else -1.0
    ok = least >= -terms.margin
    return (
        ok,
        f"{told}: with confidence {1 - terms.level:.4g} at least {least:+.3f}{chosen}, {'within' if ok else 'beyond'} the margin {terms.margin:g}",
    )


def p_values(target: Versus, terms: Terms) -> tuple[float, float]:
    """One-sided p-values of "the candidate is better", of all rows and of one row a document: McNemar's, exactly, with the chance of `Terms` in place of a half.

    With rows chosen by what the rival had wrong, a candidate that is no better wins more than half of those on which they differ.
    """
    return (
        tail(target.gained, target.gained + target.lost, terms.chance),
        tail(target.documents_gained, target.documents_gained + target.documents_lost, terms.chance),
    )


def _reaches(accuracy: float, terms: Terms) -> tuple[bool, str]:
    ok = accuracy >= terms.accuracy
    return ok, f"its accuracy there is {accuracy:.3f}, {'at least' if ok else 'below'} {terms.accuracy:g}"


def _guards(guard: Versus | None, terms: Terms) -> tuple[bool, str]:
    if guard is None:
        return False, "there is no guard set, so nobody knows what it forgot"
    ok = guard.least >= -terms.margin
    told = f"on {guard.n} general rows it changes by {guard.difference:+.3f}, with confidence {1 - terms.alpha:g} at least {guard.least:+.3f}"
    return ok, f"{told}, {'within' if ok else 'beyond'} the margin of {terms.margin:g}"
