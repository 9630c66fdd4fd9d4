from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.serve.engines.breaker import Breaker

STEPS = st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["well", "failed", "left"])), max_size=60)


@given(STEPS, st.integers(1, 4))
def test_nothing_passes_an_open_circuit_but_trials_and_a_good_answer_closes_it(steps, failures):
    breaker, now, row, opened = Breaker(failures, pause=1.0, longest=4.0), 0.0, 0, 0.0
    for later, end in steps:
        now += later
        wait = breaker.wait(now)
        assert wait >= 0
        if row < failures:
            assert wait == 0
        elif now - opened > 4.0:
            assert wait == 0, "a pause ends"
        if wait:
            assert row >= failures
            continue
        breaker.passed(now)
        if row >= failures:
            assert breaker.wait(now) > 0, "one trial at a time"
        if end == "well":
            breaker.went_well()
            row = 0
        elif end == "failed":
            breaker.failed(now)
            row, opened = row + 1, now
        else:
            breaker.left()
            opened = now
    breaker.went_well()
    assert breaker.wait(now) == 0


def test_pauses_grow():
    breaker, now, pauses = Breaker(2, pause=1.0, longest=5.0), 0.0, []
    for _ in range(6):
        breaker.passed(now)
        breaker.failed(now)
        pauses.append(breaker.wait(now))
        now += pauses[-1]
    assert pauses == pytest.approx([0, 1, 2, 4, 5, 5])
