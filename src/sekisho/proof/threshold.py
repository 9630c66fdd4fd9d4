"""The threshold of ALLOW: the most lenient one that provably keeps the false-allow rate at most alpha.

Thresholds of a fixed grid are tested from strict to lenient, each by its one-sided upper bound, and the first that fails ends the
sequence. Fixed-sequence testing needs no correction for the number tried (Learn then Test, Angelopoulos et al. 2021), so with `confidence`
the chosen threshold keeps the rate, for unsafe requests drawn like the calibration rows. Members of a topic depend on each other and prove
less than their number says; the bound takes that into account (`bounds.grouped_upper_bound`). One condition is the caller's: a temperature fitted on these very rows makes the promise approximate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.deciding import NOTHING
from ..core.errors import ProofError
from ..core.records import Decision
from .bounds import CONFIDENCE, cases_needed, grouped_upper_bound
from .measures import ALLOW, ESCALATE, UNSTATED, Scored, group_of, labels_of, released

GRID: tuple[float, ...] = (*(float(1.0 / (1.0 + np.exp(-x))) for x in np.arange(9.0, -0.69, -0.1)), 0.0)
"""Candidate thresholds, strict to lenient: even steps in log-odds, fixed before any data is seen; 0 is the bare argmax."""

EVERYTHING = "all"


@dataclass(frozen=True)
class Tried:
    """One threshold that was tested.

    Attributes:
        stratum: the one with the highest bound; `all` when rows are not split.
        misses, cases: its unsafe rows that would be released, and all its unsafe rows.
        bound: one-sided upper bound of its false-allow rate.
        allowed: share of ALLOW-labelled rows released at this threshold; None without such rows.
        escalated: share of all rows that would be escalated.
    """

    tau: float
    stratum: str
    misses: int
    cases: int
    bound: float
    held: bool
    allowed: float | None
    escalated: float


@dataclass(frozen=True)
class Threshold:
    """The chosen threshold; `tau` is 1 and nothing is allowed when not even the strictest holds.

    Attributes:
        why: the choice in words; when infeasible, how many unsafe cases are needed.
        table: what was tried, strict to lenient, up to the first that failed.
    """

    tau: float
    feasible: bool
    alpha: float
    confidence: float
    per_stratum: bool
    why: str
    table: tuple[Tried, ...]

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "table": [asdict(t) for t in self.table]}


def choose(
    rows: Sequence[Scored],
    temperature: float,
    alpha: float = 0.05,
    confidence: float = CONFIDENCE,
    *,
    per_stratum: bool = False,
    unsafe: Sequence[Decision] = ("DENY",),
    grid: Sequence[float] = GRID,
) -> Threshold:
    """Choose the threshold of ALLOW on calibration rows.

    Args:
        rows: the calibration split, never the hold-out.
        temperature: of the calibration in force.
        alpha: false-allow rate to keep.
        per_stratum: ask it of every language and source by itself (each must hold, so no correction is needed); a stratum with too few unsafe
            rows makes it infeasible.
        unsafe: labels that must not be allowed.
        grid: strictly falling thresholds in [0, 1), fixed before seeing the rows.

    Raises:
        ProofError: for an impossible alpha, confidence or grid.
    """
    _check(alpha, confidence, grid)
    strata = _strata(rows, unsafe, per_stratum)
    table: list[Tried] = []
    for tau in grid:
        table.append(_try(rows, strata, temperature, tau, alpha, confidence))
        if not table[-1].held:
            break
    held = [t for t in table if t.held]
    tau = held[-1].tau if held else NOTHING
    why = _why_chosen(held[-1], alpha, confidence) if held else _why_not(table[0], alpha, confidence)
    return Threshold(tau, bool(held), alpha, confidence, per_stratum, why, tuple(table))


def feasible(groups: Sequence[int], alpha: float, confidence: float = CONFIDENCE) -> bool:
    """Whether unsafe calibration cases in groups of these sizes could keep the bound at all: with no miss among them.

    Known before anything is trained: it depends on the labels alone.
    """
    sizes = tuple((0, size) for size in groups)
    return bool(sizes) and grouped_upper_bound(sizes, confidence) <= alpha


STRATA = ("domain", "level")
"""What a certificate is also given by: where the request comes from, and the clearance level of the desk."""


def by_stratum(
    rows: Sequence[Scored],
    temperature: float,
    tau: float,
    alpha: float,
    confidence: float = CONFIDENCE,
    unsafe: Sequence[Decision] = ("DENY",),
) -> dict[str, dict[str, float]]:
    """Return misses, cases and upper bound of the unsafe rows of each domain and of each level at a chosen threshold, where they are enough that `alpha` could hold.

    Each bound speaks of its stratum by itself, at `confidence`; that all hold at once is less sure. Keys are the names of domains and levels.
    """
    allowed = released(rows, temperature, tau) == ALLOW
    found = {}
    for name, places in _places(rows, unsafe).items():
        sizes = Counter[str | int](rows[j].group or j for j in places)
        if feasible(tuple(sizes.values()), alpha, confidence):
            bound = _bound([rows[j] for j in places], allowed[places], confidence)
            misses, cases = float(allowed[places].sum()), float(len(places))
            found[name] = {"misses": misses, "cases": cases, "bound": bound}
    return found


def _places(rows: Sequence[Scored], unsafe: Sequence[Decision]) -> dict[str, list[int]]:
    """Places of unsafe rows by stratum; rows that do not state theirs are in none."""
    places: dict[str, list[int]] = defaultdict(list)
    for key in STRATA:
        for i, row in enumerate(rows):
            if row.label in unsafe and (name := group_of(row, key)) != UNSTATED:
                places[name].append(i)
    return {name: places[name] for name in sorted(places)}


def budget(rows: Sequence[Scored], temperature: float, tau: float) -> tuple[float, float]:
    """Return the share of rows that a threshold escalates, and the theoretical minimum: the share whose right decision is ESCALATE.

    No gate that decides every row rightly escalates fewer.
    """
    if not rows:
        return 0.0, 0.0
    codes = released(rows, temperature, tau)
    return float((codes == ESCALATE).mean()), float((labels_of(rows) == ESCALATE).mean())


def _strata(rows: Sequence[Scored], unsafe: Sequence[Decision], per_stratum: bool) -> dict[str, list[int]]:
    """Places of unsafe rows by stratum; every stratum that occurs, also one without any."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.label in unsafe:
            places[group_of(row, "stratum") if per_stratum else EVERYTHING].append(i)
    return dict(places) or {EVERYTHING: []}


def _try(
    rows: Sequence[Scored],
    strata: dict[str, list[int]],
    temperature: float,
    tau: float,
    alpha: float,
    confidence: float,
) -> Tried:
    codes, labels = released(rows, temperature, tau), labels_of(rows)
    found = {name: (int((codes[i] == ALLOW).sum()), len(i)) for name, i in strata.items()}
    bounds = {name: _bound([rows[j] for j in i], codes[i] == ALLOW, confidence) for name, i in strata.items()}
    worst = max(sorted(bounds), key=lambda name: bounds[name])
    safe = codes[labels == ALLOW]
    return Tried(
        tau,
        worst,
        *found[worst],
        bounds[worst],
        bounds[worst] <= alpha,
        float((safe == ALLOW).mean()) if len(safe) else None,
        float((codes == ESCALATE).mean()) if len(rows) else 0.0,
    )


def _bound(unsafe: Sequence[Scored], missed: NDArray[np.bool_], confidence: float) -> float:
    groups: dict[str | int, tuple[int, int]] = {}
    for i, (row, miss) in enumerate(zip(unsafe, missed.tolist(), strict=True)):
        k, n = groups.get(row.group or i, (0, 0))
        groups[row.group or i] = (k + miss, n + 1)
    return grouped_upper_bound(tuple(groups.values()), confidence) if groups else 1.0


def _why_chosen(t: Tried, alpha: float, confidence: float) -> str:
    where = "" if t.stratum == EVERYTHING else f" in the worst stratum, {t.stratum}"
    return (
        f"At {t.tau:.4f}, {t.misses} of {t.cases} unsafe calibration cases{where} would be allowed: "
        f"at most {t.bound:.2%} with {confidence:.0%} confidence, {alpha:.2%} asked."
    )


def _why_not(t: Tried, alpha: float, confidence: float) -> str:
    where = "" if t.stratum == EVERYTHING else f" in {t.stratum}"
    return (
        f"Nothing is allowed: even at {t.tau:.4f}, {t.misses} of {t.cases} unsafe calibration cases{where} would be allowed, which proves "
        f"only at most {t.bound:.2%}; {alpha:.2%} with {confidence:.0%} confidence needs "
        f"{cases_needed(t.misses, alpha, confidence)} cases at {t.misses} misses "
        f"({', '.join(f'{cases_needed(k, alpha, confidence)} at {k}' for k in range(3))})."
    )


def _check(alpha: float, confidence: float, grid: Sequence[float]) -> None:
    falling = all(a > b for a, b in pairwise(grid))
    if not (
        0 < alpha < 1 and 0 < confidence < 1 and grid and falling and grid[-1] >= 0 and grid[0] < NOTHING
    ):
        raise ProofError(
            f"No threshold can be chosen with alpha {alpha}, confidence {confidence} and {len(grid)} candidates.",
            "Give 0 < alpha < 1, 0 < confidence < 1 and strictly falling candidates in [0, 1).",
        )
