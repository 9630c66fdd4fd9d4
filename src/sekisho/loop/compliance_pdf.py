"""The compliance report as a PDF: the same facts as the page, to be printed and filed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .pages import Pages

TITLE = "関所 監査報告書 / Sekisho compliance report"


def render(facts: Mapping[str, Any], font: Path | None = None) -> bytes:
    """Return the PDF of a report's facts.

    Raises:
        ToolError: there is no font with Japanese letters.
    """
    pages = Pages(TITLE, font)
    pages.text(f"対象期間 / period: {facts['from']} – {facts['to']} (UTC) · 作成 / made: {facts['made']}")
    _verified(pages, facts["verification"])
    _decided(pages, facts)
    _certified(pages, facts)
    _happened(pages, facts)
    return pages.bytes()


def _verified(pages: Pages, found: Mapping[str, Any]) -> None:
    pages.heading("台帳の検証 / Verification of the ledger")
    whole = (
        "✓ 台帳は完全です / The ledger is whole"
        if found["ok"]
        else "× 台帳に異常があります / The ledger is NOT whole"
    )
    pages.text(whole if found["ok"] else f"{whole}: {found['problem']} ({found['first_bad_seq']})")
    witness = found["witness"] or "なし / none: a cut tail would not show"
    pages.text(f"{found['entries']} 件 / entries · {found['head']} · 証人 / witness: {witness}")


def _decided(pages: Pages, facts: Mapping[str, Any]) -> None:
    pages.heading("判定 / Decisions")
    pages.pairs(facts["decisions"])
    if facts["days"]:
        pages.stacked(facts["days"])
    pages.heading("理由 / Reasons")
    pages.pairs(facts["reasons"])
    pages.heading("一貫性 / Consistency over similar requests")
    pages.pairs(facts["consistency"])
    pages.heading("訂正 / Overrides")
    said = facts["corrections"]
    pages.text(f"確認 / reviewed and right: {said['agreed']} · 訂正 / overridden: {said['overrides']}")
    pages.pairs(said["ways"])
    pages.heading("エスカレーション / Escalations")
    pages.pairs(facts["escalations"])


def _certified(pages: Pages, facts: Mapping[str, Any]) -> None:
    pages.heading("証明書 / Certificates")
    for one in facts["certificates"] or [{}]:
        pages.pairs(one)
    if facts["strata"]:
        newest = facts["certificates"][-1]
        pages.heading("分野・区分ごとの誤許可率の上限 / Upper bound of false allows by domain and level")
        bounds = {
            f"{name} ({s['misses']:.0f}/{s['cases']:.0f})": s["bound"] for name, s in facts["strata"].items()
        }
        pages.bars({"全体 / all": newest["bound"], **bounds}, newest["alpha"])
    pages.heading("較正 / Calibration")
    pages.pairs(facts["calibration"] or {})
    pages.heading("昇格 / Promotions")
    pages.table(facts["promotions"])
    pages.heading("規程の変更 / Policy changes")
    pages.table(facts["policies"])


def _happened(pages: Pages, facts: Mapping[str, Any]) -> None:
    pages.heading("インシデント / Incidents")
    pages.pairs(facts["incidents"]["counts"])
    pages.table(facts["incidents"]["list"])
    pages.heading("アクセス / Access: API keys")
    pages.table(facts["access"]["keys"])
    pages.heading("鍵の変更 / Changes of keys")
    pages.table(facts["access"]["changes"])
    pages.heading("記録 / Entries")
    pages.pairs(facts["entries"])
    pages.text(f"消去された内容 / contents erased: {facts['erasures']}")
