from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import pytest

from sekisho.core.canonical import digest_json
from sekisho.core.errors import ProofError
from sekisho.proof import plots
from sekisho.proof.calibration import fit
from sekisho.proof.comparison import compare
from sekisho.proof.measures import decisions, evaluate
from sekisho.proof.report import build_report, render_html, short_card
from sekisho.proof.threshold import choose
from sekisho.proof.verdict import Section, judge

from .samples import population

NASTY = '<script>alert("関所")</script>'


def sample():
    held = population(1500, seed=1, skill=2.3, sharpness=4)
    weak = population(1500, seed=2, skill=1.2, sharpness=4)
    cal, base_cal = fit(held, "sha256:held"), fit(weak, "sha256:held")
    tau, base_tau = choose(held, cal.temperature), choose(weak, base_cal.temperature)

    def section(kind, name, n, seed, sources=("authored", "toxic")):
        ours, theirs = (population(n, seed, s, 4, sources) for s in (2.3, 1.2))
        return Section(
            kind,
            name,
            evaluate(ours, cal.temperature, tau.tau),
            evaluate(theirs, base_cal.temperature, base_tau.tau),
        )

    sections = [
        section("holdout", "", 900, 3),
        section("pairs", "authored", 300, 4),
        section("leave_one_out", "toxic", 240, 5),
        section("real", "xsafety", 300, 6, ("xsafety", NASTY)),
    ]
    rows = population(900, 3, 2.3, 4)
    comparison = compare(
        {r.id: r.label for r in rows},
        decisions(rows, cal.temperature, tau.tau),
        decisions(population(900, 3, 2, 4), 1.0, 0.5),
    )
    return build_report(
        sections,
        verdict=judge(sections, comparison=comparison),
        calibration=cal,
        threshold=tau,
        baseline_calibration=base_cal,
        baseline_threshold=base_tau,
        about={"candidate": "sha256:1234", "at": "2026-11-21T00:00:00Z"},
    )


@pytest.fixture(scope="module")
def report():
    return sample()


@pytest.fixture(scope="module")
def page(report):
    return render_html(report)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href", "action", "srcset")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_is_json_and_survives_the_trip(report):
    assert json.loads(json.dumps(report)) == report
    assert digest_json(report).startswith("sha256:")


def test_the_page_is_well_formed_utf8_and_asks_nothing_of_the_network(page):
    page.encode("utf-8").decode("utf-8")
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert len(reader.links) == 4 * 3
    assert all(link.startswith("data:image/svg+xml;base64,") for link in reader.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    assert "<script" not in page


def test_every_split_slice_and_shortfall_is_on_the_page_in_both_languages(page, report):
    reader = Reader()
    reader.feed(page)
    text = " ".join(reader.text)
    for part in (
        "ホールドアウト",
        "Hold-out",
        "未見の最小対",
        "Leave one source out",
        "評価専用の実データ",
        "toxic",
        "McNemar",
        NASTY,
    ):
        assert part in text
    short = [c["name"] for c in report["verdict"]["checks"] if not c["held"]]
    assert short
    assert all(name in text for name in short)
    assert "✗ 未達 / falls short" in text
    assert report["calibration"]["id"] in text


def test_the_same_report_gives_the_same_page(page, report):
    assert render_html(json.loads(json.dumps(report))) == page


def test_the_short_card_says_the_verdict_each_split_beside_the_baseline_and_what_falls_short(report):
    lines = short_card(report)
    assert "PASSED" in lines[0]
    assert sum("baseline: DENY F1" in line for line in lines) == len(report["sections"])
    short = sum(not c["held"] for c in report["verdict"]["checks"])
    assert sum("FALLS SHORT" in line for line in lines) == short > 0


def test_a_first_model_without_baseline_or_comparison_renders_too():
    rows = population(60, pairs=False)
    sections = [Section("holdout", "", evaluate(rows, 1.0, 1.0))]
    found = build_report(
        sections, verdict=judge(sections), calibration=fit(rows, "x"), threshold=choose(rows, 1.0)
    )
    html = render_html(found)
    assert "何も許可しません" in html
    assert "There is no serving model" in html
    assert "NOT PASSED" in short_card(found)[0]


def test_nothing_to_report_is_an_error(report):
    rows = population(60)
    with pytest.raises(ProofError):
        build_report(
            [],
            verdict=judge([Section("holdout", "", evaluate(rows))]),
            calibration=fit(rows, "x"),
            threshold=choose(rows, 1.0),
        )


def test_plots_are_svg_and_repeatable(report):
    ours = report["sections"][0]["candidate"]
    one, two = (plots.reliability_diagram(ours["reliability"], ours["sureness"]) for _ in range(2))
    assert one == two
    assert b"<svg" in base64.b64decode(one.partition(",")[2])
