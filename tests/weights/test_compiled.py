"""Machine code on tensors: when it is used, that threads change no bit, and what is refused."""

from __future__ import annotations

import os

import pytest
import torch

from sekisho.weights import compiled
from sekisho.weights.rotation import apply_blocks, rotation


@pytest.fixture
def three_threads(monkeypatch):
    """As if there were much to do and three processors."""
    before = torch.get_num_threads()
    monkeypatch.setattr(compiled, "_WORTH", 0)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def everything(dtype=torch.float32, blocks=7):
    rng = torch.Generator().manual_seed(1)
    params = torch.randn(blocks, 28, generator=rng).to(dtype)
    x, g = (torch.randn(19, blocks * 8, generator=rng).to(dtype) for _ in range(2))
    r = compiled.exponential(params)
    return [r, compiled.rotate(x, r), *compiled.gradients(g, x, r), compiled.derivative(params, r + 1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_changes_no_bit(dtype, three_threads):
    many = everything(dtype)
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(everything(dtype), many, strict=True))


def test_shares_are_whole_and_made_of_pairs():
    assert compiled._shares(7, 3) == [(0, 4), (4, 7)]
    assert compiled._shares(512, 2) == [(0, 256), (256, 512)]
    assert compiled._shares(1, 8) == [(0, 1)]
    assert compiled._shares(0, 2) == [(0, 0)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_makes_threads_of_its_own(three_threads):
    before = everything()
    child = os.fork()
    if not child:
        os._exit(0 if all(torch.equal(a, b) for a, b in zip(everything(), before, strict=True)) else 1)
    assert os.waitpid(child, 0)[1] == 0


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
