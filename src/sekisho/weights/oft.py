"""Gates and PEFT's orthogonal finetuning (OFT, block size 8): the same rotations, written in other coordinates.

A gate holds A with R = exp(A) and computes R x. OFT holds Q and multiplies rows, x ↦ x C(Q), by the Cayley transform C(Q) = (1 − Q)(1 + Q)⁻¹. Both are the same
map when C(Q) = Rᵀ, so Q = tan(A/2) and A = 2 arctan(Q), functions of a skew matrix. Only OFT's exact path (`use_cayley_neumann=False`) is meant: its series of five
terms is not orthogonal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import InputError
from .rotation import BLOCK, generator, rotation

_NEAR = 1e6
"""Q beyond this stands for an angle within 2e-6 of 180 degrees, which the Cayley transform never reaches."""


def to_oft(params: Tensor) -> Tensor:
    """Turn a gate's parameters into the weight of an OFT layer.

    Args:
        params: `[blocks, 28]`; for a triality gate, those of its blocks.

    Returns:
        `[blocks, 28]`, in the dtype of `params`.

    Raises:
        InputError: when a rotation turns a plane by 180 degrees.
    """
    back = rotation(params.double()).mT
    eye = torch.eye(BLOCK, dtype=torch.float64, device=params.device)
    solved, failed = torch.linalg.solve_ex(eye + back, eye - back, left=False)
    if bool(failed.any()) or not bool((solved.abs() < _NEAR).all()):
        raise InputError("A rotation by 180 degrees has no Cayley form.", "Keep the gate's own format.")
    return _coordinates(solved).to(params.dtype)


def from_oft(weight: Tensor) -> Tensor:
    """Turn the weight of an OFT layer, `[blocks, 28]`, into a gate's parameters of the same shape and dtype."""
    # i Q is Hermitian: a function of Q is that function of its real eigenvalues.
    angles, axes = torch.linalg.eigh(1j * generator(weight.double()))
    turned = axes * (2 * torch.atan(angles))[..., None, :] @ axes.mH
    return _coordinates((-1j * turned).real).to(weight.dtype)


def _coordinates(skew: Tensor) -> Tensor:
    """The entries above the diagonal, row by row."""
    rows, columns = torch.triu_indices(BLOCK, BLOCK, offset=1, device=skew.device)
    return skew[..., rows, columns]
