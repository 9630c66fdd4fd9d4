from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.errors import InputError
from sekisho.tasks.rubric.lint import read_pack
from sekisho.tasks.rubric.patterns import Scorer, drawn

from .makers import SHARE, pack, packs, plainly

CASES = Path(__file__).parent / "fixtures" / "kotaro_v2_3_cases.jsonl"
SEED = "sha256:" + "0" * 64
FIRST_DRAWS = ["P02", "P03", "P01", "P01"]
"""By hand: SHA-256 of the seed and the tied patterns, a line each, modulo their number."""


@pytest.fixture(scope="module")
def kotaro() -> Scorer:
    return Scorer(read_pack("kotaro", SHARE))


@pytest.fixture(scope="module")
def cases() -> list[dict]:
    return [json.loads(line) for line in CASES.read_text().splitlines()]


def answers_of(scorer: Scorer, digits: str) -> dict[str, int]:
    return dict(zip(scorer.pack.ids, map(int, digits), strict=True))


def test_every_golden_case_has_its_scores_winner_and_tie(kotaro, cases):
    assert len(cases) == 400
    assert sum(bool(c["tie"]) for c in cases) > 40
    for case in cases:
        found = kotaro.score(kotaro.bits(answers_of(kotaro, case["answers"])))
        assert list(found.pattern_scores.values()) == case["scores"]
        assert (found.pattern, list(found.residual_tie)) == (case["winner"], case["tie"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_pack_scores_as_the_rule_is_told(data):
    scorer = Scorer(data.draw(packs()))
    for _ in range(5):
        bits = data.draw(st.integers(0, (1 << len(scorer.pack.ids)) - 1))
        answers = {c: bits >> i & 1 for i, c in enumerate(scorer.pack.ids)}
        counts, leaders = plainly(scorer.pack, answers)
        assert scorer.bits(answers) == bits
        found = scorer.score(bits)
        assert found.pattern_scores == counts
        assert found.residual_tie == (tuple(leaders) if len(leaders) > 1 else ())
        assert found.pattern == (leaders[0] if bits and len(leaders) == 1 else None)
        assert found.fired == tuple(c for c in scorer.pack.ids if answers[c])


def test_the_largest_pack_fits_its_fields():
    everyone = [f"p{i}" for i in range(32)]
    subs = ["a", "b", "c", "d"]
    criteria = [(everyone, subs[i % 4], 100) for i in range(64)]
    large = Scorer(pack(criteria, dict.fromkeys(everyone, subs), subs))
    found = large.score((1 << 64) - 1)
    assert set(found.pattern_scores.values()) == {64}
    assert found.residual_tie == tuple(everyone)
    assert found.sub_scores["p31"] == dict.fromkeys(subs, 1600)


def test_the_states_are_told(kotaro):
    full = (1 << 60) - 1
    assert kotaro.score(0, SEED).state == "all_zero"
    assert kotaro.score(0, SEED).pattern is None
    assert len(kotaro.score(0, SEED).residual_tie) == 12
    assert kotaro.score(full).state == "all_one"
    assert kotaro.score(full).pattern == "P02"
    assert kotaro.score(0b11).state == "low_coverage"
    assert kotaro.score(0b111).state == "scored"


def test_no_evidence_gives_no_outcome_even_where_there_is_only_one():
    only = Scorer(pack([(["p"], "s", 1)], {"p": ["s"]}, ["s"]))
    blank = only.score(0, SEED, choose=lambda tied: tied[0])
    assert (blank.pattern, blank.state, blank.residual_tie, blank.because) == (None, "all_zero", (), ())
    assert only.score(1).pattern == "p"


def test_a_residual_tie_ends_the_same_way_for_the_same_image(kotaro, cases):
    tied = [kotaro.bits(answers_of(kotaro, c["answers"])) for c in cases if c["tie"] and "1" in c["answers"]]
    assert len(tied) > 20
    for bits in tied:
        once, again = kotaro.score(bits, SEED), kotaro.score(bits, SEED)
        assert once == again
        assert once.pattern in once.residual_tie
        assert once.tie_break.model_dump() == {"rule": "seed", "seed": SEED}
        assert kotaro.score(bits).pattern is None
        assert kotaro.score(bits).tie_break is None


def test_draws_are_even_and_fixed_for_all_time():
    assert [drawn(("P01", "P02", "P03"), f"sha256:{i}") for i in range(4)] == FIRST_DRAWS
    counts = [drawn(("a", "b", "c"), str(i)) for i in range(3000)]
    assert all(900 < counts.count(x) < 1100 for x in "abc")


def test_a_second_look_may_end_a_tie_but_not_leave_it(kotaro, cases):
    bits = next(kotaro.bits(answers_of(kotaro, c["answers"])) for c in cases if len(c["tie"]) == 2)
    found = kotaro.score(bits, SEED, choose=lambda tied: tied[-1])
    assert found.pattern == found.residual_tie[-1]
    assert found.tie_break.rule == "chosen"
    with pytest.raises(InputError, match="none of the tied"):
        kotaro.score(bits, SEED, choose=lambda tied: "P99")


def test_a_pack_may_take_the_first_in_its_order():
    scorer = Scorer(pack([(["a", "b"], "s", 1)], {"b": ["s"], "a": ["s"]}, ["s"], tie="order"))
    found = scorer.score(1)
    assert (found.pattern, found.tie_break.rule, found.residual_tie) == ("b", "order", ("b", "a"))


def test_what_fired_is_cited_heaviest_first(kotaro):
    found = kotaro.score(kotaro.bits({c: int(c in {"A01", "A02", "A03", "B13"}) for c in kotaro.pack.ids}))
    assert found.pattern == "P01"
    assert found.fired == ("A01", "A02", "A03", "B13")
    assert found.because == ("A01", "A03", "A02")
    assert found.sub_scores == {"P01": {"beautiful": 8, "cool": 0, "cute": 0, "friendly": 0}}


@pytest.mark.parametrize("value", [2, -1, 256, 0.0, 1.0, True, "1", None, [1]])
def test_a_value_that_is_not_0_or_1_is_named(kotaro, value):
    with pytest.raises(InputError, match="not the number 0 or 1: B07"):
        kotaro.bits({**dict.fromkeys(kotaro.pack.ids, 0), "B07": value})


def test_nothing_is_made_up_for_a_missing_answer(kotaro):
    answers = dict.fromkeys(kotaro.pack.ids, 1)
    del answers["A01"], answers["D15"]
    with pytest.raises(InputError) as error:
        kotaro.bits({**answers, "E01": 1})
    assert "missing: A01, D15" in str(error.value)
    assert "unknown: E01" in str(error.value)
    with pytest.raises(InputError, match="missing: A01, D15"):
        kotaro.bits_of(answers)


def test_probabilities_count_from_the_threshold_on(kotaro):
    sure = {c: 0.5 if c.startswith("A") else 0.499999 for c in kotaro.pack.ids}
    assert kotaro.bits_of(sure) == (1 << 15) - 1
    for wrong in (float("nan"), -0.1, 1.1, True):
        with pytest.raises(InputError, match="not a probability: C03"):
            kotaro.bits_of({**sure, "C03": wrong})
