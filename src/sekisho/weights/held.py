"""How a frozen base is held while an adapter is trained on it: as stored, in half precision, or by bitsandbytes in 8 or 4 bits; and back to plain weights.

An adapter that was trained on rounded weights belongs to those. So it is baked into them: the same bitsandbytes rounds the same base again, its weights are written out in float32 (`dequantise`), and
the fold goes on top.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import ToolError
from .families import empty_model, load_model
from .shards import sharding

_log = logging.getLogger("sekisho.weights")
QUANTISED = ("int8", "nf4")
NF4_BLOCK = 64
"""Weights that share a scale."""


def load_held(folder: Path, held: str, plain: bool = False, processes: int = 1) -> Any:
    """Load a base.

    Args:
        held: float32, bfloat16, int8 or nf4.
        plain: write rounded weights out in float32, in plain layers, as a bake needs them.
        processes: that hold a share of every weight each (`weights.shards`); not of rounded ones.

    Raises:
        ShelfError: when the folder holds no such model.
        ToolError: when bitsandbytes is needed and missing.
    """
    if held not in QUANTISED:
        dtype = torch.bfloat16 if held == "bfloat16" and not plain else torch.float32
        return load_model(folder, dtype, **sharding(folder, processes))
    model = load_model(folder, torch.float32, quantization_config=_settings(held, _kept(folder, held)))
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # Else one forward pass in evaluation mode packs nf4 weights another way, and from then on no gradient goes through them.
            module.support_avx512bf16_for_cpu = False
    if plain:
        dequantise(model)
    return model


def _kept(folder: Path, held: str) -> list[str]:
    """Layers that stay as they are: the output head, and those whose rows are no multiple of a block, which bitsandbytes 0.50.2 reads back wrongly on a CPU."""
    linear = [(n, m) for n, m in empty_model(folder).named_modules() if isinstance(m, nn.Linear)]
    short = [n for n, m in linear if held == "nf4" and m.in_features % NF4_BLOCK]
    if short:
        _log.warning("kept in float32, their rows being no multiple of %d: %s", NF4_BLOCK, ", ".join(short))
    return ["lm_head", *short]


def _settings(held: str, kept: list[str]) -> Any:
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as e:
        raise ToolError(
            f"A base in {held} needs bitsandbytes.",
            "pip install 'sekisho[train]', or set base_type to bfloat16.",
        ) from e
    if held == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=kept,
    )


@torch.no_grad()
def dequantise(model: Any) -> int:
    """Replace every layer of bitsandbytes by a plain float32 one with the weights it stands for, in place; return how many there were."""
    found = [(name, module) for name, module in model.named_modules() if _is_rounded(module)]
    for name, module in found:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, _plain(module))
    for holder in (model, model.config):
        for mark in ("quantization_config", "_pre_quantization_dtype"):
            if hasattr(holder, mark):
                delattr(holder, mark)
    for mark in ("is_quantized", "is_loaded_in_8bit", "is_loaded_in_4bit"):
        if getattr(model, mark, False):
            setattr(model, mark, False)
    model.hf_quantizer = None
    return len(found)


def _is_rounded(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(module, nn.Linear) and type(weight).__name__ in ("Int8Params", "Params4bit")


def _plain(module: Any) -> nn.Linear:
    weight = rounded_weight(module)
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None)
    plain.weight.copy_(weight)
    if module.bias is not None:
        plain.bias.copy_(module.bias.float())
    return plain.requires_grad_(False)


def rounded_weight(module: Any) -> Tensor:
    """The weights `[out, in]` a bitsandbytes layer stands for, float32 on the CPU."""
    weight = module.weight
    if type(weight).__name__ == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        found: Tensor = dequantize_4bit(weight.data, weight.quant_state).float().cpu()
        return found
    state = getattr(module, "state", None)
    rows = weight.SCB if getattr(weight, "SCB", None) is not None else state.SCB  # type: ignore[union-attr]
    written: Tensor = (weight.data.float() * (rows.float()[:, None] / 127)).cpu()
    return written
