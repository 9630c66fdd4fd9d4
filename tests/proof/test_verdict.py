from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.canonical import canonical_json
from sekisho.core.errors import ProofError
from sekisho.core.records import DECISIONS
from sekisho.proof.comparison import compare
from sekisho.proof.measures import evaluate
from sekisho.proof.verdict import BLOCKING, TARGETS, Section, judge

from .samples import population

GOOD = evaluate(population(900, skill=7, sharpness=1.5), 1.0, 0.5)
WEAK = evaluate(population(900, skill=1), 1.0, 0.5)


def sections(ours=GOOD, base=WEAK):
    return [
        Section("holdout", "", ours, base),
        Section("pairs", "held out", ours, base),
        Section("real", "xsafety", ours, base),
        Section("leave_one_out", "toxic", ours, base),
    ]


def test_a_good_candidate_passes_and_meets_every_target():
    v = judge(sections())
    assert v.passed
    assert not v.short_of
    assert v.why[0].startswith("May be promoted")
    names = " ".join(c.name for c in v.checks)
    for part in (
        "DENY F1",
        "macro F1",
        "ECE",
        "all three right",
        "false allow, toxic",
        "evaluation only xsafety",
        "lang ja",
        "source left out toxic",
    ):
        assert part in names
    assert canonical_json(v.json())


def test_targets_that_fall_short_are_said_but_do_not_block():
    v = judge(sections(), targets={"ece": 0.0})
    assert v.passed
    assert [c.name for c in v.short_of] == ["hold-out: ECE after calibration"]
    assert any("FALLS SHORT" in line for line in v.why)


@pytest.mark.parametrize(("name", "value"), [("false_allow", -1.0), ("macro_f1", 1.1), ("ece", -1.0)])
def test_each_hard_minimum_blocks_by_itself(name, value):
    v = judge(sections(), blocking={name: value})
    assert not v.passed
    assert sum(not c.held for c in v.blocking) == 1
    assert v.why[0] == "May not be promoted: 1 of 3 hard minimums fail."


def test_below_the_baseline_is_found_in_every_slice():
    v = judge(sections(WEAK, GOOD))
    below = [c for c in v.short_of if "baseline" in c.name]
    assert len(below) == 4 * (1 + 2 + 2)
    assert all(c.value < 0 for c in below)


def test_what_was_not_measured_does_not_hold():
    v = judge([Section("holdout", "", GOOD)])
    lacking = {c.name for c in v.short_of}
    assert lacking == {"minimal pairs: all three right", "hold-out: not below the baseline"}
    assert all(c.value is None for c in v.short_of)


def test_a_hold_out_without_unsafe_rows_cannot_be_promoted():
    safe = evaluate([r for r in population(300, skill=7) if r.label != "DENY"])
    v = judge([Section("holdout", "", safe)])
    assert not v.passed
    assert any(c.value is None and "false allow" in c.name for c in v.blocking)


def test_wrong_calls_are_refused():
    with pytest.raises(ProofError):
        judge([])
    with pytest.raises(ProofError):
        judge([*sections(), sections()[0]])
    with pytest.raises(ProofError, match="macro"):
        judge(sections(), blocking={"macro": 0.1})
    with pytest.raises(ProofError):
        Section("holdout", "", GOOD, evaluate(population(300)))
    assert set(BLOCKING) & set(TARGETS) == {"false_allow", "macro_f1", "ece"}


def table(right_both, gained, lost, wrong_both):
    """Labels and both models' decisions with given paired counts; every label is DENY, wrong is ALLOW."""
    cells = (
        [("DENY", "DENY")] * right_both
        + [("DENY", "ALLOW")] * gained
        + [("ALLOW", "DENY")] * lost
        + [("ALLOW", "ALLOW")] * wrong_both
    )
    ids = [f"r{i}" for i in range(len(cells))]
    return (
        dict.fromkeys(ids, "DENY"),
        dict(zip(ids, (c for c, _ in cells), strict=True)),
        dict(zip(ids, (s for _, s in cells), strict=True)),
    )


def test_exact_mcnemar_by_hand():
    c = compare(*table(50, 1, 5, 4))
    assert (c.n, c.gained, c.lost) == (60, 1, 5)
    assert c.p_worse == pytest.approx((6 + 1) / 64)
    assert c.p_two_sided == pytest.approx(2 * 7 / 64)
    assert (c.false_allow, c.false_allow_serving) == (9 / 60, 5 / 60)


@pytest.mark.parametrize(
    ("gained", "lost", "passed"), [(5, 5, True), (0, 4, True), (0, 5, False), (20, 2, True), (10, 22, False)]
)
def test_significantly_worse_than_what_serves_blocks(gained, lost, passed):
    labels, candidate, serving = table(400, gained, lost, 0)
    v = judge(
        sections(), comparison=compare(labels, candidate, serving), blocking={"false_allow_margin": 1.0}
    )
    assert v.passed is passed


def test_more_false_allows_than_what_serves_block_beyond_the_margin():
    within, beyond = compare(*table(395, 0, 4, 1)), compare(*table(30, 0, 1, 0))
    assert judge(sections(), comparison=within).passed
    v = judge(sections(), comparison=beyond)
    assert [c.name for c in v.blocking if not c.held] == ["rise of the false-allow rate over what serves"]


@given(st.lists(st.tuples(*[st.sampled_from(DECISIONS)] * 3), min_size=1, max_size=30))
def test_comparison_is_antisymmetric_and_a_probability(triples):
    labels, a, b = (dict(enumerate(column)) for column in zip(*triples, strict=True))
    one, other = compare(labels, a, b), compare(labels, b, a)
    assert (one.gained, one.lost) == (other.lost, other.gained)
    assert one.p_two_sided == pytest.approx(other.p_two_sided)
    assert 0 <= one.p_worse <= 1
    assert compare(labels, a, a).p_worse == 1


def test_different_rows_cannot_be_compared():
    with pytest.raises(ProofError):
        compare({"a": "DENY"}, {"a": "DENY"}, {"b": "DENY"})
