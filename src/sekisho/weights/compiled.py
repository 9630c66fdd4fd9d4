"""The gate's arithmetic on tensors by machine code (`kernels`), where it can be: on a CPU, in float32 or float64, with llvmlite installed.

Threads are torch's in number, but not torch's own: those can only be reached from inside torch.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .rotation import BLOCK, PARAMETERS

_WORTH = 2**19
"""Numbers to read below which a second thread costs more than it saves: some 0.2 ms of work."""
_EXPONENTIAL, _DERIVATIVE = 2**10, 2**12
"""What a block's exponential and its derivative cost, in numbers to read."""
_PAIR = 2
"""Two blocks are a cache line of float32: threads do not share one."""
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
    rows, matrices = x.contiguous(), matrices.contiguous()
    out = torch.empty_like(rows, dtype=dtype)
    _call("rotate", [rows, matrices, out], rows.shape, rows.numel())
    return out


def gradients(g: Tensor, x: Tensor, blocks: Tensor) -> tuple[Tensor, Tensor]:
    """For y_k = R_k x_k and a gradient `g` of y: those of x, `[rows, n * 8]`, and of R, `[n, 8, 8]`."""
    given = [t.contiguous() for t in (g, x, blocks)]
    found = torch.empty_like(given[1]), torch.empty_like(given[2])
    _call("gradients", [*given, *found], x.shape, 2 * x.numel())
    return found


def exponential(params: Tensor) -> Tensor:
    """R = exp(A) of parameters `[n, 28]`, `[n, 8, 8]`, reckoned in float64 and rounded once."""
    given = params.contiguous()
    out = given.new_empty(given.shape[0], BLOCK, BLOCK)
    _call("exponential", [given, out], (), given.shape[0] * _EXPONENTIAL)
    return out


def derivative(params: Tensor, g: Tensor) -> Tensor:
    """The gradient of parameters `[n, 28]` for a gradient `[n, 8, 8]` of their exponential."""
    given = [params.contiguous(), g.contiguous()]
    out = torch.empty_like(given[0])
    _call("derivative", [*given, out], (), given[0].shape[0] * _DERIVATIVE)
    return out


def _call(name: str, tensors: list[Tensor], shape: tuple[int, ...], work: int) -> None:
    """Run a kernel over all blocks, by torch's number of threads when it is worth it. Its result does not depend on them."""
    from .kernels import kernel

    run = kernel(name, tuple(t.dtype == torch.float64 for t in tensors))
    blocks = shape[1] // BLOCK if shape else tensors[0].numel() // PARAMETERS

    def part(
        first: int, last: int
    ) -> None:  # holds the tensors: an interrupted caller must not free what is written to
        run(*(t.data_ptr() for t in tensors), *shape, first, last)

    shares = _shares(blocks, torch.get_num_threads() if work >= _WORTH else 1)
    waiting = [_threads().submit(part, *share) for share in shares[1:]]
    part(*shares[0])
    for one in waiting:
        one.result()


def _shares(blocks: int, threads: int) -> list[tuple[int, int]]:
    """First and last block of each thread's share."""
    each = max(_PAIR, -(-blocks // threads))
    each += -each % _PAIR
    return [(i, min(i + each, blocks)) for i in range(0, blocks, each)] or [(0, 0)]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="gate")


@cache
def _installed() -> bool:
    return find_spec("llvmlite") is not None


if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
    os.register_at_fork(after_in_child=_threads.cache_clear)
