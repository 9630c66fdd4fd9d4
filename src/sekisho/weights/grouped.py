"""The gate's two steps made for speed: the exponential of many 8 × 8 skew matrices, and their application without moving the features about.

Both are exact where `rotation` and `apply_blocks` are; they save what those spend on transposes, copies and a general-purpose exponential (`benchmarks/rotation.py`).
On a CPU they are machine code made for blocks of 8 (`compiled`); on other devices, in half precision and without llvmlite they are made of torch's products, below.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import compiled
from .rotation import BLOCK, PARAMETERS, apply_blocks, generator, rotation

_SMALL = 0.5
"""Norm below which a Taylor series of degree 13 is exact in float64: 0.5¹⁴ / 14! = 7e-16."""
_TERMS = 10
"""Terms of the derivative's series: 1¹⁰ / 11! = 3e-8 of a gradient that is rounded to float32 (6e-8)."""
_TERMS_DOUBLE = 18
_WIDTHS = (16, 8)
_PIECE = 2**17
"""Numbers of a piece: half a megabyte in float32."""


def fast_rotation(params: Tensor) -> Tensor:
    """The same as `rotation`: R = exp(A), made in float64, float32 unless `params` is float64.

    Args:
        params: `[blocks, 28]`.
    """
    if _transformed():
        return rotation(params)
    if compiled.usable(params) and params.shape[1:] == (PARAMETERS,):
        made: Tensor = compiled.Exponential.apply(params)  # type: ignore[no-untyped-call]
        return made
    with torch.autocast(params.device.type, enabled=False):
        terms = _TERMS_DOUBLE if params.dtype == torch.float64 else _TERMS
        exact: Tensor = _Exponential.apply(generator(params.double()), terms)  # type: ignore[no-untyped-call]
    return exact if params.dtype == torch.float64 else exact.float()


def apply_grouped(x: Tensor, blocks: Tensor) -> Tensor:
    """The same as `apply_blocks`, features read where they lie.

    Args:
        x: `[..., n * 8]`.
        blocks: `[n, 8, 8]`, cast to the dtype of `x`.

    Raises:
        ValueError: when the widths do not match.
    """
    if x.shape[-1] != blocks.shape[0] * BLOCK or blocks.shape[1:] != (BLOCK, BLOCK):
        raise ValueError(
            f"{blocks.shape[0]} blocks need {blocks.shape[0] * BLOCK} features, got {x.shape[-1]}"
        )
    if _transformed():
        return apply_blocks(x, blocks)
    rows, blocks = x.reshape(-1, x.shape[-1]).contiguous(), blocks.to(x.dtype)
    way = compiled.Rotated if compiled.usable(rows, blocks) else _Grouped
    with torch.autocast(x.device.type, enabled=False):
        rotated: Tensor = way.apply(rows, blocks)  # type: ignore[no-untyped-call]
    return rotated.view(x.shape)


def turn(x: Tensor, params: Tensor) -> Tensor:
    """The same as `apply_grouped(x, fast_rotation(params))`, by one piece of machine code where there is one for both.

    Args:
        x: `[..., n * 8]`.
        params: `[n, 28]`.

    Raises:
        ValueError: when the widths do not match.
    """
    exact = (
        x.dtype == torch.float32 or params.dtype == torch.float64
    )  # the rotation is as wide as the features then
    fits = x.shape[-1] % BLOCK == 0 and params.shape == (x.shape[-1] // BLOCK, PARAMETERS)
    if not (exact and fits and compiled.usable(x, params)) or _transformed():
        return apply_grouped(x, fast_rotation(params))
    turned: Tensor = compiled.Turned.apply(x, params)  # type: ignore[no-untyped-call]
    return turned


def _transformed() -> bool:
    """Whether this runs inside `torch.func`, which takes apart what it is given: functions of our own stand in its way, the plain way does not."""
    return bool(torch._C._are_functorch_transforms_active())


class _Exponential(torch.autograd.Function):
    """exp of skew matrices `[n, 8, 8]` by scaling and squaring (Higham 2008, chapter 10); the derivative by its own series.

    With K = skew(G Rᵀ) for a gradient G, the gradient of A is φ(−ad A) K, φ(z) = (eᶻ − 1)/z (ibid., theorem 3.1 and section 10.2 in other words). The commutator of two skew
    matrices is AK − (AK)ᵀ: one product a term. Norms over 1/2 are halved s times; then φ(2z) = φ(z)(eᶻ + 1)/2 brings the gradient back.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, terms: int) -> Tensor:
        size = float(a.abs().sum(-1).max()) if a.numel() else 0.0  # on a GPU this waits for the device once
        if not math.isfinite(size):
            return torch.full_like(a, math.nan)
        halvings = max(0, math.ceil(math.log2(size / _SMALL))) if size > 0 else 0
        small = a / 2**halvings
        roots = [_taylor(small)]
        for _ in range(halvings):
            roots.append(roots[-1] @ roots[-1])
        ctx.save_for_backward(small, *roots)
        ctx.terms = terms
        return roots[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        small, *roots = ctx.saved_tensors
        back = g @ roots[-1].mT
        term = (back - back.mT) / 2
        total = term.clone()
        for k in range(1, ctx.terms):
            product = small @ term
            term = (product.mT - product) / (k + 1)
            total += term
        for root in roots[:-1]:
            total = (total + root.mT @ total @ root) / 2
        return total, None


def _taylor(a: Tensor) -> Tensor:
    """exp of a small matrix to degree 13, its even and odd part apart: six products."""
    two = a @ a
    four = two @ two
    six = four @ two
    even = [1 / math.factorial(2 * k) for k in range(7)]
    odd = [1 / math.factorial(2 * k + 1) for k in range(7)]
    cosine, sine = (_polynomial(c, two, four, six) for c in (even, odd))
    return torch.baddbmm(cosine, a, sine)


def _polynomial(c: list[float], two: Tensor, four: Tensor, six: Tensor) -> Tensor:
    """c0 + c1 X + … + c6 X⁶ of X, from X, X² and X³."""
    high = two * c[4] + four * c[5] + six * c[6]
    low = two * c[1] + four * c[2] + six * c[3]
    low.diagonal(dim1=-2, dim2=-1).add_(c[0])
    return torch.baddbmm(low, six, high)


class _Grouped(torch.autograd.Function):
    """y = x · blockdiag(Rᵀ) for rows `[rows, n * 8]`: two blocks side by side make one matrix of 16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: Tensor) -> Tensor:
        wide = _side_by_side(blocks)
        ctx.save_for_backward(x, wide)
        return _times(x, wide.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, wide = ctx.saved_tensors
        g = g.contiguous()
        grad_x = _times(g, wide) if ctx.needs_input_grad[0] else None
        return grad_x, _grad_blocks(g, x, wide.shape[-1]) if ctx.needs_input_grad[1] else None


def _side_by_side(blocks: Tensor) -> Tensor:
    """Blocks `[n, 8, 8]` as block-diagonal matrices `[n * 8 / w, w, w]`, w 16, or 8 for an odd number."""
    width = next(w for w in _WIDTHS if (blocks.shape[0] * BLOCK) % w == 0)
    k = width // BLOCK
    wide = blocks.new_zeros(blocks.shape[0] // k, k, BLOCK, k, BLOCK)
    wide.diagonal(dim1=1, dim2=3).copy_(blocks.view(-1, k, BLOCK, BLOCK).permute(0, 2, 3, 1))
    return wide.view(-1, width, width)


def _grouped(rows: Tensor, width: int) -> Tensor:
    """Rows `[rows, d]` seen as `[d / width, rows, width]`, nothing copied."""
    return rows.view(rows.shape[0], rows.shape[1] // width, width).transpose(0, 1)


def _times(rows: Tensor, wide: Tensor) -> Tensor:
    # The product into strided memory is three times slower than one apart and a copy; on a CPU a piece at a time, so that the copy reads from its cache.
    width, out = wide.shape[-1], torch.empty_like(rows)
    size = max(1, _PIECE // rows.shape[1]) if rows.device.type == "cpu" else max(1, rows.shape[0])
    for piece, place in zip(torch.split(rows, size), torch.split(out, size), strict=True):
        _grouped(place, width).copy_(torch.bmm(_grouped(piece, width), wide))
    return out


def _grad_blocks(g: Tensor, x: Tensor, width: int) -> Tensor:
    whole = _grouped(g, width).mT @ _grouped(x, width)
    k = width // BLOCK
    # [groups, k, 8, k, 8]: only the blocks on the diagonal are wanted.
    return (
        whole.view(-1, k, BLOCK, k, BLOCK)
        .diagonal(dim1=1, dim2=3)
        .permute(0, 3, 1, 2)
        .reshape(-1, BLOCK, BLOCK)
    )
