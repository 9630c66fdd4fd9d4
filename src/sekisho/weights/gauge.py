"""The gauge: a rotation between values and output projection that changes weights and not the model.

Attention mixes values over tokens and leaves their features alone. So the value rows of a head may be turned by any Q when the columns of `o_proj` that read them are
turned back: W_v' = Q W_v, b_v' = Q b_v, W_o' = W_o Qᵀ. Query heads that share a key-value head share its Q. With a Hadamard Q the large weights of a block are spread over eight
(compare QuaRot, Ashkboos et al. 2024), which is worth bits where weights have heavy tails; `gauge_trial` says whether it is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from .bake import fold_rotation
from .families import OUTPUT, Attention, require_attentions
from .quantise import Type, quantise
from .rotation import BLOCK, orthogonality_error

_TRIED: Mapping[str, Any] = {"Q8_0": Type.Q8_0, "Q6_K": Type.Q6_K, "Q4_K": Type.Q4_K}
_LEAST = 32
"""Weights of the smallest block of any of these types."""
_SHORT: Mapping[str, Any] = {"Q8_0": Type.Q8_0, "Q6_K": Type.Q8_0, "Q4_K": Type.Q5_0}


def hadamard() -> Tensor:
    """The 8 × 8 Hadamard matrix of Sylvester over √8: orthogonal and symmetric, float64."""
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    eight: Tensor = torch.kron(two, torch.kron(two, two)) / BLOCK**0.5
    return eight


@torch.no_grad()
def apply_gauge(model: nn.Module, turn: Tensor | None = None) -> int:
    """Turn values and output projection of every layer against each other, in place; computed in float64 and rounded once.

    Args:
        model: a plain model, as `bake` gives it.
        turn: an orthogonal `[8, 8]` for every block; the Hadamard matrix when not given.

    Returns:
        How many layers were turned.

    Raises:
        InputError: for a matrix that is not orthogonal, a layer that is not plain, or heads that blocks do not fit.
    """
    q = hadamard() if turn is None else turn.double()
    if orthogonality_error(q) > 1e-10:
        raise InputError("The gauge is not orthogonal.", "Give a rotation or a Hadamard matrix.")
    found = require_attentions(model)
    for attention in found:
        rows, weight, bias = _values(attention)
        output = _plain(attention.module.get_submodule(OUTPUT))
        # Every block has the same Q, so which key-value head a query head reads does not matter here.
        weight[rows] = fold_rotation(weight[rows].T.double(), q.mT.expand(_blocks(rows), 8, 8)).T.to(weight)
        if bias is not None:
            bias[rows] = fold_rotation(bias[rows].double()[None], q.mT.expand(_blocks(rows), 8, 8))[0].to(
                bias
            )
        back = q.mT.expand(attention.features // BLOCK, 8, 8)
        output.weight.copy_(fold_rotation(output.weight.double(), back))
    return len(found)


def gauge_trial(model: nn.Module) -> dict[str, dict[str, float]]:
    """Relative quantisation error of all value and output matrices without and with the gauge, by type; of those that are quantised at all, whose rows are made of whole blocks.

    Args:
        model: a plain model in float32 without the gauge; it is not changed.
    """
    totals = {name: {"off": [0.0, 0.0], "on": [0.0, 0.0]} for name in _TRIED}
    for matrix, turned in _pairs(model):
        if matrix.shape[-1] % _LEAST:
            continue
        for name in _TRIED:
            for how, weights in (("off", matrix), ("on", turned)):
                error, size = _error(weights, name)
                totals[name][how][0] += error
                totals[name][how][1] += size
    return {
        name: {how: (error / size) ** 0.5 for how, (error, size) in both.items()}
        for name, both in totals.items()
        if both["off"][1]
    }


@torch.no_grad()
def _pairs(model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Each value and output matrix without and with the Hadamard gauge."""
    q = hadamard()
    for attention in require_attentions(model):
        rows, weight, _ = _values(attention)
        values, output = weight[rows].double(), _plain(attention.module.get_submodule(OUTPUT)).weight.double()
        yield values, fold_rotation(values.T, q.mT.expand(_blocks(rows), 8, 8)).T
        yield output, fold_rotation(output, q.mT.expand(attention.features // BLOCK, 8, 8))


def _error(weights: Tensor, name: str) -> tuple[float, float]:
    import gguf

    array = weights.float().contiguous().numpy()
    kind = (_SHORT if array.shape[-1] % gguf.QK_K else _TRIED)[name]
    got = torch.from_numpy(gguf.dequantize(quantise(array, kind), kind).reshape(array.shape))
    return float((got.double() - weights).square().sum()), float(weights.square().sum())


def _values(attention: Attention) -> tuple[slice, Tensor, Tensor | None]:
    """Where the value rows are, and the weight and bias that hold them."""
    module = attention.module
    layer = _plain(module.get_submodule("qkv_proj" if attention.fused else "v_proj"))
    total = layer.weight.shape[0]
    width = (total - attention.features) // 2 if attention.fused else total
    if width % attention.head_dim or attention.head_dim % BLOCK:
        raise InputError(
            f"Values of width {width} are not made of heads of {attention.head_dim} in blocks of {BLOCK}.",
            f"Use a base whose head size is a multiple of {BLOCK}.",
        )
    return slice(total - width, total), layer.weight, layer.bias


def _blocks(rows: slice) -> int:
    return int(rows.stop - rows.start) // BLOCK


def _plain(layer: nn.Module) -> nn.Linear:
    if type(layer) is not nn.Linear or layer._forward_pre_hooks:
        raise InputError("The gauge goes on a plain model.", "Bake first.")
    return layer
