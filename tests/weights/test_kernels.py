"""The four loops against torch, where generators are large, odd or no numbers."""

from __future__ import annotations

import pytest
import torch

from sekisho.weights import compiled
from sekisho.weights.rotation import orthogonality_error, rotation


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slope(make, params, weight):
    p = params.clone().requires_grad_()
    (make(p) * weight).sum().backward()
    return p.grad


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e-3, 1.0, 30.0, 1e3])
def test_blocks_of_any_size_turn_as_torch_says(scale):
    params, weight = draw(1, 5, 28) * scale, draw(2, 5, 8, 8)
    made = compiled.exponential(params)
    assert torch.allclose(made, rotation(params), atol=1e-13 * max(10.0, scale))
    assert orthogonality_error(made) <= 1e-12 * max(1.0, scale)
    wanted = slope(rotation, params, weight)
    assert torch.allclose(
        compiled.derivative(params, weight), wanted, rtol=1e-9, atol=1e-11 * max(1.0, scale)
    )


def test_the_inverse_is_the_transposed_rotation_to_the_last_bit():
    for dtype in (torch.float32, torch.float64):
        params = draw(9, 4, 28).to(dtype)
        x = torch.eye(8, dtype=dtype).repeat(1, 4)
        turned = compiled.Turned.apply(x, params).view(8, 4, 8).permute(1, 2, 0)
        assert torch.equal(turned, compiled.exponential(params))


def test_each_block_is_halved_as_often_as_it_needs():
    """A large neighbour must not change a bit of a small one."""
    small = draw(3, 1, 28) * 0.01
    beside = torch.cat([small, draw(4, 1, 28) * 100])
    assert torch.equal(compiled.exponential(beside)[:1], compiled.exponential(small))


def test_a_size_on_the_edge_of_a_power_of_two():
    for size in (0.25, 0.5, 1.0, 2.0**-30):
        params = torch.zeros(1, 28, dtype=torch.float64)
        params[0, 0] = size
        assert torch.allclose(compiled.exponential(params), rotation(params), atol=1e-15)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_what_is_no_angle_gives_no_numbers(bad):
    params = torch.zeros(2, 28, dtype=torch.float64)
    params[0, 3] = bad
    for found in (compiled.exponential(params), compiled.derivative(params, draw(5, 2, 8, 8))):
        assert found[0].isnan().any()
        assert found[1].isfinite().all()


def test_rows_that_are_no_multiple_of_a_tile():
    m = draw(6, 3, 8, 8)
    for rows in (0, 1, 7, 8, 9, 17):
        x, g = draw(7, rows, 24), draw(8, rows, 24)
        wanted = torch.einsum("tkj,kji->tki", x.view(rows, 3, 8), m).reshape(rows, 24)
        assert torch.allclose(compiled.rotate(x, m), wanted, atol=1e-12)
        grad_x, grad_m = compiled.gradients(g, x, m)
        assert torch.allclose(grad_x, compiled.rotate(g, m), atol=1e-12)
        wanted = torch.einsum("tki,tkj->kij", g.view(rows, 3, 8), x.view(rows, 3, 8))
        assert torch.allclose(grad_m, wanted, atol=1e-12)
