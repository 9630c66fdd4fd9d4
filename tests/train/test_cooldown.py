from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.train.cooldown import EndOfCooldown, learning_rate_factor


@dataclass(frozen=True)
class Shares:
    warmup: float = 0.1
    cooldown_start: float = 1.0
    cooldown: float = 0.1


def test_the_rate_warms_up_follows_the_cosine_and_cools_down_to_zero():
    recipe = Shares(warmup=0.1, cooldown_start=0.5, cooldown=0.2)
    course = [learning_rate_factor(recipe, 100, step) for step in range(101)]
    assert course[0] == 0
    assert course[10] == 1
    assert all(a >= b for a, b in itertools.pairwise(course[10:]))
    assert course[70:] == [0.0] * 31
    plain = Shares(warmup=0.1)
    assert learning_rate_factor(plain, 100, 50) == pytest.approx(course[50])
    assert learning_rate_factor(plain, 100, 100) == pytest.approx(0.0)


@given(st.integers(1, 5000), st.floats(0, 0.5), st.floats(0.2, 1), st.floats(0.01, 1))
def test_the_rate_rises_falls_and_ends(steps, warmup, start, cooldown):
    recipe = Shares(warmup=warmup, cooldown_start=start, cooldown=cooldown)
    found = [learning_rate_factor(recipe, steps, s) for s in range(steps + 1)]
    assert all(0 <= r <= 1 + 1e-12 for r in found)
    warm = math.ceil(warmup * steps)
    assert found[0] == (0 if warm else pytest.approx(1))
    after = found[warm:]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(after))


class State:
    def __init__(self, step):
        self.global_step, self.max_steps = step, 100


class Control:
    should_training_stop = False


@pytest.mark.parametrize(
    ("course", "last"), [(Shares(), 100), (Shares(cooldown_start=0.5, cooldown=0.2), 70)]
)
def test_training_ends_when_the_rate_has_reached_zero(course, last):
    watch = EndOfCooldown(course)
    assert not watch.on_step_end(None, State(last - 1), Control()).should_training_stop
    assert watch.on_step_end(None, State(last), Control()).should_training_stop
