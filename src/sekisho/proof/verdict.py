"""The verdict: figures against targets, and whether a candidate may be promoted.

Targets are what the project aims at; each that falls short is said to fall short. Only the hard minimums (`BLOCKING`) and the comparison with what
serves now decide about promotion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..core.errors import ProofError
from ..core.records import DECISIONS
from .bounds import rate_of
from .comparison import Comparison

Kind = Literal["holdout", "pairs", "leave_one_out", "real"]
Sense = Literal[">", ">=", "<", "<="]

TARGETS: Mapping[str, float] = {
    "deny_f1": 0.9,
    "macro_f1": 0.8,
    "ece": 0.05,
    "pairs": 0.8,
    "false_allow": 0.05,
}
"""Aims: DENY F1, macro F1 and ECE on the hold-out, complete pairs right, false-allow rate of every real source."""

BLOCKING: Mapping[str, float] = {
    "false_allow": 0.05,
    "macro_f1": 0.6,
    "ece": 0.10,
    "mcnemar_level": 0.05,
    "false_allow_margin": 0.01,
}
"""Hard minimums, all on the hold-out: highest false-allow rate (point estimate) and ECE, lowest macro F1 (as released); then, against the serving
model, the one-sided level of McNemar's test and by how much the false-allow rate may rise."""

_HOLDS = {
    ">": lambda v, t: v > t,
    ">=": lambda v, t: v >= t,
    "<": lambda v, t: v < t,
    "<=": lambda v, t: v <= t,
}


@dataclass(frozen=True)
class Section:
    """One split of the report.

    Attributes:
        kind: holdout, pairs (held-out minimal pairs), leave_one_out (a model that never saw this source), real (evaluation only).
        name: distinguishes sections of a kind, such as the source left out.
        candidate, baseline: `measures.evaluate` of the same rows; baseline is None when none was trained.

    Raises:
        ProofError: when the two were not judged on the same rows.
    """

    kind: Kind
    name: str
    candidate: Mapping[str, Any]
    baseline: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        ours, theirs = self.candidate, self.baseline
        if theirs is not None and _shape(ours) != _shape(theirs):
            raise ProofError(
                f"Candidate and baseline were not judged on the same rows of {self.kind} {self.name}.",
                "Score both on the same rows.",
            )

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": self.kind,
            "name": self.name,
            "candidate": dict(self.candidate),
            "baseline": None if self.baseline is None else dict(self.baseline),
        }


@dataclass(frozen=True)
class Check:
    """A figure against its target. A figure that could not be measured (`value` None) does not hold."""

    name: str
    value: float | None
    sense: Sense
    target: float
    held: bool
    detail: str = ""

    def words(self) -> str:
        """One line for people."""
        value = "not measured" if self.value is None else f"{self.value:.4g}"
        ending = "" if self.held else ": FALLS SHORT"
        return f"{self.name}: {value} (target {self.sense} {self.target:g}{'; ' + self.detail if self.detail else ''}){ending}"


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate may be promoted, why, and every target met or missed."""

    passed: bool
    why: tuple[str, ...]
    checks: tuple[Check, ...]
    blocking: tuple[Check, ...]
    comparison: Comparison | None = None

    @property
    def short_of(self) -> tuple[Check, ...]:
        """The targets that fall short."""
        return tuple(c for c in self.checks if not c.held)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def judge(
    sections: Sequence[Section],
    *,
    comparison: Comparison | None = None,
    targets: Mapping[str, float] = TARGETS,
    blocking: Mapping[str, float] = BLOCKING,
) -> Verdict:
    """Judge a candidate.

    Args:
        sections: exactly one of kind `holdout`; any number of the others.
        comparison: with the serving model; None for the first model.
        targets: replaces entries of TARGETS.
        blocking: replaces entries of BLOCKING; a minimum cannot be left out, only moved.

    Raises:
        ProofError: without one hold-out, or for unknown names of targets or minimums.
    """
    aims, minimums = _complete(targets, TARGETS), _complete(blocking, BLOCKING)
    holdout = _holdout(sections)
    checks = tuple(_target_checks(sections, holdout, aims))
    hard = tuple(_blocking_checks(holdout, comparison, minimums))
    failed = [c for c in hard if not c.held]
    short = [c for c in checks if not c.held]
    why = [
        f"May be promoted: all {len(hard)} hard minimums hold."
        if not failed
        else f"May not be promoted: {len(failed)} of {len(hard)} hard minimums fail.",
        *(c.words() for c in failed),
        "There is no serving model to compare with." if comparison is None else _in_words(comparison),
        f"{len(checks) - len(short)} of {len(checks)} targets are met.",
        *(c.words() for c in short),
    ]
    return Verdict(not failed, tuple(why), checks, hard, comparison)


def _in_words(c: Comparison) -> str:
    return (
        f"Against the serving model on the same {c.n} rows: {c.gained} newly right, {c.lost} newly wrong "
        f"(exact McNemar p = {c.p_two_sided:.3g}; that it is worse, p = {c.p_worse:.3g})."
    )


def _complete(given: Mapping[str, float], known: Mapping[str, float]) -> dict[str, float]:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ProofError(f"Unknown thresholds: {', '.join(unknown)}.", f"Known are {', '.join(known)}.")
    return {**known, **given}


def _shape(m: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Which groups a split has and how large they are; equal for two models judged on the same rows."""
    return [(key, name, g["n"]) for key, groups in m["by"].items() for name, g in groups.items()]


def _holdout(sections: Sequence[Section]) -> Section:
    found = [s for s in sections if s.kind == "holdout"]
    if len(found) != 1:
        raise ProofError(f"There are {len(found)} hold-outs.", "Give exactly one section of kind `holdout`.")
    return found[0]


def _check(name: str, value: float | None, sense: Sense, target: float, detail: str = "") -> Check:
    return Check(name, value, sense, target, value is not None and bool(_HOLDS[sense](value, target)), detail)


def _target_checks(
    sections: Sequence[Section], holdout: Section, aims: Mapping[str, float]
) -> Iterator[Check]:
    """Every target, in the order of the report."""
    m = holdout.candidate
    yield _check("hold-out: DENY F1", m["f1"]["DENY"]["f1"], ">", aims["deny_f1"], f"n {m['n']}")
    yield _check("hold-out: macro F1", m["macro_f1"], ">", aims["macro_f1"], f"n {m['n']}")
    yield _check(
        "hold-out: ECE after calibration", m["sureness"]["ece_after"], "<", aims["ece"], f"n {m['n']}"
    )
    paired = [s for s in sections if s.kind == "pairs"]
    for s in paired:
        pairs = (s.candidate["pairs"] or {}).get("pairs")
        yield _check(
            f"{_title(s)}: all three right", rate_of(pairs) if pairs else None, ">", aims["pairs"], _of(pairs)
        )
    if not paired:
        yield _check("minimal pairs: all three right", None, ">", aims["pairs"], "no pairs were judged")
    for s in sections:
        if s.kind != "pairs":
            yield from _false_allow_checks(s, aims["false_allow"])
    for s in sections:
        yield from _baseline_checks(s)


def _false_allow_checks(section: Section, target: float) -> Iterator[Check]:
    """One check a source that has DENY-labelled rows; the escalation rate stands beside it."""
    for source, m in section.candidate["by"]["source"].items():
        found = m["false_allow"]
        if found["n"]:
            escalated = rate_of(m["escalation"]) or 0.0
            detail = f"{_of(found)}, at most {found['upper']:.3f} with confidence, {escalated:.0%} of its rows escalated"
            yield _check(f"{_title(section)}: false allow, {source}", rate_of(found), "<", target, detail)


def _baseline_checks(section: Section) -> Iterator[Check]:
    """One check for the split, and one for each of its languages and sources: the worst difference to the baseline, 0 or more holds."""
    if section.baseline is None:
        yield _check(f"{_title(section)}: not below the baseline", None, ">=", 0.0, "no baseline was trained")
        return
    slices = [("all", section.candidate, section.baseline)] + [
        (f"{key} {name}", m, section.baseline["by"][key][name])
        for key in ("lang", "source")
        for name, m in section.candidate["by"][key].items()
    ]
    for name, ours, theirs in slices:
        gaps = {k: v - _figures(theirs)[k] for k, v in _figures(ours).items() if k in _figures(theirs)}
        worst = min(gaps, key=lambda k: gaps[k])
        detail = f"n {ours['n']}; widest in {worst}: {_figures(ours)[worst]:.3f} beside {_figures(theirs)[worst]:.3f}"
        yield _check(f"{_title(section)}: not below the baseline, {name}", gaps[worst], ">=", 0.0, detail)


def _figures(m: Mapping[str, Any]) -> dict[str, float]:
    """Figures that are compared with the baseline, all of them better when higher."""
    found: dict[str, float | None] = {"macro F1": m["macro_f1"], "accuracy": rate_of(m["accuracy"])}
    found |= {f"{d} F1": m["f1"][d]["f1"] for d in DECISIONS if m["f1"][d]["support"]}
    if m["false_allow"]["n"]:
        found["share of DENY not allowed"] = rate_of(m["refuse_recall"])
    if m.get("pairs") and m["pairs"]["pairs"]["n"]:
        found["pairs"] = rate_of(m["pairs"]["pairs"])
    return {k: v for k, v in found.items() if v is not None}


def _blocking_checks(
    holdout: Section, comparison: Comparison | None, minimums: Mapping[str, float]
) -> Iterator[Check]:
    m = holdout.candidate
    yield _check(
        "hold-out: false allow",
        rate_of(m["false_allow"]),
        "<=",
        minimums["false_allow"],
        _of(m["false_allow"]),
    )
    yield _check("hold-out: macro F1", m["macro_f1"], ">=", minimums["macro_f1"], f"n {m['n']}")
    yield _check(
        "hold-out: ECE after calibration", m["sureness"]["ece_after"], "<=", minimums["ece"], f"n {m['n']}"
    )
    if comparison is None:
        return
    detail = f"{comparison.gained} newly right, {comparison.lost} newly wrong"
    yield _check(
        "not significantly worse than what serves (McNemar p)",
        comparison.p_worse,
        ">=",
        minimums["mcnemar_level"],
        detail,
    )
    ours, theirs = comparison.false_allow, comparison.false_allow_serving
    rise = None if ours is None or theirs is None else ours - theirs
    yield _check("rise of the false-allow rate over what serves", rise, "<=", minimums["false_allow_margin"])


def _of(found: Mapping[str, Any] | None) -> str:
    return "none measured" if not found else f"{found['k']} of {found['n']}"


def _title(section: Section) -> str:
    kinds = {
        "holdout": "hold-out",
        "pairs": "minimal pairs",
        "leave_one_out": "source left out",
        "real": "evaluation only",
    }
    return kinds[section.kind] + (f" {section.name}" if section.name and section.kind != "holdout" else "")
