"""Rope scalings: a real llama.cpp turns positions as transformers does, on prompts long enough to tell."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers as hf

from sekisho.core.errors import InputError
from sekisho.weights.fidelity import fidelity
from sekisho.weights.gguf import export_gguf, verify_gguf
from sekisho.weights.rope import rope_of, rope_tensors

from .makers import llama_cpp
from .test_gguf import kl, logits_of, next_token
from .test_vocabularies import NAMES, SHAPE, byte_level, save

IDS = np.random.default_rng(5).integers(5, 300, 300).tolist()
"""More tokens than `original_max_position_embeddings` below, fewer than llama.cpp is given."""
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
LONG = {"long_factor": [2.0, 3.0, 5.0, 7.0, 9.0, 11.0], "short_factor": [1.0, 1.1, 1.3, 1.5, 2.0, 3.0]}
ORIGINAL = "original_max_position_embeddings"


def _llama(n, rope):
    return hf.LlamaForCausalLM(
        hf.LlamaConfig(**SHAPE | {"max_position_embeddings": 2048}, vocab_size=n, rope_parameters=rope)
    )


def _qwen(n, rope):
    return hf.Qwen3ForCausalLM(
        hf.Qwen3Config(
            **SHAPE | {"max_position_embeddings": 2048}, vocab_size=n, rope_parameters=rope, head_dim=32
        )
    )


def _phi(n, original):
    shape = SHAPE | {"max_position_embeddings": 2048, ORIGINAL: original, "partial_rotary_factor": 0.75}
    return hf.Phi3ForCausalLM(hf.Phi3Config(**shape, vocab_size=n, rope_scaling={"type": "longrope", **LONG}))


SCALED = {
    "llama3": lambda n: _llama(n, LLAMA3 | {ORIGINAL: 128}),
    "linear": lambda n: _llama(n, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}),
    "yarn": lambda n: _qwen(n, {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, ORIGINAL: 256}),
    "phi4-mini, long texts": lambda n: _phi(n, 128),
    "phi4-mini, short texts": lambda n: _phi(n, 1024),
}  # fmt: skip


def made(name, folder):
    tokenizer = byte_level(NAMES["gpt-4o"])
    return save(SCALED[name](-(-tokenizer.get_vocab_size() // 32) * 32), tokenizer, folder)


@pytest.mark.parametrize("name", SCALED)
def test_llama_cpp_turns_positions_as_transformers_does(name, tmp_path):
    source = made(name, tmp_path / "hf")
    out = export_gguf(source, tmp_path / "m.gguf", "f16")
    assert verify_gguf(out, source).max_difference < 1e-3
    wanted = logits_of(source, IDS).log_softmax(-1)
    with llama_cpp(out) as address:
        assert kl(wanted, next_token(address, IDS, len(wanted))) < 1e-3
    plain = hf.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    assert fidelity(out, plain, [IDS]).mean_kl < 1e-3
    # That comparison can fail: without the scaling the same weights answer otherwise.
    config = json.loads((source / "config.json").read_text())
    rope = {
        k: v for k, v in config["rope_parameters"].items() if k in ("rope_theta", "partial_rotary_factor")
    }
    config["rope_parameters"] = rope | {"rope_type": "default"}
    (source / "config.json").write_text(json.dumps(config))
    assert kl(wanted, logits_of(source, IDS).log_softmax(-1)) > 1e-2


@pytest.mark.parametrize(
    ("family", "rope", "told"),
    [
        ("llama", {"rope_type": "dynamic", "factor": 2.0}, "dynamic"),
        ("llama", {"rope_type": "longrope", **LONG}, "longrope"),
        ("qwen2", LLAMA3, "llama3"),
        ("llama", {"rope_type": "llama3", "factor": 8.0}, "lacks low_freq_factor, high_freq_factor"),
        ("phi3", {"type": "longrope", "long_factor": [1.0]}, "lacks short_factor"),
        ("qwen2", {"rope_type": "yarn", "factor": 4.0, "beta_fast": 16}, "beta_fast"),
        ("qwen2", {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5}, "attention_factor"),
    ],
)
def test_what_llama_cpp_would_turn_otherwise_is_refused(family, rope, told):
    with pytest.raises(InputError, match=told):
        rope_of({"model_type": family, "max_position_embeddings": 64, "rope_parameters": rope})


def test_factors_that_are_too_few_are_refused():
    given = {
        "model_type": "phi3",
        "max_position_embeddings": 64,
        "rope_scaling": {"type": "longrope", **LONG},
    }
    with pytest.raises(InputError, match="8 factors"):
        rope_tensors(rope_of(given), 16)


def test_older_configurations_are_read():
    old = {"model_type": "phi3", "max_position_embeddings": 4096, ORIGINAL: 1024, "rope_theta": 5.0}
    rope = rope_of(old | {"rope_scaling": {"type": "su", **LONG}, "partial_rotary_factor": 0.75})
    assert (rope["rope_type"], rope["original"], rope["rope_theta"]) == ("su", 1024, 5.0)
