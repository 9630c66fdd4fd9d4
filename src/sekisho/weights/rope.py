"""Rotary positions as llama.cpp is told about them: their base, and how a family stretched them to longer texts.

Exported are what llama.cpp computes as transformers does: no scaling; a linear one; Llama 3.1's, as one factor a frequency; LongRoPE (Phi-3, Phi-4-mini), as two
sets of factors, for short texts and for long ones; YaRN (Qwen) with the settings of its paper (Peng and others 2023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np

from ..core.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]
Rope = Mapping[str, Any]

_LONGROPE = ("longrope", "su")
_NEEDED = {
    "linear": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    **dict.fromkeys(_LONGROPE, ("long_factor", "short_factor")),
}
_YARN = {
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": None,
    "mscale_all_dim": None,
    "attention_factor": None,
    "truncate": True,
}
"""The settings that llama.cpp computes with; others would be passed over."""


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rope settings in one place, of new (`rope_parameters`) and old configurations; `rope_type` is there, and `original` where a text length is known that it was made for.

    Raises:
        InputError: for a scaling, or a setting of one, that llama.cpp would compute otherwise.
    """
    old = {key: config[key] for key in ("rope_theta", "partial_rotary_factor") if key in config}
    rope = {
        "rope_theta": 10000.0,
        **old,
        **(config.get("rope_scaling") or {}),
        **(config.get("rope_parameters") or {}),
    }
    rope["rope_type"] = rope.get("rope_type", rope.get("type", "default"))
    rope["original"] = rope.get(_ORIGINAL) or config.get(_ORIGINAL) or config["max_position_embeddings"]
    _require_spoken(rope, config)
    return rope


_ORIGINAL = "original_max_position_embeddings"


def _require_spoken(rope: Rope, config: Mapping[str, Any]) -> None:
    kind, family = rope["rope_type"], config["model_type"]
    spoken = {"default": True, "linear": True, "yarn": True, "llama3": family in ("llama", "mistral")}
    spoken |= dict.fromkeys(_LONGROPE, family == "phi3") | {"mrope": "vl" in family}
    if not spoken.get(kind):
        raise InputError(
            f"Rope scaling {kind!r} is not exported for {family}.",
            "Use a base with another scaling, or none.",
        )
    missing = [name for name in _NEEDED.get(kind, ()) if not rope.get(name)]
    if missing:
        raise InputError(
            f"Rope scaling {kind!r} lacks {', '.join(missing)}.", "Correct the model's config.json."
        )
    if kind == "yarn":
        other = [name for name, value in _YARN.items() if rope.get(name, value) not in (value, None)]
        if other:
            raise InputError(
                f"YaRN with {', '.join(other)} of its own is not exported.",
                "Use a base with its usual settings.",
            )


def rotated(rope: Rope, head_dim: int) -> int:
    """How many dimensions of a head turn."""
    return int(rope.get("partial_rotary_factor", 1.0) * head_dim)


def add_rope(writer: gguf.GGUFWriter, rope: Rope, config: Mapping[str, Any], head_dim: int) -> None:
    """Write a model's rope settings."""
    writer.add_rope_dimension_count(rotated(rope, head_dim))
    writer.add_rope_freq_base(rope["rope_theta"])
    if (
        "mrope_section" in rope
    ):  # pairs of a head that turn with time, height, width; llama.cpp knows a fourth kind
        writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    if config["model_type"] == "phi3" or rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original"])
    if rope["rope_type"] in _LONGROPE:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_attn_factors(_louder(rope, config))
    elif rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(_longer(rope, config))


def _louder(rope: Rope, config: Mapping[str, Any]) -> float:
    """What cosines and sines are multiplied by, so that attention stays as sharp over longer texts (LongRoPE, Ding and others 2024)."""
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    longer = _longer(rope, config)
    return math.sqrt(1 + math.log(longer) / math.log(rope["original"])) if longer > 1 else 1.0


def _longer(rope: Rope, config: Mapping[str, Any]) -> float:
    """How many times longer texts became."""
    return float(rope.get("factor") or config["max_position_embeddings"] / rope["original"])


def rope_tensors(rope: Rope, head_dim: int) -> dict[str, Array]:
    """What each frequency is divided by, by the name that GGUF has for it; empty for scalings that are told by numbers alone.

    Raises:
        InputError: when there are more or fewer factors than frequencies.
    """
    turning = rotated(rope, head_dim)
    if rope["rope_type"] in _LONGROPE:
        factors = {"rope_factors_long": rope["long_factor"], "rope_factors_short": rope["short_factor"]}
    elif rope["rope_type"] == "llama3":
        factors = {"rope_freqs": _llama3(rope, turning)}
    else:
        return {}
    if any(len(values) != turning // 2 for values in factors.values()):
        raise InputError(
            f"The rope scaling does not have {turning // 2} factors.", "Correct the model's config.json."
        )
    return {f"{name}.weight": np.asarray(values, np.float32) for name, values in factors.items()}


def _llama3(rope: Rope, size: int) -> Array:
    """Llama 3.1: slow turns are slowed down by `factor`, quick ones stay, those between go over smoothly."""
    turns = rope["original"] * rope["rope_theta"] ** (-np.arange(0, size, 2) / size) / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    quick = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return np.asarray(1.0 / ((1.0 - quick) / rope["factor"] + quick))
