"""PEFT's own OFT layer, on its exact path, must compute what the gate computes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import OFTConfig, get_peft_model
from torch import nn

from sekisho.core.errors import InputError
from sekisho.weights.bake import fold_rotation
from sekisho.weights.gates import RotationGate
from sekisho.weights.oft import from_oft, to_oft

seeds, scales = st.integers(0, 2**31), st.floats(0.0, 1.0)


class One(nn.Module):
    def __init__(self, features=32):
        super().__init__()
        self.o_proj = nn.Linear(features, 24, bias=False)

    def forward(self, x):
        return self.o_proj(x)


def draw(seed, blocks, scale):
    return torch.randn(blocks, 28, generator=torch.Generator().manual_seed(seed)) * scale


def with_oft(model, weight, exact):
    config = OFTConfig(target_modules=["o_proj"], oft_block_size=8, use_cayley_neumann=not exact)
    wrapped = get_peft_model(model, config).eval()
    wrapped.base_model.model.o_proj.oft_R["default"].weight.data.copy_(weight)
    return wrapped


@settings(max_examples=25, deadline=None)
@given(seeds, scales)
def test_peft_computes_the_same_with_converted_parameters(seed, scale):
    """PEFT in float64: near half a turn its own coordinates grow without bound, and float32 loses them (see below)."""
    agree(seed, scale, torch.float64)


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(0.0, 0.2))
def test_peft_computes_the_same_in_float32_at_the_sizes_training_gives(seed, scale):
    agree(seed, scale, torch.float32)


def agree(seed, scale, dtype):
    model, gate = One().to(dtype), RotationGate(32, 16)
    gate.params.data.copy_(draw(seed, 4, scale))
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(seed + 1)).to(dtype)
    with torch.no_grad():
        wanted = model(gate(x))
        folded = x @ fold_rotation(model.o_proj.weight.double(), gate.exact_rotations()).to(dtype).T
        theirs = with_oft(model, to_oft(gate.params.double()), exact=True).to(dtype)
        theirs.base_model.model.o_proj.oft_R["default"].weight.data = to_oft(gate.params.double()).to(dtype)
        assert torch.allclose(theirs(x), wanted, rtol=0, atol=1e-5)
        merged = theirs.merge_and_unload()(x)
    assert torch.allclose(folded, wanted, rtol=0, atol=1e-5)
    assert torch.allclose(merged, wanted, rtol=0, atol=1e-5)


def test_peft_on_its_series_is_somewhere_else():
    """The comparison above could tell: five terms of a series at this scale are no rotation."""
    model, gate = One(), RotationGate(32, 16)
    gate.params.data.copy_(draw(1, 4, 0.4))
    x = torch.randn(5, 32)
    with torch.no_grad():
        wanted = model(gate(x))
        theirs = with_oft(model, to_oft(gate.params), exact=False)
        assert not torch.allclose(theirs(x), wanted, atol=1e-2)


@settings(max_examples=40, deadline=None)
@given(seeds, scales)
def test_there_and_back_is_the_same_rotation(seed, scale):
    weight = draw(seed, 3, scale).double()
    assert torch.allclose(to_oft(from_oft(weight)), weight, atol=1e-9)
    assert from_oft(weight.float()).dtype == torch.float32


def test_half_a_turn_has_no_cayley_form():
    params = torch.zeros(1, 28, dtype=torch.float64)
    params[0, 0] = math.pi
    with pytest.raises(InputError, match="180 degrees"):
        to_oft(params)
