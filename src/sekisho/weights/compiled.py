"""The gate's arithmetic on tensors by machine code (`kernels`), where it can be: on a CPU, in float32 or float64, with llvmlite installed."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .rotation import BLOCK
from .team import Task, work_on

_EXPONENTIAL, _DERIVATIVE = 2**9, 2**11
"""What a block's exponential and its derivative cost, in numbers to read."""
_OF_ROWS = ("rotate", "gradients")
"""Kernels that take the number of rows and their width."""
_PLAIN = (Tensor, torch.nn.Parameter)


def usable(*tensors: Tensor) -> bool:
    """Whether there is machine code for these. Not inside transformations of torch, whose tensors have no memory."""
    return _installed() and all(
        t.device.type == "cpu"
        and t.dtype in (torch.float32, torch.float64)
        and type(t) in _PLAIN
        and not t.is_neg()
        for t in tensors
    )


class Exponential(torch.autograd.Function):
    """R = exp(A), `[n, 8, 8]`, of parameters `[n, 28]`."""

    @staticmethod
    def forward(ctx: Any, params: Tensor) -> Tensor:
        """The rotations; see `rotation.rotation`."""
        ctx.save_for_backward(params)
        return exponential(params)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """The gradient of the parameters."""
        (params,) = ctx.saved_tensors
        return derivative(params, g)


class Rotated(torch.autograd.Function):
    """y_k = R_k x_k for rows `[rows, n * 8]` and blocks `[n, 8, 8]` of the same dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: Tensor) -> Tensor:
        """The rotated rows."""
        ctx.save_for_backward(x, blocks)
        return rotate(x, blocks.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of rows and blocks."""
        x, blocks = ctx.saved_tensors
        if ctx.needs_input_grad[1]:
            return gradients(g, x, blocks)
        return rotate(g, blocks), None


class Turned(torch.autograd.Function):
    """y_k = exp(A_k) x_k for features `[..., n * 8]` and parameters `[n, 28]`: both of the above at once, so that threads are called half as often."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, params: Tensor) -> Tensor:
        """The turned features; rotations are rounded to the dtype of `x`."""
        rows, given = _laid_out(x.reshape(-1, x.shape[-1])), _laid_out(params)
        made, inverse = _rooms(given, x.dtype)
        out = torch.empty_like(rows)
        tasks = _task("exponential", given, made, inverse), _task("rotate", rows, inverse, out)
        work_on(len(given), tasks, rows.numel() + len(given) * _EXPONENTIAL)
        ctx.save_for_backward(rows, given, made)
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of features and parameters."""
        rows, params, made = ctx.saved_tensors
        given = _laid_out(g.reshape(rows.shape))
        if not ctx.needs_input_grad[1]:
            return rotate(given, made).view(g.shape), None
        of_x, of_made, of_params = (torch.empty_like(t) for t in (rows, made, params))
        tasks = (
            _task("gradients", given, rows, made, of_x, of_made),
            _task("derivative", params, of_made, of_params),
        )
        work_on(len(params), tasks, 2 * rows.numel() + len(params) * _DERIVATIVE)
        return of_x.view(g.shape), of_params


def rotate(x: Tensor, matrices: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """y_k = M_kᵀ x_k, reckoned in the wider type of the two and rounded once.

    Args:
        x: `[rows, n * 8]`.
        matrices: `[n, 8, 8]`.
        dtype: of the result, float32 or float64; that of `x` when not given.

    Raises:
        ValueError: when the widths do not match.
    """
    if x.dim() != 2:
        raise ValueError(f"rows must be a matrix, got {x.dim()} dimensions")
    if matrices.shape != (x.shape[-1] // BLOCK, BLOCK, BLOCK) or x.shape[-1] % BLOCK:
        raise ValueError(f"{len(matrices)} blocks need {len(matrices) * BLOCK} features, got {x.shape[-1]}")
    rows, matrices = _laid_out(x), _laid_out(matrices)
    out = torch.empty_like(rows, dtype=dtype)
    work_on(len(matrices), [_task("rotate", rows, matrices, out)], rows.numel())
    return out


def gradients(g: Tensor, x: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
    """For y_k = R_k x_k and a gradient `g` of y: those of x, `[rows, n * 8]`, and of R, `[n, 8, 8]`."""
    given = [_laid_out(t) for t in (g, x, blocks)]
    found = torch.empty_like(given[1]), torch.empty_like(given[2])
    work_on(len(blocks), [_task("gradients", *given, *found)], 2 * x.numel())
    return found


def exponential(params: Tensor) -> Tensor:
    """R = exp(A) of parameters `[n, 28]`, `[n, 8, 8]`, reckoned in float64 and rounded once."""
    given = _laid_out(params)
    made, inverse = _rooms(given, given.dtype)
    work_on(len(given), [_task("exponential", given, made, inverse)], len(given) * _EXPONENTIAL)
    return made


def derivative(params: Tensor, g: Tensor) -> Tensor:
    """The gradient of parameters `[n, 28]` for a gradient `[n, 8, 8]` of their exponential."""
    given = _laid_out(params)
    out = torch.empty_like(given)
    work_on(len(given), [_task("derivative", given, _laid_out(g), out)], len(given) * _DERIVATIVE)
    return out


def _laid_out(tensor: Tensor) -> Tensor:
    """The same, in memory without gaps. A gradient may be a promise only: to be negated, or of nothing but zeros, which lie nowhere."""
    return torch.zeros_like(tensor) if tensor._is_zerotensor() else tensor.resolve_neg().contiguous()


def _rooms(params: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Where the rotations of parameters `[n, 28]` and their inverses go, both `[n, 8, 8]`; apart, as only the first are kept."""
    size = len(params), BLOCK, BLOCK
    return params.new_empty(size, dtype=dtype), params.new_empty(size, dtype=dtype)


def _task(name: str, *tensors: Tensor) -> Task:
    """A kernel for these, all of them contiguous."""
    from .kernels import kernel

    code = kernel(name, tuple(t.dtype == torch.float64 for t in tensors))
    return Task(code, tensors, tuple(tensors[0].shape) if name in _OF_ROWS else ())


@cache
def _installed() -> bool:
    return find_spec("llvmlite") is not None
