from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sekisho.train.losses import decision_loss, language_loss, pet_loss, pet_weight, taught_loss
from sekisho.train.recipe import Pet, PetSteps


def test_decision_loss_is_cross_entropy_over_options() -> None:
    logits = torch.randn(5, 3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1, 0])
    wanted = torch.nn.functional.cross_entropy(logits.float(), labels)
    assert decision_loss(logits, labels, 0.0).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_taught_loss_is_cross_entropy_against_probabilities_and_ignores_missing_options() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    targets = torch.softmax(torch.randn(4, 3), -1)
    wanted = torch.nn.functional.cross_entropy(logits, targets)
    assert taught_loss(logits, targets).item() == pytest.approx(wanted.item(), rel=1e-6)
    padded = torch.cat([logits, torch.full((4, 1), -math.inf)], 1)
    loss = taught_loss(padded, torch.cat([targets, torch.zeros(4, 1)], 1))
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_language_loss_in_chunks_is_the_whole_one_with_the_same_gradient(chunk: int) -> None:
    hidden, head = torch.randn(3, 9, 4, requires_grad=True), torch.randn(11, 4, requires_grad=True)
    ids = torch.randint(0, 11, (3, 9))
    whole = torch.nn.functional.cross_entropy((hidden @ head.T)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    wanted = torch.autograd.grad(whole, (hidden, head))
    loss = language_loss(hidden, head, ids, chunk)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    for got, want in zip(torch.autograd.grad(loss, (hidden, head)), wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-6)


def test_smoothing_equals_torchs_over_rows_of_equal_length() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    wanted = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert decision_loss(logits, labels, 0.1).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_missing_options_count_for_nothing() -> None:
    short = torch.tensor([[1.0, 2.0]])
    padded = torch.tensor([[1.0, 2.0, -math.inf]])
    label = torch.tensor([1])
    assert decision_loss(padded, label, 0.1).item() == pytest.approx(
        decision_loss(short, label, 0.1).item(), rel=1e-6
    )


@given(st.integers(3, 8), st.integers(0, 5))
def test_pet_of_a_straight_line_is_zero_and_padding_never_counts(length: int, pad: int) -> None:
    line = torch.arange(length, dtype=torch.float32)[None, :, None].repeat(1, 1, 4)
    junk = torch.full((1, pad, 4), 1e3)
    mask = torch.tensor([[0] * pad + [1] * length])
    assert pet_loss(torch.cat([junk, line], 1), mask, 0.0).item() == pytest.approx(0.0, abs=1e-6)


def test_pet_is_the_mean_squared_second_difference() -> None:
    hidden = torch.tensor([[[0.0], [1.0], [4.0], [9.0]]])
    assert pet_loss(hidden, torch.ones(1, 4), 0.0).item() == pytest.approx(4.0)
    assert pet_loss(hidden, torch.ones(1, 4), 0.5).item() == pytest.approx(2 * 0.5 * 2 - 0.25)


def test_pet_over_fewer_than_three_tokens_is_zero() -> None:
    assert pet_loss(torch.randn(2, 2, 4), torch.ones(2, 2), 0.0).item() == 0.0


@pytest.mark.parametrize(("step", "weight"), [(0, 0.01), (19, 0.01), (20, 0.05), (60, 0.1), (100, 0.1)])
def test_pet_has_three_phases_of_progress(step: int, weight: float) -> None:
    assert pet_weight(Pet(), step, 100) == weight


@pytest.mark.parametrize(
    ("step", "weight"),
    [(0, 0), (50, 0.05), (100, 0.1), (1099, 0.1), (1200, 0.05), (1300, 0), (9999, 0)],
)
def test_pet_by_steps_rises_stays_and_falls(step: int, weight: float) -> None:
    assert pet_weight(Pet(steps=PetSteps()), step, 7) == pytest.approx(weight)
    assert pet_weight(Pet(steps=PetSteps(warmup=0, main=1, anneal=0)), step, 7) == 0.1 * (step == 0)


def test_nothing_is_smoothed_or_predicted_across_the_border_of_packed_texts() -> None:
    """Two packed texts cost what each costs alone, weighed by their places."""
    first, second = torch.randn(1, 5, 4), torch.randn(1, 7, 4) + 50
    packed, mask = torch.cat([first, second], 1), torch.tensor([[1] * 5 + [2] * 7])
    alone = [pet_loss(x, torch.ones(x.shape[:2]), 0.0).item() for x in (first, second)]
    assert pet_loss(packed, mask, 0.0).item() == pytest.approx((3 * alone[0] + 5 * alone[1]) / 8, rel=1e-5)
    head, ids = torch.randn(11, 4), torch.randint(0, 11, (1, 12))
    parts = [language_loss(first, head, ids[:, :5]).item(), language_loss(second, head, ids[:, 5:]).item()]
    both = language_loss(packed, head, ids, mask=mask).item()
    assert both == pytest.approx((4 * parts[0] + 6 * parts[1]) / 10, rel=1e-5)
    padded = torch.tensor([[0] * 5 + [1] * 7])
    assert language_loss(packed, head, ids, mask=padded).item() == pytest.approx(parts[1], rel=1e-5)


def test_language_smoothing_is_torchs() -> None:
    hidden, head, ids = torch.randn(2, 6, 4), torch.randn(9, 4), torch.randint(0, 9, (2, 6))
    wanted = torch.nn.functional.cross_entropy(
        (hidden @ head.T)[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), label_smoothing=0.1
    )
    assert language_loss(hidden, head, ids, smoothing=0.1).item() == pytest.approx(wanted.item(), rel=1e-5)
