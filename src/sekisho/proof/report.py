"""The report card: one JSON document, one self-contained bilingual page drawn from it alone, and a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import ProofError
from ..core.records import DECISIONS
from .calibration import Calibration
from .threshold import Threshold
from .verdict import Section, Verdict

SCHEMA = 1
KINDS: Mapping[str, tuple[str, str]] = {
    "holdout": ("ホールドアウト", "Hold-out"),
    "pairs": ("未見の最小対", "Held-out minimal pairs"),
    "leave_one_out": ("出典を一つ除外", "Leave one source out"),
    "real": ("評価専用の実データ", "Evaluation-only real data"),
}
GROUP_TITLES: Mapping[str, str] = {
    "all": "全体 / all",
    "lang": "言語 / language",
    "source": "出典 / source",
    "domain": "分野 / domain",
    "stratum": "層 / stratum",
}
RATES: tuple[tuple[str, str, str], ...] = (
    ("refuse_recall_strict", "拒否再現率", "refuse recall: DENY denied"),
    ("refuse_recall", "不許可率", "DENY not allowed"),
    ("false_allow", "誤許可率", "false allow: DENY allowed"),
    ("false_allow_escalate", "要確認の誤許可率", "ESCALATE allowed"),
    ("over_refusal", "過剰拒否率", "over-refusal: ALLOW denied"),
    ("allow_withheld", "許可の見送り率", "ALLOW not allowed"),
    ("escalation", "要確認率", "escalation"),
)
"""Rates of a section's table: key, Japanese, English."""


def build_report(
    sections: Sequence[Section],
    *,
    verdict: Verdict,
    calibration: Calibration,
    threshold: Threshold,
    baseline_calibration: Calibration | None = None,
    baseline_threshold: Threshold | None = None,
    about: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Gather everything into one JSON document; `core.canonical.digest_json` of it is the proof's `report`.

    Args:
        sections: in the order they are shown.
        about: what is reported on: candidate, base, data, time and so on, shown as given.

    Raises:
        ProofError: without sections.
    """
    if not sections:
        raise ProofError("There is nothing to report.", "Evaluate at least the hold-out.")
    return {
        "schema": SCHEMA,
        "about": dict(about or {}),
        "verdict": _plain(verdict.json()),
        "calibration": calibration.json(),
        "threshold": _plain(threshold.json()),
        "baseline": {
            "calibration": baseline_calibration.json() if baseline_calibration else None,
            "threshold": _plain(baseline_threshold.json()) if baseline_threshold else None,
        },
        "sections": [_plain(s.json()) for s in sections],
    }


def short_card(report: Mapping[str, Any]) -> list[str]:
    """Return the lines `make up` prints: the verdict, each split beside the baseline, and what falls short."""
    verdict = report["verdict"]
    checks = verdict["checks"]
    short = [c for c in checks if not c["held"]]
    lines = [
        "Report card · 通知表: "
        + ("PASSED, may be promoted" if verdict["passed"] else "NOT PASSED, may not be promoted"),
        *(f"  {line}" for line in verdict["why"][:1]),
        f"  ALLOW threshold: {report['threshold']['why']}",
    ]
    for section in report["sections"]:
        ours, base = section["candidate"], section["baseline"]
        lines.append(f"  {title_of(section)} (n {ours['n']}): {_line(ours)}")
        if base is not None:
            lines.append(f"    baseline: {_line(base)}")
    lines.append(f"  Targets met: {len(checks) - len(short)} of {len(checks)}")
    return lines + [
        f"  ✗ FALLS SHORT {c['name']}: {number(c['value'])}, target {c['sense']} {c['target']:g}"
        for c in short
    ]


def render_html(report: Mapping[str, Any]) -> str:
    """Return the report as one page: no script, no address outside, plots inline. Text from the data is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sekisho.proof", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "bounds": bounds,
        "interval": interval,
        "counts": counts,
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        parts=[_part(s, report["threshold"]["alpha"]) for s in report["sections"]],
        short=[c for c in report["verdict"]["checks"] if not c["held"]],
        decisions=DECISIONS,
        rates=RATES,
    )


def title_of(section: Mapping[str, Any], language: int = 1) -> str:
    """Return a section's title: language 0 is Japanese, 1 English."""
    name = section["name"] if section["kind"] != "holdout" else ""
    return KINDS[section["kind"]][language] + (f": {name}" if name else "")


def number(value: float | None) -> str:
    """Three decimals, or a dash for what cannot be measured."""
    return "–" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share as percent, or a dash."""
    return "–" if value is None else f"{value:.1%}"


def interval(rate: Mapping[str, Any]) -> str:
    """The two-sided bounds of a rate; empty without cases."""
    return f"[{rate['low']:.1%}, {rate['high']:.1%}]" if rate["n"] else ""


def counts(rate: Mapping[str, Any]) -> str:
    """The counts of a rate, k/n; empty without cases."""
    return f"{rate['k']}/{rate['n']}" if rate["n"] else ""


def bounds(rate: Mapping[str, Any]) -> str:
    """Bounds and counts together."""
    return f"{interval(rate)} {counts(rate)}".strip()


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down: the document equals itself after a trip through JSON."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _line(m: Mapping[str, Any]) -> str:
    """One split in one line."""
    parts = [
        f"DENY F1 {number(m['f1']['DENY']['f1'])}",
        f"macro F1 {number(m['macro_f1'])}",
        f"false allow {percent(m['false_allow']['rate'])} {bounds(m['false_allow'])}".strip(),
        f"over-refusal {percent(m['over_refusal']['rate'])}",
        f"escalated {percent(m['escalation']['rate'])}",
        f"ECE {number(m['sureness']['ece_before'])} → {number(m['sureness']['ece_after'])}",
    ]
    if m["pairs"]:
        parts.append(f"pairs {percent(m['pairs']['pairs']['rate'])}")
    return ", ".join(parts)


def _part(section: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    """A section with everything the template shows."""
    from . import plots

    ours, base = section["candidate"], section["baseline"]
    return {
        "ja": title_of(section, 0),
        "en": title_of(section, 1),
        "ours": ours,
        "base": base,
        "main": _slices(ours, base, ("lang", "source")),
        "more": _slices(ours, base, ("domain", "stratum"))[1:],
        "plots": {
            "confusion": plots.confusion_matrices(ours["confusion"], base["confusion"] if base else None),
            "reliability": plots.reliability_diagram(ours["reliability"], ours["sureness"]),
            "trade_off": plots.trade_off(ours, base, alpha),
        },
    }


def _slices(
    ours: Mapping[str, Any], base: Mapping[str, Any] | None, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of a table: all, then every group of `keys`, each with the baseline's figures on the same rows."""
    out = [{"group": GROUP_TITLES["all"], "name": "", "ours": ours, "base": base}]
    for key in keys:
        for name, m in ours["by"][key].items():
            theirs = base["by"][key][name] if base else None
            out.append({"group": GROUP_TITLES[key], "name": name, "ours": m, "base": theirs})
    return out
