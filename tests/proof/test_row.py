from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.proof.probabilities import log_softmax
from sekisho.proof.row import calibrated_row, softmax
from sekisho.proof.sureness import Platt, with_platt

ROW = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=5)


@settings(deadline=None)
@given(ROW, st.floats(0.05, 20))
def test_a_row_is_what_the_arrays_say(row, temperature):
    want = np.exp(log_softmax(np.asarray([row]), temperature))[0]
    assert calibrated_row(row, "temperature", temperature, 1, 0) == pytest.approx(want, abs=1e-9)
    assert calibrated_row(row, "none", temperature, 1, 0) == softmax(row)


@settings(deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3), st.floats(-5, 5), st.floats(-5, 5))
def test_platt_is_what_the_arrays_say(row, a, b):
    want = with_platt(np.asarray([softmax(row)]), Platt(a, b))[0]
    assert calibrated_row(row, "platt", 1, a, b) == pytest.approx(want, abs=1e-9)


@settings(deadline=None)
@given(
    ROW,
    st.sampled_from(["none", "temperature", "platt"]),
    st.floats(0.05, 20),
    st.floats(-50, 50),
    st.floats(-50, 50),
)
def test_the_likeliest_stays_and_the_sum_is_one(row, method, temperature, a, b):
    p = calibrated_row(row, method, temperature, a, b)
    assert math.isclose(sum(p), 1)
    plain = softmax(row)
    assert p[plain.index(max(plain))] >= max(p) - 1e-12


def test_scores_too_close_to_tell_apart_keep_the_first():
    assert calibrated_row([-1e-42, 0.0, 0.0], "platt", 1, 0, 0) == [0.5, 0.25, 0.25]
