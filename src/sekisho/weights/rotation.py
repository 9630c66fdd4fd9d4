"""Rotations of blocks of 8: the exponential of a skew-symmetric matrix, applied block by block."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 8
"""Width of a block."""
PARAMETERS = BLOCK * (BLOCK - 1) // 2
"""Free parameters of a block: the dimension of so(8), 28."""


def generator(params: Tensor) -> Tensor:
    """Lay parameters out as skew-symmetric matrices.

    Args:
        params: `[..., 28]`, the entries above the diagonal, row by row.

    Returns:
        `[..., 8, 8]` with A = −Aᵀ, same dtype.

    Raises:
        ValueError: when the last dimension is not 28.
    """
    if params.shape[-1] != PARAMETERS:
        raise ValueError(f"a block has {PARAMETERS} parameters, got {params.shape[-1]}")
    rows, columns = torch.triu_indices(BLOCK, BLOCK, offset=1, device=params.device)
    flat = params.new_zeros(*params.shape[:-1], BLOCK * BLOCK).index_copy(-1, rows * BLOCK + columns, params)
    upper = flat.reshape(*params.shape[:-1], BLOCK, BLOCK)
    return upper - upper.mT


def rotation(params: Tensor) -> Tensor:
    """Turn parameters into rotations, R = exp(A): orthogonal with determinant +1, the identity at zero.

    The exponential is taken in float64 for float32 parameters and rounded once: blocks are tiny, and an error here would
    be repeated at every token. Autocast is off inside, or its half precision would break orthogonality.

    Args:
        params: `[..., 28]` of any floating dtype.

    Returns:
        `[..., 8, 8]`, float64 when `params` is, else float32.
    """
    with torch.autocast(params.device.type, enabled=False):
        exact = torch.matrix_exp(generator(params.double()))
    return exact if params.dtype == torch.float64 else exact.float()


def apply_blocks(x: Tensor, blocks: Tensor) -> Tensor:
    """Multiply each group of 8 features by its own matrix: y_k = M_k x_k. No dense `[d, d]` matrix is formed.

    Args:
        x: `[..., n * 8]`.
        blocks: `[n, 8, 8]`, cast to the dtype of `x`.

    Returns:
        `[..., n * 8]`.

    Raises:
        ValueError: when the widths do not match.
    """
    if x.shape[-1] != blocks.shape[0] * BLOCK:
        raise ValueError(
            f"{blocks.shape[0]} blocks need {blocks.shape[0] * BLOCK} features, got {x.shape[-1]}"
        )
    groups = x.reshape(*x.shape[:-1], -1, BLOCK)
    return torch.einsum("nij,...nj->...ni", blocks.to(x.dtype), groups).flatten(-2)


def orthogonality_error(blocks: Tensor) -> float:
    """Return max |R Rᵀ − I| over all blocks `[..., 8, 8]`, computed in float64."""
    exact = blocks.detach().double()
    eye = torch.eye(BLOCK, dtype=torch.float64, device=blocks.device)
    return float((exact @ exact.mT - eye).abs().max())
