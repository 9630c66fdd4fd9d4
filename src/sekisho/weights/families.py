"""What a gate needs to know about a model: where its attention is, how it is shaped, and what its linear layers are called.

Nothing is decided by a model's name. Phi-3 and Phi-4-mini fuse their projections (`qkv_proj`, `gate_up_proj`); Llama, Mistral, Qwen2, Qwen2-VL,
Qwen2.5-VL and Qwen3 keep `q_proj`, `k_proj`, `v_proj`, `gate_proj`, `up_proj`. In a vision-language model only the language part counts: its vision tower
has layers of the same names, but another kind of attention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from ..core.errors import InputError, ShelfError

OUTPUT = "o_proj"
FUSED = ("qkv_proj",)
SPLIT = ("q_proj", "k_proj", "v_proj")
PEFT_PREFIX = "base_model.model."
_TEXT = "language_model."
_ALIASES = {
    "qkv_proj": SPLIT,
    "gate_up_proj": ("gate_proj", "up_proj"),
    **dict.fromkeys(SPLIT, FUSED),
    **dict.fromkeys(("gate_proj", "up_proj"), ("gate_up_proj",)),
}
"""The other family's name for the same weights."""


class Attention(NamedTuple):
    """One attention module of the language part.

    Attributes:
        name: within the model, without PEFT's prefix.
        features: width of the attention output, heads times `head_dim`; it need not be the hidden size.
        head_dim: width of a head.
        fused: whether queries, keys and values come from one `qkv_proj`.
    """

    name: str
    module: nn.Module
    features: int
    head_dim: int
    fused: bool

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.features // self.head_dim


def attentions(model: nn.Module) -> Iterator[Attention]:
    """Yield every attention whose output goes through a linear `o_proj`, in model order."""
    for name, module in model.named_modules():
        projection = getattr(module, OUTPUT, None)
        fused = _has(module, FUSED)
        if (
            isinstance(projection, nn.Module)
            and hasattr(projection, "in_features")
            and hasattr(module, "head_dim")
            and (fused or _has(module, SPLIT))
        ):
            plain = name.removeprefix(PEFT_PREFIX)
            yield Attention(plain, module, int(projection.in_features), int(module.head_dim), fused)  # type: ignore[arg-type]


def require_attentions(model: nn.Module) -> list[Attention]:
    """The attention modules of a model.

    Raises:
        InputError: naming what was looked for and what there is, when none was found.
    """
    found = list(attentions(model))
    if found:
        return found
    config = getattr(model, "config", None)
    kind = "" if config is None else f" (model_type {getattr(config, 'model_type', None)!r})"
    leaves = sorted({n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, nn.Linear)})
    raise InputError(
        f"{type(model).__name__}{kind} has no attention module with a linear `{OUTPUT}`, a `head_dim`, and `{FUSED[0]}` or "
        f"{', '.join(f'`{n}`' for n in SPLIT)}; its linear layers are {', '.join(leaves[:12]) or 'none'}.",
        "Use a base of the Phi-3, Phi-4-mini, Llama, Mistral, Qwen2, Qwen2-VL, Qwen2.5-VL or Qwen3 family.",
    )


def lora_targets(model: nn.Module, wanted: Sequence[str]) -> list[str] | str:
    """Say in this model's own names where LoRA goes.

    Args:
        wanted: names of linear layers as a recipe has them, of either family; `qkv_proj` on a Llama becomes its three projections.

    Returns:
        A list of names, as PEFT takes it; for a vision-language model an expression that matches in the language part alone.

    Raises:
        InputError: naming what is not there and what is.
    """
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    text = [n for n in linear if _TEXT in n]
    there = {n.rpartition(".")[2] for n in text or linear}
    named = [n for w in wanted for n in ((w,) if w in there else _ALIASES.get(w, (w,)))]
    missing = sorted(set(named) - there)
    if missing or not named:
        raise InputError(
            f"{type(model).__name__} has no linear layers {', '.join(missing) or '(none were named)'}.",
            f"LoRA can go on: {', '.join(sorted(there))}.",
        )
    once = list(dict.fromkeys(named))
    return rf".*{re.escape(_TEXT)}.*\.({'|'.join(map(re.escape, once))})" if text else once


def load_model(folder: Path, dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    """Load a causal LM, or a vision-language model with its language head, from disk, without any remote code.

    Args:
        more: for `from_pretrained`, for example a `quantization_config`.

    Raises:
        ShelfError: when the folder holds no such model.
    """
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(str(folder), **local)
        causal = type(config) in AutoModelForCausalLM._model_mapping
        kind: Any = AutoModelForCausalLM if causal else AutoModelForImageTextToText
        model, found = kind.from_pretrained(
            str(folder), dtype=dtype, output_loading_info=True, **local, **more
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as e:
        raise ShelfError(f"{folder} holds no model that can be loaded: {e}.", "Check `gate_model`.") from e
    # transformers only warns, and leaves what is missing at random values.
    wrong = sorted({*found["missing_keys"], *(n for n, *_ in found["mismatched_keys"])})
    if wrong:
        raise ShelfError(
            f"{folder} lacks weights, or has them in another shape: {', '.join(wrong[:5])}.",
            "Copy the whole folder again.",
        )
    return model


def empty_model(folder: Path) -> Any:
    """A model of the shape of a folder's configuration, on no device and without weights.

    Raises:
        ShelfError: when the folder holds no configuration of such a model.
    """
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(str(folder), **local)
        causal = type(config) in AutoModelForCausalLM._model_mapping
        kind: Any = AutoModelForCausalLM if causal else AutoModelForImageTextToText
        with torch.device("meta"):
            return kind.from_config(config)
    except (OSError, ValueError) as e:
        raise ShelfError(f"{folder} holds no model that can be loaded: {e}.", "Check the path.") from e


def _has(module: nn.Module, names: Sequence[str]) -> bool:
    return all(isinstance(getattr(module, name, None), nn.Module) for name in names)
