"""A tiny model of every architecture that gates are made for: real classes, random weights of trained size, grouped-query attention."""

from __future__ import annotations

import transformers as hf

from .makers import LLAMA_LORA, PHI3_LORA, trained_size

_SHAPE = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 4,
}
_EYES = {"depth": 1, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2}


def _phi4_mini():
    """A quarter of each head is not rotated, and the rest by LongRoPE, as in Phi-4-mini."""
    scaling = {"type": "longrope", "short_factor": [1.0] * 6, "long_factor": [1.5] * 6}
    shape = _SHAPE | {"original_max_position_embeddings": 128, "partial_rotary_factor": 0.75}
    return hf.Phi3ForCausalLM(hf.Phi3Config(**shape, rope_scaling=scaling, tie_word_embeddings=True))


def _qwen2_vl():
    text = _SHAPE | {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
    eyes = _EYES | {"embed_dim": 32, "hidden_size": 64}
    return hf.Qwen2VLForConditionalGeneration(hf.Qwen2VLConfig(text_config=text, vision_config=eyes))


def _qwen25_vl():
    text = _SHAPE | {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
    eyes = _EYES | {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48}
    return hf.Qwen2_5_VLForConditionalGeneration(hf.Qwen2_5_VLConfig(text_config=text, vision_config=eyes))


ZOO = {
    "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**_SHAPE)),
    "phi4-mini": _phi4_mini,
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_SHAPE, attention_bias=True)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**_SHAPE, sliding_window=8)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**_SHAPE, tie_word_embeddings=True)),
    "qwen2-vl": _qwen2_vl,
    "qwen2.5-vl": _qwen25_vl,
    # Heads of 32: the attention output is twice as wide as the hidden states.
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**_SHAPE, head_dim=32)),
}
FUSED = ("phi3", "phi4-mini")


def base_of(name, seed=1):
    return trained_size(ZOO[name](), seed)


def lora_of(name):
    return PHI3_LORA if name in FUSED else (*LLAMA_LORA, "gate_proj")
