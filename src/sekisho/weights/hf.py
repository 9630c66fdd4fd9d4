"""A Hugging Face model folder, read the way GGUF wants it: names, row order, vocabulary, templates."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ..core.errors import InputError, ShelfError
from .rope import rope_of, rope_tensors

Array = np.ndarray[Any, np.dtype[Any]]

_ARCHITECTURES = {
    "phi3": gguf.MODEL_ARCH.PHI3,
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen2_vl": gguf.MODEL_ARCH.QWEN2VL,
    "qwen2_5_vl": gguf.MODEL_ARCH.QWEN2VL,
}
"""llama.cpp runs a Mistral as a Llama. Of a vision-language model this is the language part; `mmproj` has the rest."""
SEEING = ("qwen2_vl", "qwen2_5_vl")
"""Families with a vision part."""
_BIASED = ("qwen2", *SEEING)
"""Families whose queries, keys and values always have biases."""
_NUMBERS = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "rms_norm_eps",
    "vocab_size",
)
_FREE_HEADS = ("llama", "mistral", "qwen2", "qwen3")
"""Families whose heads need not make up the hidden size in llama.cpp."""


_VISION = re.compile(r"(?:model\.)?visual\.(.+)")


@contextmanager
def configured(model_dir: Path) -> Iterator[None]:
    """Within: what a configuration lacks, or says in other terms, is an error that names the file. Raises ShelfError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as e:
        said = f"{e} is missing" if isinstance(e, KeyError) else str(e)
        raise ShelfError(
            f"{model_dir / 'config.json'} cannot be used: {said}.", "Give a whole Hugging Face model folder."
        ) from e


def read_config(model_dir: Path) -> dict[str, Any]:
    """Read config.json and refuse what this exporter cannot carry over exactly.

    Raises:
        ShelfError: when it is missing, malformed, or lacks a number.
        InputError: naming what is not carried over.
    """
    with configured(model_dir):
        return _carried(_language(read_json(model_dir / "config.json")), model_dir)


def _carried(config: dict[str, Any], model_dir: Path) -> dict[str, Any]:
    if config.get("model_type") not in _ARCHITECTURES:
        raise InputError(
            f"{model_dir} holds a model of type {config.get('model_type')!r}.",
            f"GGUF export knows {', '.join(_ARCHITECTURES)}.",
        )
    wrong = [
        k for k in _NUMBERS if isinstance(n := config[k], bool) or not isinstance(n, int | float) or n <= 0
    ]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} must be above 0")
    rope_tensors(rope_of(config), head_dim_of(config))
    free = config["model_type"] in _FREE_HEADS
    if not free and head_dim_of(config) * config["num_attention_heads"] != config["hidden_size"]:
        head_dim = head_dim_of(config)
        raise InputError(f"Heads of {head_dim} do not make up the hidden size.", "Use a base whose heads do.")
    biased = config.get("attention_bias") and config["model_type"] not in _BIASED
    if biased or config.get("mlp_bias"):
        raise InputError("The model has biases in its linear layers.", "Use a base without them.")
    return config


def _language(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the settings of its language part on top, where older folders have them anyway."""
    text = config.get("text_config") or {}
    own = {key: config[key] for key in ("model_type", "tie_word_embeddings") if key in config}
    return {**config, **text, **own}


def sees(model_dir: Path) -> bool:
    """Whether a folder's model has a vision part. Raises as `read_config`."""
    return read_config(model_dir)["model_type"] in SEEING


def arch_of(config: Mapping[str, Any]) -> str:
    """llama.cpp's name of the architecture."""
    return str(gguf.MODEL_ARCH_NAMES[_ARCHITECTURES[config["model_type"]]])


def reach_of(config: Mapping[str, Any]) -> int:
    """The longest text, in tokens, that llama.cpp reads as transformers does: it attends to everything, so no more than a sliding window."""
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    return min(int(config["max_position_embeddings"]), int(window or config["max_position_embeddings"]))


def head_dim_of(config: Mapping[str, Any]) -> int:
    """Width of a head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def gguf_tensors(model_dir: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Yield every weight as (GGUF name, float32 array), see `named_tensors`, and what positions are scaled by."""
    yield from rope_tensors(rope_of(config), head_dim_of(config)).items()
    for _, name, array in named_tensors(model_dir, config):
        yield name, array


def named_tensors(model_dir: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, str, Array]]:
    """Yield every weight as (name in transformers' language model, GGUF name, float32 array), in the folder's order, with Llama's q and k rows permuted.

    Raises:
        ShelfError: when there are no safetensors.
        InputError: naming a tensor the architecture does not have.
    """
    names = gguf.get_tensor_name_map(_ARCHITECTURES[config["model_type"]], config["num_hidden_layers"])
    for stored, tensor in stored_tensors(model_dir):
        name = stored.replace("model.language_model.", "model.", 1)
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        if config["model_type"] in SEEING and vision_name(name):
            continue
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if mapped is None:
            raise InputError(f"{model_dir} has a tensor {name} that GGUF has no place for.", "Bake it first.")
        yield name, mapped, _permuted(name, tensor.float().numpy(), config)


def vision_name(stored: str) -> str | None:
    """The name of a stored weight within the vision part, or None when it belongs to the language part."""
    found = _VISION.match(stored)
    return None if found is None else f"visual.{found[1]}"


def stored_tensors(model_dir: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Every weight of a folder, by name, as it is stored. Raises ShelfError when there are no safetensors."""
    files = sorted(model_dir.glob("*.safetensors"))
    if not files:
        raise ShelfError(f"{model_dir} holds no safetensors.", "Give the folder of a baked model.")
    for file in files:
        try:
            with safe_open(file, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118  (not a mapping)
                    yield name, stored.get_tensor(name)
        except SafetensorError as e:
            raise ShelfError(f"{file} cannot be read: {e}.", "Copy it again; it is not whole.") from e


def _permuted(name: str, array: Array, config: Mapping[str, Any]) -> Array:
    """Reorder Llama's q and k rows: transformers rotates halves of a head, llama.cpp's `llama` rotates neighbours."""
    found = re.search(r"self_attn\.([qk])_proj\.weight$", name)
    if config["model_type"] not in ("llama", "mistral") or found is None:
        return array
    heads = config["num_attention_heads"] if found[1] == "q" else config["num_key_value_heads"]
    rows, columns = array.shape
    halves = array.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, columns)


def vocabulary(stored: Mapping[str, Any], size: int) -> tuple[list[str], list[gguf.TokenType]]:
    """Tokens by id with their types, filled up to `size` with tokens marked unused.

    Raises:
        InputError: when a token's id lies outside the model's embeddings.
    """
    highest = max(*stored["model"]["vocab"].values(), *(t["id"] for t in stored["added_tokens"]))
    if highest >= size:
        raise InputError(
            f"Token {highest} lies outside a vocabulary of {size}.", "Use the model's own tokenizer."
        )
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for token, i in stored["model"]["vocab"].items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    for token in stored["added_tokens"]:
        tokens[token["id"]], types[token["id"]] = token["content"], _added(token)
    return tokens, types


def _added(token: Mapping[str, Any]) -> gguf.TokenType:
    if not token["special"]:
        return gguf.TokenType.USER_DEFINED
    # A plain word among the special tokens is the answer of an eye: it is to be shown, and never to be cut out of a question's text.
    return gguf.TokenType.NORMAL if token["content"].isalpha() else gguf.TokenType.CONTROL


def chat_template(model_dir: Path) -> str:
    """The folder's chat template. Raises ShelfError when it has none."""
    file = model_dir / "chat_template.jinja"
    template = file.read_text("utf-8") if file.is_file() else None
    template = template or read_json(model_dir / "tokenizer_config.json").get("chat_template")
    if not isinstance(template, str):
        raise ShelfError(f"{model_dir} has no chat template.", "Save the tokenizer with one.")
    return template


def read_json(path: Path) -> Any:
    """Read a JSON file of a model folder. Raises ShelfError when it is missing or malformed."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise ShelfError(f"{path} cannot be read: {e}.", "Give a whole Hugging Face model folder.") from e
