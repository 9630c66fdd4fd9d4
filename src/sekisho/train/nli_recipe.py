"""Recipes of the NLI classifier and of its adapters: every knob, frozen and written beside the run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..core.question import Frozen


class NliShape(Frozen):
    """Shape of a DeBERTa-v2 encoder trained from nothing. Its vocabulary is that of the base named in the recipe."""

    hidden_size: int = Field(256, ge=32, multiple_of=8)
    intermediate_size: int = Field(768, ge=32)
    num_hidden_layers: int = Field(3, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    position_buckets: int = Field(32, ge=4)
    max_relative_positions: int = Field(128, ge=8)
    max_position_embeddings: int = Field(512, ge=32)
    dropout: float = Field(0.1, ge=0, lt=1)


class NliTrain(Frozen):
    """Recipe of a classifier.

    Attributes:
        vocabulary: folder of a base, or its name under `share`/models, that lends tokenizer and, where the width fits, embeddings.
        sources: bundled sets it learns from.
        mirror: whether contradictions are shown the other way round too; they hold both ways.
        max_tokens: a longer pair is not trained on.
        cooldown_start, cooldown: the rate rises over `warmup` of the steps and follows a cosine that would reach zero at the last; from the share
            `cooldown_start` on it falls in a straight line to zero over `cooldown` of the steps, and training ends there. A start of 1
            keeps the cosine to its end.
    """

    name: str
    kind: Literal["nli"] = "nli"
    seed: int = 20261121
    vocabulary: str = "nano"
    sources: tuple[str, ...] = ("jnli", "jsick", "esnli")
    shape: NliShape = NliShape()
    epochs: float = Field(8.0, gt=0)
    batch: int = Field(32, ge=1)
    max_tokens: int = Field(160, ge=16)
    learning_rate: float = Field(5.0e-4, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.06, ge=0, le=1)
    cooldown_start: float = Field(1.0, gt=0, le=1)
    cooldown: float = Field(0.1, gt=0, le=1)
    clip: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    mirror: bool = True
    bf16: bool = False
    threads: int = Field(2, ge=1)
    checkpoint_seconds: float = Field(180, gt=0)
    keep: int = Field(3, ge=1)


class NliLora(Frozen):
    """LoRA's rank, scale numerator and dropout; `targets` are names of linear modules."""

    r: int = Field(8, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    targets: tuple[str, ...] = ("query_proj", "value_proj")


class NliAdapt(Frozen):
    """Recipe of an adapter.

    Attributes:
        head: whether the pooler and the classifier are trained whole beside LoRA (and stored with it), or stay as they are.
        replay: pairs of the base's own training sets for each corrected or reviewed pair, so that what it knew is repeated.
        balance: whether each label's rows weigh alike in the loss.
        held_out: share of the documents whose pairs only prove.
        warmup: share of the steps over which the rate rises; never a fixed number of steps.
    """

    name: str
    kind: Literal["nli-adapter"] = "nli-adapter"
    seed: int = 20261121
    lora: NliLora = NliLora()
    head: Literal["train", "keep"] = "train"
    replay: float = Field(1.0, ge=0)
    balance: bool = True
    held_out: float = Field(0.4, gt=0, lt=1)
    epochs: float = Field(3.0, gt=0)
    batch: int = Field(16, ge=1)
    max_tokens: int = Field(256, ge=16)
    learning_rate: float = Field(2.0e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, le=1)
    clip: float = Field(1.0, gt=0)
    threads: int = Field(2, ge=1)
    checkpoint_seconds: float = Field(180, gt=0)
    keep: int = Field(3, ge=1)
