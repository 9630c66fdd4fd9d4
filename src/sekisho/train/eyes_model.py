"""An eye before it learns: its recipe, its shape, its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from tokenizers import Tokenizer
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

from ..core.errors import TrainingError
from ..core.question import Frozen
from ..data.pixels import PATCH
from .eyes_tokens import SPECIAL
from .recipe import NEWER


class Sight(Frozen):
    """Shape of a small Qwen2-VL model."""

    vocab_size: int = Field(512, ge=64)
    hidden_size: int = Field(192, multiple_of=32)
    intermediate_size: int = Field(512, ge=32)
    layers: int = Field(2, ge=1)
    heads: int = Field(6, ge=1)
    vision_size: int = Field(192, multiple_of=32)
    vision_layers: int = Field(4, ge=1)
    vision_heads: int = Field(6, ge=1)
    vision_ratio: int = Field(3, ge=1)


class EyesRecipe(Frozen):
    """Recipe of a model that answers a rubric's checks.

    Attributes:
        forms: how many are rendered; `calibration` further ones fit the temperatures.
        epochs: passes over them. From the second on they are moved by a few pixels.
        minutes: learning ends after so many at the latest, and the rate falls by whichever of steps and minutes is further on (budgeted training, Li and others 2020);
            0 sets no such end. With it, a second run gives other weights of about the same quality.
        evidence, pooled: weights of the two helping losses.
        start: model folder under `share` whose weights learning begins with, at a learning rate that rises and falls anew; empty for random ones.
        first: number of the first form, so that learning that goes on may do so on forms of its own.
        crowded: how many forms that show much at once are learnt from beside the others; nothing is measured or calibrated on such ones.
    """

    name: str
    kind: str = Field("eyes", pattern="^eyes$")
    pack: str = "intake"
    seed: int = 20261121
    forms: int = Field(16000, ge=8)
    calibration: int = Field(600, ge=8)
    shape: Sight = Sight()
    epochs: float = Field(1.5, gt=0)
    minutes: float = Field(0.0, ge=0)
    batch: int = Field(16, ge=1)
    learning_rate: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.05, ge=0, le=1)
    evidence: float = Field(50.0, ge=0)
    pooled: float = Field(0.5, ge=0)
    bf16: bool = True
    threads: int = Field(2, ge=1)
    start: str = Field("", json_schema_extra=NEWER)
    first: int = Field(0, ge=0, lt=1_000_000, json_schema_extra=NEWER)
    crowded: int = Field(0, ge=0, json_schema_extra=NEWER)
    checkpoint_seconds: float = Field(120, gt=0)


def new_model(shape: Sight, special: dict[str, int], seed: int) -> Any:
    """A model with random weights. `special` names the ids of `<|vision_start|>`, `<|vision_end|>` and `<|image_pad|>`."""
    torch.manual_seed(seed)
    head = shape.hidden_size // shape.heads
    text = {
        "vocab_size": shape.vocab_size, "hidden_size": shape.hidden_size, "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "num_key_value_heads": shape.heads,
        "max_position_embeddings": 4096, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [head // 8, 3 * head // 16, 3 * head // 16]},
    }  # fmt: skip
    vision = {
        "depth": shape.vision_layers, "embed_dim": shape.vision_size, "hidden_size": shape.hidden_size, "num_heads": shape.vision_heads,
        "mlp_ratio": shape.vision_ratio, "patch_size": PATCH, "temporal_patch_size": 1, "spatial_merge_size": 2, "in_channels": 3,
    }  # fmt: skip
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=special["<|vision_start|>"],
        vision_end_token_id=special["<|vision_end|>"],
        image_token_id=special["<|image_pad|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2VLForConditionalGeneration(config)
    with torch.no_grad():
        first = model.model.language_model.layers[0].self_attn
        first.q_proj.weight.mul_(_GAIN)
        first.k_proj.weight.copy_(first.q_proj.weight)
    return model


def taken_up(folder: Path, shape: Sight, tokenizer: Any) -> Any:
    """The model in a folder, in float32, to learn on. Raises TrainingError unless it has this shape and reads this tokenizer's tokens."""
    try:
        kind = json.loads((folder / "config.json").read_bytes())["model_type"]
        if kind != Qwen2VLConfig.model_type:  # the library would make what is missing, and say so at length
            raise ValueError(f"its type is {kind}")
        read = Tokenizer.from_file(str(folder / "tokenizer.json")).to_str()
        model = Qwen2VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
    except Exception as e:  # the libraries have no narrower error
        raise TrainingError(f"No model can be read from {folder}: {e}.", "Correct `start`.") from e
    wanted = new_model(shape, _special(tokenizer), 0).state_dict()
    if read != tokenizer.to_str() or {k: v.shape for k, v in model.state_dict().items()} != {
        k: v.shape for k, v in wanted.items()
    }:
        raise TrainingError(
            f"The model in {folder} has another shape, or learnt other questions.",
            "Set [shape] as its own recipe has it, or leave `start` out.",
        )
    return model


def begun(recipe: EyesRecipe, tokenizer: Any, share: Path) -> Any:
    """The model that a recipe's learning begins with. Raises TrainingError as `taken_up`."""
    if recipe.start:
        return taken_up(share / recipe.start, recipe.shape, tokenizer)
    return new_model(recipe.shape, _special(tokenizer), recipe.seed)


def _special(tokenizer: Any) -> dict[str, int]:
    return {t: int(tokenizer.token_to_id(t) or 0) for t in SPECIAL}


_GAIN = 3.0
"""The first layer starts with queries and keys alike and strong: a question looks at what resembles it, which is what `Helpers` makes of evidence."""
