"""Small real models with random weights of trained size, their folders, and a bare llama.cpp in a child process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from sekisho.train.pretrain import fast_tokenizer, new_model
from sekisho.train.recipe import Architecture, Pretrain
from sekisho.weights.families import lora_targets
from sekisho.weights.gates import gate_parameters, install_gates

SENTENCES = (
    "患者の検査結果を要約してください。",
    "Which decision applies to this request?",
    "輸送計画の安全基準を確認する。",
    "Please explain the budget of the next year.",
    "関所を通る者は、みな改められた。",
)
PHI3_LORA = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
LLAMA_LORA = ("q_proj", "v_proj", "o_proj", "down_proj")


def trained_size(model, seed):
    """Weights of the size training gives: logits spread over several nats, norms off 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, p in model.named_parameters():
            p.data.normal_(1.0, 0.2) if p.ndim == 1 else p.data.normal_(
                0.0, 0.15 if "embed" in name else 0.12
            )
    return model.eval()


def phi3(tokenizer, **changes):
    shape = {
        "vocab_size": 1024,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    return trained_size(
        new_model(Pretrain(name="t", architecture=Architecture(**shape | changes)), tokenizer), 1
    )


def llama(**changes):
    shape = {
        "vocab_size": 1024,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 4,
    }
    return trained_size(LlamaForCausalLM(LlamaConfig(**shape | changes)), 2)


def gated(model, targets=PHI3_LORA, gate_size=0.3, seed=3, form=None):
    """The model with LoRA and gates, both away from their start."""
    model.requires_grad_(False)
    wrapped = (
        get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=lora_targets(model, targets)))
        if targets
        else model
    )
    install_gates(wrapped, form)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, p in wrapped.named_parameters():
            if "lora_" in name:
                p.data.normal_(0.0, 0.1)
        for p in gate_parameters(wrapped):
            p.data.normal_(0.0, gate_size)
    return wrapped.eval()


def save_folder(model, tokenizer, folder: Path) -> Path:
    model.save_pretrained(folder)
    fast_tokenizer(tokenizer).save_pretrained(folder)
    return folder


CHILD = """
import sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.n_threads_http, p.warmup, p.verbosity = sys.argv[1], 512, 1, 16, False, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(p)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def llama_cpp(path: Path) -> Iterator[str]:
    """Serve a GGUF file; yields the address."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        if not address:
            child.kill()
            raise AssertionError(f"llama.cpp did not start: {child.communicate()[1][-2000:]}")
        yield address
    finally:
        child.terminate()
        child.communicate()
