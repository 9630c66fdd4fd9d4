from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sekisho.core.errors import ProofError
from sekisho.proof.calibration import HIGHEST, LOWEST, Calibration, fit, fit_temperature
from sekisho.proof.probabilities import brier, ece, log_softmax, nll

from .samples import population

FIXTURES = Path(__file__).parent / "fixtures"
NAME = "lenet-5-cifar-10.npz"


@pytest.fixture(scope="module")
def lenet():
    with np.load(FIXTURES / NAME) as z:
        return np.log(z["predictions"].astype(np.float64)), z["ground_truth"]


@pytest.fixture(scope="module")
def reference():
    return json.loads((FIXTURES / "reference.json").read_text(encoding="utf-8"))["sets"][NAME]


def test_ece_brier_and_nll_agree_with_three_other_implementations(lenet, reference):
    logp, labels = lenet
    p = np.exp(log_softmax(logp))
    assert ece(p, labels) == pytest.approx(reference["ECE15"], abs=1e-4)
    assert ece(p, labels, 10) == pytest.approx(reference["ECE10"], abs=1e-4)
    assert brier(p, labels) == pytest.approx(reference["Brier_multiclass"], abs=1e-6)
    assert nll(log_softmax(logp), labels) == pytest.approx(reference["NLL"], abs=1e-6)


def test_temperature_agrees_and_lowers_the_error_of_unseen_rows(lenet, reference):
    logp, labels = lenet
    t = fit_temperature(logp[:5000], labels[:5000])
    half = reference["second_half"]
    assert t == pytest.approx(reference["temperature_fit_first_5000"], abs=1e-4)
    after = log_softmax(logp[5000:], t)
    assert ece(np.exp(log_softmax(logp[5000:])), labels[5000:]) == pytest.approx(
        half["ECE15_before"], abs=1e-4
    )
    assert ece(np.exp(after), labels[5000:]) == pytest.approx(half["ECE15_after"], abs=1e-4)
    assert nll(after, labels[5000:]) == pytest.approx(half["NLL_after"], abs=1e-6)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.2, 8), st.integers(0, 10_000))
def test_a_known_temperature_is_recovered(true, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(20_000, 3)) * 2
    p = np.exp(log_softmax(z))
    labels = (rng.random((len(z), 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    assert fit_temperature(z * true, labels) == pytest.approx(true, rel=0.06)


@settings(deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(-1.7e308, 1.7e308)),
    st.integers(0, 2**31),
)
def test_never_nan_and_always_in_the_bracket(logits, seed):
    labels = np.random.default_rng(seed).integers(0, 3, len(logits))
    t = fit_temperature(logits, labels)
    assert LOWEST <= t <= HIGHEST


@settings(deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(4, 30), st.just(3)), elements=st.floats(-6, 6)),
    st.integers(0, 2**31),
    st.floats(0.05, 20),
)
def test_no_other_temperature_is_likelier(logits, seed, other):
    labels = np.random.default_rng(seed).integers(0, 3, len(logits))
    t = fit_temperature(logits, labels)
    assert nll(log_softmax(logits, t), labels) <= nll(log_softmax(logits, other), labels) + 1e-7


def test_the_three_odd_cases():
    one_class = np.tile([5.0, 0.0, 0.0], (10, 1))
    assert fit_temperature(one_class, np.zeros(10, dtype=int)) == LOWEST
    assert fit_temperature(one_class, np.ones(10, dtype=int)) == HIGHEST
    assert fit_temperature(np.zeros((5, 3)), np.arange(5) % 3) == 1.0
    with pytest.raises(ProofError):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int))


def test_a_fit_is_a_value_with_an_id_of_its_content():
    rows = population(900, skill=2.0, sharpness=4.0)
    c = fit(rows, "sha256:rows")
    assert c.n == 900
    assert c.temperature > 1.5
    assert not c.at_bound
    assert c.ece_after < c.ece_before
    assert c.nll_after < c.nll_before
    assert Calibration.from_json(json.loads(json.dumps(c.json()))) == c
    assert c.id == fit(rows, "sha256:rows").id
    assert dataclasses.replace(c, temperature=1.0).id != c.id


def test_an_altered_calibration_is_refused():
    value = fit(population(60), "x").json()
    for broken in ({**value, "temperature": 1.0}, {**value, "extra": 1}, {"id": "x"}):
        with pytest.raises(ProofError):
            Calibration.from_json(broken)
