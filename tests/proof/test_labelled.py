"""Figures and fits where not every criterion is labelled on every image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.proof.labelled import (
    LEAST,
    LEAST_HELD,
    chances,
    fit_scales,
    log_loss,
    measure_labelled,
)
from sekisho.proof.platt import sigmoid
from sekisho.proof.rubric import measure

IDS = ("A", "B", "C")
HALF = np.full(3, 0.5)


def made(images: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, 3)) < 0.4).astype(float)
    said = np.where(rng.random(labels.shape) < 0.1, 1 - labels, labels)
    return (2 * said - 1) * 8 + rng.normal(0, 1, labels.shape), labels


@settings(deadline=None)  # the first interval loads scipy
@given(st.integers(2, 40), st.integers(0, 1000))
def test_whole_labels_give_what_is_measured_of_whole_labels(images, seed):
    odds, labels = made(images, seed)
    p = sigmoid(odds)
    found, whole = measure_labelled(IDS, p, labels, HALF, (1, images)), measure(IDS, p, labels, HALF, 1.0)
    assert {i: c.accuracy["rate"] for i, c in found.criteria.items()} == pytest.approx(whole.accuracy)
    assert (found.mean, found.majority_mean, found.ece) == pytest.approx(
        (whole.mean, whole.majority_mean, whole.ece)
    )
    assert found.outcome["n"] == images


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000), st.floats(0, 1))
def test_what_is_not_labelled_is_not_measured(images, seed, share):
    odds, labels = made(images, seed)
    gone = np.random.default_rng(seed).random(labels.shape) < share
    gone[0, 0] = False
    labels[gone] = np.nan
    p = sigmoid(odds)
    found = measure_labelled(IDS, p, labels, HALF, (0, 0))
    p[gone] = 0.123  # whatever the eye says there
    assert measure_labelled(IDS, p, labels, HALF, (0, 0)) == found
    assert found.answers == (~gone).sum() == sum(c.n for c in found.criteria.values())
    assert all(c.accuracy["low"] <= c.accuracy["rate"] <= c.accuracy["high"] for c in found.criteria.values())
    assert found.outcome["rate"] is None


def test_an_eye_that_sees_is_better_than_the_frequent_answer_and_a_blind_one_is_not():
    odds, labels = made(200)
    assert measure_labelled(IDS, sigmoid(odds), labels, HALF, (0, 0)).better
    blind = measure_labelled(IDS, np.zeros(labels.shape), labels, HALF, (0, 0))
    assert (blind.wins, blind.losses, blind.better) == (0, 0, False)
    one = measure_labelled(IDS, sigmoid(odds[:1]), labels[:1], HALF, (0, 0))
    assert not one.better
    assert one.balanced is None


def test_a_fit_mends_what_is_too_sure_and_the_held_out_say_so():
    odds, labels = made(400)
    held = np.arange(400) % 4 == 0
    found = fit_scales(IDS, odds, labels, held, {})
    assert set(found.scales) == set(IDS)
    assert all(0.05 < slope < 0.6 for slope, _ in found.scales.values())
    assert found.measures["nll_after"] < found.measures["nll_before"] / 2
    assert found.measures["ece15_after"] < found.measures["ece15_before"]
    assert found.rows == 3 * 300
    assert found.measures["n"] == 3 * 100
    after = log_loss(chances(odds[held], IDS, found.scales)[:, 1], labels[held, 1])
    assert found.measures["nll_after:B"] == pytest.approx(after)


def test_too_few_a_flat_and_a_worse_fit_are_left():
    odds, labels = made(400)
    held = np.arange(400) % 4 == 0
    labels[np.flatnonzero(labels[:, 0] == 1)[LEAST + LEAST_HELD - 2 :], 0] = np.nan
    odds[:, 1] = -odds[:, 1]
    odds[held, 2] = -odds[held, 2]
    found = fit_scales(IDS, odds, labels, held, {"C": (0.001, 0.0)})
    assert found.scales == {}
    assert found.left == {"A": "few_labels", "B": "flat", "C": "worse"}
    assert (found.rows, found.measures) == (0, {})


def test_a_criterion_nobody_labelled_is_left():
    odds, labels = made(200)
    labels[:, 2] = np.nan
    found = fit_scales(IDS, odds, labels, np.arange(200) % 4 == 0, {})
    assert found.left == {"C": "few_labels"}
    assert "C" not in measure_labelled(IDS, sigmoid(odds), labels, HALF, (0, 0)).criteria
