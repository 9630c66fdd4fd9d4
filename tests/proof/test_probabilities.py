from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sekisho.core.errors import ProofError
from sekisho.proof.probabilities import brier, ece, log_softmax, nll, reliability

any_logits = arrays(
    np.float64, st.tuples(st.integers(1, 20), st.integers(2, 5)), elements=st.floats(-1.7e308, 1.7e308)
)


@given(any_logits, st.floats(0.05, 20))
def test_log_softmax_is_finite_and_normalised(logits, temperature):
    out = log_softmax(logits, temperature)
    assert np.isfinite(out).all()
    assert np.exp(out).sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_logits_that_are_none_are_refused(bad):
    with pytest.raises(ProofError):
        log_softmax(np.array([bad]))


def test_a_zero_probability_is_kept_finite():
    out = log_softmax(np.array([[0.0, -np.inf]]))
    assert np.isfinite(out).all()
    assert np.exp(out[0, 1]) == 0


def test_ece_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    labels = np.array([0, 1, 0, 0])
    assert ece(p, labels) == pytest.approx(0.5 * abs(0.5 - 0.9) + 0.5 * abs(1.0 - 0.6))


def test_bins_are_open_below_and_closed_above():
    edge = 10 / 15
    found = reliability(np.array([[edge, 1 - edge]]), np.array([0]))
    assert [(b["lo"], b["hi"]) for b in found] == [pytest.approx((9 / 15, 10 / 15))]


def test_brier_and_nll_by_hand():
    p = np.array([[0.8, 0.2], [0.3, 0.7]])
    labels = np.array([0, 0])
    assert brier(p, labels) == pytest.approx((0.04 + 0.04 + 0.49 + 0.49) / 2)
    assert nll(np.log(p), labels) == pytest.approx(-(np.log(0.8) + np.log(0.3)) / 2)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 30), st.just(3)), elements=st.floats(-8, 8)),
    st.integers(0, 2**31),
)
def test_every_row_lies_in_one_bin_and_ece_is_a_share(logits, seed):
    labels = np.random.default_rng(seed).integers(0, 3, len(logits))
    p = np.exp(log_softmax(logits))
    assert sum(b["n"] for b in reliability(p, labels)) == len(labels)
    assert 0 <= ece(p, labels) <= 1
    assert 0 <= brier(p, labels) <= 2
