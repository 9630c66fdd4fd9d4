from __future__ import annotations

import math

from sekisho.core.sight import OBSERVED, Seen, is_observed


def test_answers_without_a_probability_are_known():
    assert Seen(log_odds={"a": OBSERVED, "b": -OBSERVED}).observed
    assert not Seen(log_odds={"a": OBSERVED, "b": 0.2}).observed
    assert is_observed({"a": math.log(2 / 3) - math.log1p(-2 / 3)})
