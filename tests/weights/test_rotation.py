from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.weights.rotation import apply_blocks, generator, orthogonality_error, rotation

scales = st.floats(0.0, 1.0)
seeds = st.integers(0, 2**31)


def draw(seed, scale, blocks=6, dtype=torch.float32):
    return torch.randn(blocks, 28, generator=torch.Generator().manual_seed(seed), dtype=dtype) * scale


@settings(max_examples=60, deadline=None)
@given(seeds, scales)
def test_rotations_are_orthogonal_with_determinant_one(seed, scale):
    single, double = rotation(draw(seed, scale)), rotation(draw(seed, scale, dtype=torch.float64))
    assert single.dtype == torch.float32
    assert orthogonality_error(single) <= 1e-6
    assert double.dtype == torch.float64
    assert orthogonality_error(double) <= 1e-12
    assert torch.allclose(torch.linalg.det(double), torch.ones(6, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(torch.linalg.det(single.double()), torch.ones(6, dtype=torch.float64), atol=1e-6)


def test_zero_parameters_are_the_identity():
    assert torch.equal(rotation(torch.zeros(3, 28)), torch.eye(8).expand(3, 8, 8))


def test_half_precision_parameters_give_float32_rotations():
    assert rotation(draw(0, 0.5).bfloat16()).dtype == torch.float32


def test_autocast_does_not_touch_the_rotation():
    params = draw(1, 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rotation(params)
    assert torch.equal(inside, rotation(params))


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_generator_is_skew_and_holds_each_parameter_once(seed):
    params = draw(seed, 1.0, blocks=2)
    a = generator(params)
    assert torch.equal(a, -a.mT)
    rows, columns = torch.triu_indices(8, 8, offset=1)
    assert torch.equal(a[:, rows, columns], params)


def test_generator_keeps_leading_dimensions_and_refuses_other_widths():
    assert generator(torch.zeros(2, 3, 28)).shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="28 parameters, got 27"):
        generator(torch.zeros(2, 27))


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 5), st.lists(st.integers(1, 3), max_size=2))
def test_apply_blocks_is_the_block_diagonal_product(seed, blocks, lead):
    r = rotation(draw(seed, 0.7, blocks, torch.float64))
    x = torch.randn(*lead, blocks * 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    assert torch.allclose(apply_blocks(x, r), x @ torch.block_diag(*r).T, atol=1e-12)


def test_apply_blocks_refuses_a_wrong_width():
    with pytest.raises(ValueError, match="need 16 features"):
        apply_blocks(torch.zeros(24), torch.zeros(2, 8, 8))


def test_gradients_are_right_at_and_off_the_identity():
    x = torch.randn(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for scale in (0.0, 0.4):
        params = draw(4, scale, 2, torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(lambda p: apply_blocks(x, rotation(p)), params)


def test_a_matrix_that_is_no_rotation_is_measured_as_such():
    assert orthogonality_error(torch.eye(8) * 1.1) == pytest.approx(0.21, rel=1e-4)
