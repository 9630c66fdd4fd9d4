"""What a GGUF file's number type costs: the plain model against itself with the weights that the file really holds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from ..core.errors import BakeError
from .bake import Comparison, compare
from .families import load_model
from .hf import named_tensors, read_config

LARGEST_KL: Mapping[str, float] = {
    "f32": 1e-6,
    "f16": 1e-3,
    "bf16": 1e-2,
    "q8_0": 1e-2,
    "q6_k": 5e-2,
    "q5_k_m": 0.2,
    "q4_k_m": 0.7,
}
"""Mean KL in nats beyond which a file is broken rather than rounded. They are no promise of quality: for that, read the certificate."""


def load_gguf(path: Path, config: Any = None) -> Any:
    """Load a GGUF file as a transformers model in float32: every weight as llama.cpp reads it.

    Args:
        config: the model's own configuration, where it is known: transformers does not read all of it from the file, as how positions are scaled.

    Raises:
        BakeError: when transformers cannot read it.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(
            str(path.parent),
            gguf_file=path.name,
            dtype=torch.float32,
            local_files_only=True,
            **(_heads(path) if config is None else {"config": config}),
        ).eval()
    except (OSError, ValueError, KeyError, NotImplementedError, RuntimeError) as e:
        raise BakeError(f"{path} cannot be read back as a model: {e}.", "Export it again.") from e


def _in_file(config: Any) -> Any:
    """A copy of a model's configuration as its file has it: a Mistral's is that of a Llama."""
    if config.model_type != "mistral":
        return deepcopy(config)
    return LlamaConfig(
        **{k: v for k, v in config.to_dict().items() if k not in ("model_type", "architectures")}
    )


def _heads(path: Path) -> dict[str, int]:
    """The width of heads, where the file says it: transformers does not read that of every family."""
    found = [f for name, f in gguf.GGUFReader(path).fields.items() if name.endswith(".attention.key_length")]
    return {"head_dim": int(found[0].contents())} if found else {}


def load_language(path: Path, model_dir: Path) -> Any:
    """The vision-language model of a folder with the language part that a GGUF file holds, in float32; transformers does not read such files itself.

    Raises:
        ShelfError, BakeError: when the folder holds no such model, or the file lacks a weight.
    """
    model, stored = load_model(model_dir), {t.name: t for t in gguf.GGUFReader(path).tensors}
    inside = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, mapped, want in named_tensors(model_dir, read_config(model_dir)):
            if mapped not in stored:
                raise BakeError(f"{path} lacks {mapped}.", "Export it again.")
            got = gguf.dequantize(stored[mapped].data, stored[mapped].tensor_type).reshape(want.shape)
            inside[_PART.sub("model.language_model.", name)].copy_(torch.from_numpy(got.copy()))
    return model.eval()


_PART = re.compile(r"^model\.")


def fidelity(
    path: Path, plain: nn.Module, prompts: Sequence[Sequence[int]], seeing: Path | None = None
) -> Comparison:
    """Compare the float32 model with the weights of a file, over real prompts, arithmetic in float32 in both.

    llama.cpp also rounds what flows between the layers; a test compares its answers with these weights' own.

    Args:
        seeing: the folder the file was written from, of a vision-language model; the prompts are text all the same.
    """
    found = load_gguf(path, _in_file(plain.config)) if seeing is None else load_language(path, seeing)
    return compare(plain, found, prompts)


def check_fidelity(kind: str, found: Comparison) -> None:
    """Raise BakeError when a file's mean KL is not that of rounding (a NaN is not)."""
    if not found.mean_kl < LARGEST_KL[kind]:
        raise BakeError(
            f"The {kind} file's answers differ by {found.mean_kl:.3g} nats on average.",
            f"More than {LARGEST_KL[kind]:g} is no rounding; do not serve it.",
        )
