"""The compliance report: what was decided, corrected, escalated, certified and noticed in a period, and whether the ledger is whole."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.canonical import utc_now
from ..core.disk import write_whole
from ..core.errors import InputError
from ..core.escalating import standing
from ..core.oversight import Escalation
from ..core.records import DECISIONS
from ..ledger.chain import Entry
from ..ledger.store import Ledger
from . import audit, compliance_pdf, keys, likeness, policies
from .parts import Parts

_PAGE = 1000
_MOST = 200
"""Incidents and changes listed one by one."""
_SHOWN = 20
"""Changes of one document listed one by one."""
_DAY = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


def report(parts: Parts, first: str, last: str) -> dict[str, Any]:
    """Gather the report's facts, as JSON values, from the ledger alone.

    Args:
        first, last: UTC days, `2026-11-01`, both included.

    Raises:
        InputError: for what is no day, or a last day before the first.
    """
    for day in (first, last):
        if not _DAY.fullmatch(day):
            raise InputError(f"{day!r} is no day.", "Write it as 2026-11-01.")
    if last < first:
        raise InputError("The last day lies before the first.", "Turn them round.")
    told = _Told()
    for entry in _between(parts.ledger, first, last):
        told.take(entry)
    checked = audit.verify_all(parts)
    return {
        "from": first,
        "to": last,
        "made": utc_now(),
        "entries": dict(sorted(told.kinds.items())),
        "days": {day: {d: counts[d] for d in DECISIONS} for day, counts in sorted(told.days.items())},
        "decisions": {d: sum(c[d] for c in told.days.values()) for d in DECISIONS},
        "reasons": dict(told.reasons.most_common()),
        "corrections": told.corrections(),
        "escalations": told.standings(parts.settings.escalation_hours),
        "consistency": likeness.consistency(parts.ledger, told.asked),
        "certificates": told.certificates,
        "strata": told.strata,
        "policies": _changes(parts.ledger, first, last),
        "calibration": told.calibration,
        "promotions": told.promotions,
        "incidents": {"counts": dict(told.incidents), "list": told.incident_list},
        "access": {"keys": keys.listed(parts.ledger), "changes": told.key_changes},
        "erasures": told.erased,
        "verification": {
            "ok": checked.ok,
            "entries": checked.entries,
            "head": checked.head.digest,
            "problem": checked.problem,
            "first_bad_seq": checked.first_bad_seq,
            "witness": audit.witnesses(parts),
        },
    }


def _between(ledger: Ledger, first: str, last: str) -> Iterator[Entry]:
    after = 0
    while page := ledger.entries(after=after, limit=_PAGE):
        yield from (e for e in page if first <= e.at[:10] <= last)
        after = page[-1].seq


def _changes(ledger: Ledger, first: str, last: str) -> list[dict[str, Any]]:
    """Versions of policy and contracts that came into force in the period, with what changed from the one before."""
    return [
        {
            "at": v.record.at,
            "kind": v.kind,
            "name": v.record.name,
            "digest": v.record.digest,
            "changed": ["–"] if v.changed is None else [d.told() for d in v.changed[:_SHOWN]],
        }
        for v in policies.versions(ledger)
        if first <= v.record.at[:10] <= last
    ]


class _Told:
    """What the entries of a period say, one after the other."""

    def __init__(self) -> None:
        self.kinds, self.reasons, self.incidents = Counter[str](), Counter[str](), Counter[str]()
        self.days: dict[str, Counter[str]] = defaultdict(Counter)
        self.certificates: list[dict[str, Any]] = []
        self.promotions: list[dict[str, Any]] = []
        self.incident_list: list[dict[str, Any]] = []
        self.key_changes: list[dict[str, Any]] = []
        self.calibration: Mapping[str, Any] | None = None
        self.erased = 0
        self.asked: list[tuple[str, str]] = []
        self.strata: Mapping[str, Any] = {}
        self._asked: dict[str, str] = {}
        self._steps: dict[str, list[Escalation]] = defaultdict(list)
        self._corrections: dict[str, tuple[str | None, str]] = {}

    def take(self, entry: Entry) -> None:
        """Take one entry; a kind that has nothing to say is only counted."""
        self.kinds[entry.kind] += 1
        act = getattr(self, f"_{entry.kind}", None)
        if act is not None:
            act(entry, entry.body)

    def _judgement(self, entry: Entry, body: Mapping[str, Any]) -> None:
        if body["task"] != "gate":
            return
        self.days[entry.at[:10]][body["decision"]] += 1
        self.reasons.update(body["reasons"])
        if body["content"]:
            self.asked.append((body["content"], body["decision"]))
        if body["decision"] == "ESCALATE":
            self._asked[entry.id] = entry.at

    def _correction(self, _: Entry, body: Mapping[str, Any]) -> None:
        if body["task"] == "gate":
            self._corrections[body["judgement"]] = body["was"], body["label"]

    def _escalation(self, entry: Entry, body: Mapping[str, Any]) -> None:
        record = entry.record
        assert isinstance(record, Escalation)
        self._steps[body["judgement"]].append(record)

    def _certificate(self, _: Entry, body: Mapping[str, Any]) -> None:
        names = (
            "id",
            "at",
            "feasible",
            "alpha",
            "confidence",
            "threshold",
            "misses",
            "cases",
            "bound",
            "expires",
            "escalated",
            "minimum",
        )
        self.certificates.append({n: body.get(n) for n in names})
        self.strata = body["strata"]

    def _proof(self, _: Entry, body: Mapping[str, Any]) -> None:
        self.calibration = body["measures"].get("sureness")

    def _promotion(self, _: Entry, body: Mapping[str, Any]) -> None:
        self.promotions.append({n: body[n] for n in ("at", "release", "rollback", "by")})

    def _incident(self, _: Entry, body: Mapping[str, Any]) -> None:
        self.incidents[body["sort"]] += 1
        if len(self.incident_list) < _MOST:
            self.incident_list.append({n: body[n] for n in ("at", "sort", "what")})

    def _key(self, _: Entry, body: Mapping[str, Any]) -> None:
        if len(self.key_changes) < _MOST:
            self.key_changes.append({n: body[n] for n in ("at", "key", "name", "active", "by")})

    def _erasure(self, _: Entry, body: Mapping[str, Any]) -> None:
        self.erased += len(body["digests"])

    def corrections(self) -> dict[str, Any]:
        """The latest word on each judgement: how many agreed with the machine, and which way the others went."""
        ways = Counter(f"{was} → {label}" for was, label in self._corrections.values() if was != label)
        agreed = sum(was == label for was, label in self._corrections.values())
        return {"agreed": agreed, "overrides": sum(ways.values()), "ways": dict(ways.most_common())}

    def standings(self, hours: float) -> dict[str, int]:
        """How the period's escalations stand, by state, decided ones by outcome."""
        now, found = utc_now(), Counter[str]()
        for judgement, at in self._asked.items():
            stands = standing(at, self._steps[judgement], now, hours)
            found[f"decided {stands.outcome}" if stands.state == "decided" else stands.state] += 1
        return dict(sorted(found.items()))


def write(
    parts: Parts, first: str, last: str, path: Path | None = None, pdf: bool = False
) -> tuple[list[Path], dict[str, Any]]:
    """Write the report as one self-contained page, and beside it as a PDF if wanted; return the files, and its facts.

    Raises:
        ToolError: there is no font for the PDF; the page is written all the same.
        InputError: as `report`.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    facts = report(parts, first, last)
    environment = Environment(
        loader=PackageLoader("sekisho.loop"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    highest = max((sum(d.values()) for d in facts["days"].values()), default=1)
    page = environment.get_template("compliance.html.j2").render(
        r=facts, highest=highest, decisions=DECISIONS
    )
    target = path or parts.settings.home / "reports" / f"compliance-{first}-{last}.html"
    write_whole(target, page.encode())
    if not pdf:
        return [target], facts
    printed = target.with_suffix(".pdf")
    write_whole(printed, compliance_pdf.render(facts, parts.settings.pdf_font))
    return [target, printed], facts
