"""Machine code on tensors: when it is used, which type it reckons in, and what is refused."""

from __future__ import annotations

import pytest
import torch

from sekisho.weights import compiled
from sekisho.weights.rotation import apply_blocks, rotation


def test_what_is_not_plain_float_on_a_cpu_is_left_to_torch(monkeypatch):
    assert compiled.usable(torch.zeros(2), torch.nn.Parameter(torch.zeros(2, dtype=torch.float64)))
    assert not compiled.usable(torch.zeros(2, dtype=torch.bfloat16))
    assert not compiled.usable(torch.zeros(2), torch.zeros(2, device="meta"))
    assert not compiled.usable(torch.zeros(2).as_subclass(type("Other", (torch.Tensor,), {})))
    monkeypatch.setattr(compiled, "_installed", lambda: False)
    assert not compiled.usable(torch.zeros(2))


def test_mixed_types_are_reckoned_in_the_wider_one():
    rng = torch.Generator().manual_seed(2)
    x, r = torch.randn(9, 24, generator=rng), rotation(torch.randn(3, 28, generator=rng, dtype=torch.float64))
    exact = apply_blocks(x.double(), r.mT)
    single = compiled.rotate(x, r)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), exact, rtol=2**-24, atol=1e-14)
    assert torch.allclose(compiled.rotate(x, r, torch.float64), exact, atol=1e-14)


def test_matrices_that_do_not_fit_are_refused():
    for x, m in (((2, 24), (2, 8, 8)), ((2, 16), (2, 4, 4)), ((2, 20), (2, 8, 8))):
        with pytest.raises(ValueError, match="need 16 features"):
            compiled.rotate(torch.zeros(x), torch.zeros(m))
    with pytest.raises(ValueError, match="must be a matrix"):
        compiled.rotate(torch.zeros(3, 2, 16), torch.zeros(2, 8, 8))


@pytest.mark.parametrize(
    "promised", [torch._neg_view, lambda t: torch._efficientzerotensor(t.shape, dtype=t.dtype)]
)
def test_gradients_that_are_promises_are_kept(promised):
    """Of a tensor to be negated, memory holds the opposite; of an efficient zero, nothing."""
    params, x = (torch.randn(2, n, dtype=torch.float64, requires_grad=True) for n in (28, 16))
    g = promised(torch.randn(2, 16, dtype=torch.float64))
    compiled.Turned.apply(x, params).backward(g)
    found = [t.grad.clone() for t in (x, params)]
    x.grad = params.grad = None
    apply_blocks(x, rotation(params)).backward(g.resolve_neg() + 0)
    for grad, wanted in zip(found, (x.grad, params.grad), strict=True):
        torch.testing.assert_close(grad, wanted)
