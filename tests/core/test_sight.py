from __future__ import annotations

import math

import pytest

from sekisho.core.sight import OBSERVED, Seen, chance_of, is_observed, log_odds_of


def test_answers_without_a_probability_are_known():
    assert Seen(log_odds={"a": OBSERVED, "b": -OBSERVED}).observed
    assert not Seen(log_odds={"a": OBSERVED, "b": 0.2}).observed
    assert is_observed({"a": math.log(2 / 3) - math.log1p(-2 / 3)})


def test_chances_and_log_odds_are_each_others_inverse():
    for x in (-25.0, -3.2, 0.0, 1e-9, 7.0):
        assert log_odds_of(chance_of(x)) == pytest.approx(x, rel=1e-4, abs=1e-12)
    assert (chance_of(-1e9), chance_of(1e9)) == (pytest.approx(0.0, abs=1e-25), 1.0)
    assert (log_odds_of(0.0, 1e-6), log_odds_of(1.0, 1e-6)) == pytest.approx((-13.8155, 13.8155), abs=1e-4)
