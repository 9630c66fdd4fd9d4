from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.serve.scoring import (
    argmax,
    calibrate,
    choice_confidence,
    expected_score,
    log_softmax,
    score_confidence,
    softmax,
)

logits = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=255)
temperatures = st.floats(1e-6, 1e6)


@given(logits, temperatures)
def test_calibrated_probabilities_sum_to_one_and_keep_the_order(values, temperature):
    probabilities = calibrate(values, temperature)
    assert abs(math.fsum(probabilities) - 1) < 1e-12
    assert all(0 <= p <= 1 for p in probabilities)
    assert probabilities[argmax(values)] == max(probabilities)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=10))
def test_temperature_one_gives_the_probabilities_back(values):
    assert calibrate(log_softmax(values), 1.0) == pytest.approx(softmax(values), rel=1e-9, abs=1e-15)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=10), st.floats(0.1, 10))
def test_calibration_divides_log_odds(values, temperature):
    p = calibrate(values, temperature)
    assert math.log(p[0] / p[1]) == pytest.approx((values[0] - values[1]) / temperature, abs=1e-6)


@pytest.mark.parametrize("values", [[], [math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_what_is_no_distribution_is_refused(values):
    for function in (softmax, log_softmax, lambda v: calibrate(v, 1.0)):
        with pytest.raises(ValueError, match=r"no options|not a number"):
            function(values)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="positive number"):
        calibrate([0.0, 1.0], temperature)


def test_extreme_values_do_not_overflow():
    assert calibrate([1e308, -1e308], 1e-300) == (1.0, 0.0)
    assert calibrate([-math.inf, 0.0], 2.0) == (0.0, 1.0)


def test_confidence_formulas_of_the_wire():
    assert score_confidence([0, 0.57, 0.43]) == pytest.approx(0.355)
    assert score_confidence([0.5, 0, 0, 0, 0.5]) == 0.0
    assert choice_confidence([0.5, 0, 0, 0, 0.5]) == pytest.approx(0.375)
    assert choice_confidence([1.0]) == score_confidence([1.0]) == 1.0
    assert expected_score([0.25, 0.25, 0.5]) == 1.25


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=10))
def test_confidences_stay_in_the_unit_interval(values):
    p = softmax(values)
    assert 0 <= choice_confidence(p) <= 1
    assert 0 <= score_confidence(p) <= 1
    assert 0 <= expected_score(p) <= len(p) - 1 + 1e-9
