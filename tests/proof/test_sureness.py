from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sekisho.core.errors import ProofError
from sekisho.proof.probabilities import log_softmax
from sekisho.proof.sureness import (
    Platt,
    brier_parts,
    calibrated,
    ece_equal_mass,
    fit_platt,
    labels_from,
    logits_from,
    smooth_ece,
    with_platt,
)

FIXTURES = Path(__file__).parent / "fixtures"


def numbers(value):
    """Every number of a nested value."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    else:
        yield float(value)


def drawn(n, seed, sharp=1.0, classes=3):
    """Rows whose labels follow softmax(z), and z times `sharp` as logits."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, classes)) * 2
    p = np.exp(log_softmax(z))
    labels = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return z * sharp, labels


def test_the_reference_is_met():
    with np.load(FIXTURES / "lenet-5-cifar-10.npz") as z:
        logits = logits_from(z["predictions"], True)
        labels = labels_from(z["ground_truth"], *logits.shape)
    want = json.loads((FIXTURES / "reference.json").read_text(encoding="utf-8"))["sets"][
        "lenet-5-cifar-10.npz"
    ]
    found = calibrated(logits, labels, 5000)
    assert found["temperature"] == pytest.approx(want["temperature_fit_first_5000"], abs=1e-4)
    assert found["all"]["ece15"] == pytest.approx(want["ECE15"], abs=1e-4)
    assert found["all"]["brier"] == pytest.approx(want["Brier_multiclass"], abs=1e-6)
    half = want["second_half"]
    assert found["before"]["ece15"] == pytest.approx(half["ECE15_before"], abs=1e-4)
    assert found["temperature_after"]["ece15"] == pytest.approx(half["ECE15_after"], abs=1e-4)
    for name in ("ece15", "ece15_equal_mass", "smooth_ece", "nll"):
        assert found["temperature_after"][name] < found["before"][name]
        assert found["platt_after"][name] < found["before"][name]


def test_a_temperature_at_its_bound_is_told():
    sure = np.array([[50.0, 0.0], [0.0, 50.0]] * 5)
    labels = np.array([0, 1] * 5)
    assert calibrated(sure / 1e4, labels)["at_bound"]
    assert calibrated(sure, 1 - labels)["at_bound"]
    assert not calibrated(np.array([[1.0, 0.0]] * 10), np.array([0] * 7 + [1] * 3))["at_bound"]


_WILD = st.floats(allow_nan=False, allow_infinity=False, width=64) | st.sampled_from(
    [0.0, -math.inf, 1e308, -1e308]
)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_fuzzed_logits_give_finite_numbers_or_a_clear_refusal(data):
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
    z = data.draw(arrays(np.float64, shape, elements=_WILD | st.just(math.nan) | st.just(math.inf)))
    y = data.draw(arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    bad = np.isnan(z).any() or not np.isfinite(z.max(axis=1)).all()
    if bad:
        with pytest.raises(ProofError):
            logits_from(z, False)
        return
    found = calibrated(logits_from(z, False), labels_from(y, *shape))
    assert all(math.isfinite(x) for x in numbers(found))


@pytest.mark.parametrize(
    "z",
    [np.zeros((40, 3)), np.full((40, 3), 1e300), np.eye(3)[np.arange(40) % 3] * 1e6, np.zeros((40, 1))],
    ids=["equal", "huge", "sure", "one class"],
)
def test_odd_logits(z):
    for labels in (np.zeros(40, dtype=int), np.arange(40) % z.shape[1]):
        assert all(math.isfinite(x) for x in numbers(calibrated(z, labels)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 4), st.integers(2, 6))
def test_parts_of_the_brier_score_sum_to_it(seed, sharp, classes):
    z, labels = drawn(500, seed, sharp, classes)
    p = np.exp(log_softmax(z))
    found = brier_parts(p, labels)
    right = p.argmax(axis=1) == labels
    assert found["score"] == pytest.approx(((p.max(axis=1) - right) ** 2).mean())
    assert abs(found["within"]) < 0.02
    assert found["reliability"] >= 0
    assert found["uncertainty"] >= found["resolution"] - 1e-12


def test_errors_are_near_zero_for_true_probabilities_and_large_for_boasts():
    for sharp, low, high in ((1.0, 0.0, 0.02), (6.0, 0.15, 0.5)):
        z, labels = drawn(20_000, 3, sharp)
        p = np.exp(log_softmax(z))
        assert low <= ece_equal_mass(p, labels) <= high
        assert low <= smooth_ece(p, labels) <= high


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_platt_undoes_what_platt_did(seed):
    rng = np.random.default_rng(seed)
    s = rng.normal(size=20_000) * 2 + 1
    s = np.abs(s)
    true = Platt(0.6, -0.3)
    right = rng.random(len(s)) < 1 / (1 + np.exp(-(true.a * s + true.b)))
    logits = np.stack([s, np.zeros_like(s)], axis=1)
    found = fit_platt(logits, np.where(right, 0, 1))
    assert found.a == pytest.approx(true.a, abs=0.08)
    assert found.b == pytest.approx(true.b, abs=0.12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(-50, 50), st.floats(-50, 50))
def test_platt_keeps_the_likeliest_and_the_sum(seed, a, b):
    z, _ = drawn(50, seed)
    p = np.exp(log_softmax(z))
    after = with_platt(p, Platt(a, b))
    assert np.allclose(after.sum(axis=1), 1)
    best = p.argmax(axis=1)
    assert (after[np.arange(50), best] >= after.max(axis=1) - 1e-12).all()


@pytest.mark.parametrize(
    ("array", "probabilities"),
    [
        ([["x"]], True),
        (np.zeros((0, 3)), True),
        ([[0.5, 0.6]], True),
        ([[-0.1, 1.1]], True),
        ([[[1.0]]], False),
        ([[math.nan]], False),
    ],
)
def test_what_is_no_prediction_is_refused(array, probabilities):
    with pytest.raises(ProofError):
        logits_from(array, probabilities)


@pytest.mark.parametrize("array", [[0, 1], [0, 1, 3], [0, -1, 1], [0.5, 1, 1], ["a", "b", "c"], [[0, 1, 2]]])
def test_what_is_no_ground_truth_is_refused(array):
    with pytest.raises(ProofError):
        labels_from(np.asarray(array), 3, 3)
