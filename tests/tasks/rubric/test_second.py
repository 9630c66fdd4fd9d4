from __future__ import annotations

import math

import pytest

from sekisho.tasks.rubric.lint import read_pack
from sekisho.tasks.rubric.patterns import Scorer
from sekisho.tasks.rubric.second import answered, failed, pair, question, weighed

from .makers import SHARE, pack

SMALL = Scorer(
    pack(
        [(["p"], "s", 1), (["q"], "s", 1), (["p", "q"], "s", 1), (["r"], "s", 1), (["p"], "s", 1)],
        {"p": ["s"], "q": ["s"], "r": ["s"]},
        ["s"],
    )
)
SURE = {"c0": 0.6, "c1": 0.9, "c2": 0.99, "c3": 0.1, "c4": 0.01}


def looked(**changed: float):
    chances = {**SURE, **changed}
    found = SMALL.score(SMALL.bits_of(chances))
    return weighed(SMALL.pack, pair(found), found, chances)


def test_only_a_tie_of_two_with_something_at_yes_is_looked_at_again():
    assert pair(SMALL.score(0b00011)) == ("p", "q")
    assert pair(SMALL.score(0b01011)) is None
    assert pair(SMALL.score(0b00001)) is None
    two = Scorer(pack([(["p"], "s", 1), (["q"], "s", 1)], {"p": ["s"], "q": ["s"]}, ["s"]))
    assert two.score(0).residual_tie == ("p", "q")
    assert pair(two.score(0)) is None


def test_the_evidence_is_that_of_the_criteria_at_yes_that_tell_the_two_apart():
    found = looked()
    assert (found.way, found.chosen, found.criteria) == ("evidence", "q", ("c0", "c1"))
    assert found.margin == pytest.approx(math.log(1.5) - math.log(9))
    assert found.reason == f"second_look:evidence:q:{found.margin:.6g}"
    assert looked(c0=0.95).chosen == "p"
    even = looked(c0=0.9)
    assert (even.chosen, even.margin) == (None, 0.0)
    assert even.reason == "second_look:evidence:undecided:0"


def test_a_criterion_at_no_does_not_count_against_the_pattern_that_has_more():
    assert looked(c4=0.4).margin == looked(c4=0.0).margin
    assert math.isfinite(looked(c0=1.0).margin)


def test_a_question_names_both_patterns_of_the_pack():
    kotaro = read_pack("kotaro", SHARE)
    one, other = kotaro.patterns[:2]
    asked = question(kotaro, (one.id, other.id))
    for text in (one.title.en, one.trigger.en, other.title.en, other.trigger.en):
        assert text in asked
    assert asked.index(one.title.en) < asked.index("no for") < asked.index(other.trigger.en)


def test_the_likelier_one_is_chosen_and_neither_when_neither_is():
    between = ("p", "q")
    chosen = [answered(SMALL.pack, between, odds).chosen for odds in (0.1, -0.1, 0.0, 800.0, -800.0)]
    assert chosen == ["p", "q", None, "p", "q"]
    told = answered(SMALL.pack, between, 0.0)
    assert (told.probability, told.reason) == (0.5, "second_look:question:undecided:0.5")
    lost = failed(SMALL.pack, between, "engine_timeout")
    assert (lost.chosen, lost.reason) == (None, "second_look:question:failed:engine_timeout")
    assert lost.asked == question(SMALL.pack, between)
