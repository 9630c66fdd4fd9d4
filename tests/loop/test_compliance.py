from __future__ import annotations

import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ledger.makers import drop_guards
from sekisho.core.canonical import utc_now
from sekisho.core.errors import InputError, ToolError
from sekisho.host import fonts
from sekisho.loop import compliance, compliance_pdf, escalations, keys
from sekisho.loop.attend import note
from sekisho.loop.correct import correct
from sekisho.loop.serving import record_documents
from web import makers

from .conftest import judged

TODAY = utc_now()[:10]
STRATA = {
    "medical": {"misses": 1.0, "cases": 130.0, "bound": 0.036},
    "極秘": {"misses": 2.0, "cases": 260.0, "bound": 0.024},
}


@pytest.fixture
def busy(house):
    """Two of each decision, two corrections, a decided and an open escalation, a key, an incident with markup in it."""
    made = {d: [judged(house, "secret text", d) for _ in range(2)] for d in ("ALLOW", "ESCALATE", "DENY")}
    correct(house.ledger, made["ALLOW"][0].id, "DENY", "no", "hana")
    correct(house.ledger, made["DENY"][0].id, "DENY", "right", "hana")
    id = made["ESCALATE"][0].id
    escalations.take(house, id, "ken")
    escalations.decide(house, id, "DENY", "no", "ken")
    keys.make(house, "front desk", ["judge"], "test")
    note(house, [("egress", "blocked a connect to <script>alert(1)</script>")])
    return house


def test_the_facts(busy):
    found = compliance.report(busy, TODAY, utc_now()[:10])
    assert found["decisions"] == {"ALLOW": 2, "ESCALATE": 2, "DENY": 2}
    assert found["corrections"] == {"agreed": 1, "overrides": 1, "ways": {"ALLOW → DENY": 1}}
    assert found["escalations"] == {"decided DENY": 1, "open": 1}
    assert found["incidents"]["counts"] == {"egress": 1}
    assert [k["name"] for k in found["access"]["keys"]] == ["front desk"]
    assert found["verification"]["ok"]
    assert found["entries"]["judgement"] == 6
    # All six have one text: the three pairs of equal decisions among the fifteen agree.
    assert found["consistency"] == {"compared": 6, "alike": 15, "score": 3 / 15}


def test_a_new_policy_and_a_certificate_are_told(busy):
    record_documents(busy)
    busy.policy_document["version"] += 1
    record_documents(busy)
    busy.ledger.append([makers.certificate(busy, strata=STRATA, escalated=0.4, minimum=0.3)])
    found = compliance.report(busy, TODAY, utc_now()[:10])
    (first, second) = (p for p in found["policies"] if p["kind"] == "policy")
    assert (first["changed"], second["changed"]) == (["–"], ["~ version: 1 → 2"])
    assert (found["certificates"][-1]["escalated"], found["certificates"][-1]["minimum"]) == (0.4, 0.3)
    assert found["strata"] == STRATA
    assert compliance.report(busy, "2020-01-01", "2020-01-02")["policies"] == []


def test_the_pdf_has_an_embedded_font_and_plots_and_is_the_same_every_time(busy, tmp_path):
    record_documents(busy)
    busy.ledger.append([makers.certificate(busy, strata=STRATA)])
    try:
        (page, printed), facts = compliance.write(busy, TODAY, utc_now()[:10], tmp_path / "r.html", pdf=True)
    except ToolError as e:
        pytest.skip(str(e))
    made = printed.read_bytes()
    assert (page.suffix, printed.suffix, made[:5]) == (".html", ".pdf", b"%PDF-")
    assert b"/FontFile2" in made
    assert b"/ToUnicode" in made
    assert 'class="bound"' in page.read_text(encoding="utf-8")
    assert compliance_pdf.render(facts) == made
    assert compliance_pdf.render({**facts, "strata": {}}) != made


def test_a_font_that_cannot_serve_is_refused_and_the_page_is_there(busy, tmp_path):
    import matplotlib

    letters = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for font, why in ((letters, "no Japanese letters"), (tmp_path / "none.ttf", "none.ttf")):
        busy.settings.values["pdf_font"] = font
        with pytest.raises(ToolError, match=why):
            compliance.write(busy, TODAY, utc_now()[:10], tmp_path / "r.html", pdf=True)
        assert (tmp_path / "r.html").exists()
        assert not (tmp_path / "r.pdf").exists()


def test_a_system_without_a_font_is_told_which_package_has_one(monkeypatch):
    monkeypatch.setattr(fonts, "PLACES", ())
    with pytest.raises(ToolError, match="fonts-ipafont-gothic"):
        fonts.find_font()


def test_another_period_is_empty(busy):
    found = compliance.report(busy, "2020-01-01", "2020-12-31")
    assert (found["entries"], found["days"], found["escalations"]) == ({}, {}, {})


def test_the_page_is_whole_in_both_languages_and_shows_no_text_of_a_request(busy, tmp_path):
    (path,), _ = compliance.write(busy, TODAY, utc_now()[:10], tmp_path / "r.html")
    page = path.read_text(encoding="utf-8")
    HTMLParser().feed(page)
    for words in (
        "監査報告書",
        "compliance report",
        "The ledger is whole",
        "台帳は完全です",
        "front desk",
        "<rect",
    ):
        assert words in page
    assert "secret text" not in page
    assert "<script>" not in page
    assert "http://" not in page.replace("http-equiv", "")


def test_a_changed_ledger_is_said_so(busy, tmp_path):
    with sqlite3.connect(busy.ledger.path) as db:
        drop_guards(db)
        db.execute("UPDATE entries SET at = '2026-01-01T00:00:00.000000Z' WHERE seq = 2")
    db.close()
    (path,), facts = compliance.write(busy, TODAY, utc_now()[:10], tmp_path / "r.html")
    assert facts["verification"]["first_bad_seq"] == 2
    assert "NOT whole" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "period", [("x", TODAY), (TODAY, "2026-13-01"), ("2026-02-02", "2026-02-01"), ("", "")]
)
def test_what_is_no_period(house, period):
    with pytest.raises(InputError):
        compliance.report(house, *period)
