from __future__ import annotations

import math

from sekisho.tasks.rubric.census import census
from sekisho.tasks.rubric.lint import read_pack
from sekisho.tasks.rubric.patterns import Scorer

from .makers import SHARE


def test_answers_without_an_image_are_known_beforehand():
    found = census(Scorer(read_pack("kotaro", SHARE)), samples=1500)
    assert (found.all_zero.state, found.all_zero.pattern) == ("all_zero", None)
    assert (found.all_one.state, found.all_one.pattern) == ("all_one", "P02")
    assert [t.chance for t in found.random] == [0.1, 0.5, 0.9]
    assert all(math.isclose(sum(t.winners.values()) + t.residual, 1) for t in found.random)
    half = found.random[1]
    assert 0.25 < half.equal_counts < 0.35
    assert max(half.winners, key=half.winners.get) == "P02"
    assert found == census(Scorer(read_pack("kotaro", SHARE)), samples=1500)
