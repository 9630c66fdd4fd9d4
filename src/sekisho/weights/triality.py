"""Triality: one generator of so(8) seen in three ways, as rotations of vectors, of spinors and of conjugate spinors.

so(8) has an outer automorphism τ of order 3 (Cartan 1925; Baez 2002, "The Octonions", section 2.4). It is made here from the octonions: left multiplication by the
units gives eight matrices L_i; G_i = [[0, L_i], [L_iᵀ, 0]] satisfy the Clifford relations, and ½ G_i G_j represents the rotation of the plane (i, j) on spinors of
either chirality. The lower block, ½ L_iᵀ L_j, written in the coordinates of so(8) again, is τ: orthogonal, a homomorphism of the bracket, τ³ = 1, trace 7.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .rotation import BLOCK, PARAMETERS

VIEWS = 3
"""Rotations that one generator gives: exp(A), exp(τA), exp(τ²A)."""
_FANO = ((1, 2, 3), (1, 4, 5), (1, 7, 6), (2, 4, 6), (2, 5, 7), (3, 4, 7), (3, 6, 5))
"""Lines of the Fano plane: e_i e_j = e_k for every cyclic order of a line."""


def octonion_units() -> Tensor:
    """Left multiplication by 1, e_1, …, e_7 as matrices `[8, 8, 8]`, float64: `L[i] @ x` is the product of e_i and x."""
    left = torch.zeros(BLOCK, BLOCK, BLOCK, dtype=torch.float64)
    left[0] = torch.eye(BLOCK)
    for i in range(1, BLOCK):
        left[i, i, 0], left[i, 0, i] = 1, -1
    for line in _FANO:
        for turn in range(3):
            i, j, k = line[turn:] + line[:turn]
            left[i, k, j], left[j, k, i] = 1, -1
    return left


@cache
def views(device: torch.device | None = None) -> Tensor:
    """The identity, τ and τ² on the 28 coordinates of so(8), `[3, 28, 28]`, float64; not to be written to."""
    left = octonion_units()
    rows, columns = torch.triu_indices(BLOCK, BLOCK, offset=1)
    half = 0.5 * left[rows].mT @ left[columns]
    tau = half[:, rows, columns].mT
    return torch.stack([torch.eye(PARAMETERS, dtype=torch.float64), tau, tau @ tau]).to(device)


def three_views(params: Tensor, blocks: int) -> Tensor:
    """Parameters of `blocks` blocks from a third as many generators: block 3k + v is view v of generator k.

    Args:
        params: `[ceil(blocks / 3), 28]`; of the last generator only the views that are needed count.

    Returns:
        `[blocks, 28]`, float64.
    """
    seen = torch.einsum("vij,kj->kvi", views(params.device), params.double())
    return seen.reshape(-1, PARAMETERS)[:blocks]
