"""How much memory a training will take, computed from the base's configuration and the recipe before anything is loaded; and what it took."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.errors import BudgetError
from ..core.question import Frozen
from ..weights.families import empty_model, lora_targets, require_attentions
from ..weights.held import QUANTISED
from ..weights.rotation import BLOCK, PARAMETERS
from ..weights.triality import VIEWS
from .recipe import BaseType, Finetune

MIB = 2**20
RUNTIME = 600 * MIB
"""Python, torch, transformers and some data: 500 to 570 MiB, measured on Linux with a CPU build."""
_BYTES: dict[BaseType, float] = {"float32": 4, "bfloat16": 2, "int8": 1.03, "nf4": 0.5625}
"""Of a weight of a linear layer: with a scale a row for int8, a float32 scale for 64 weights for nf4."""


class MemoryPlan(Frozen):
    """Bytes by what they are for.

    Attributes:
        base: frozen weights, or this process's share of them.
        adapter: LoRA and gates, with their gradients and, if the recipe has them, mean and best weights.
        optimiser: its two moments.
        activations: what a part of a batch of the longest rows leaves for the way back.
        working: what is made and thrown away: the larger of logits and of rounded weights written out; and of a base in shards, what is whole for the moment.
        runtime: the process itself.
    """

    base: int
    adapter: int
    optimiser: int
    activations: int
    working: int
    runtime: int = RUNTIME

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.model_dump().values())

    def rows(self) -> Iterator[tuple[str, str]]:
        """For a table: what, and how much."""
        for name, size in [*self.model_dump().items(), ("total", self.total)]:
            yield name, f"{size / MIB:,.1f} MiB"


class Shape(Frozen):
    """What a plan needs to know of a base: numbers of weights and widths."""

    linear: int
    other: int
    largest: int
    layers: int
    hidden: int
    inner: int
    heads: int
    vocabulary: int
    lora: int
    lora_inputs: int
    gates: int


def shape_of(base: Path, recipe: Finetune) -> Shape:
    """Read the shape of a base from its configuration; no weights are loaded.

    Raises:
        ShelfError: when the folder holds no configuration of a causal LM.
        InputError: when gates or LoRA do not fit it.
    """
    model = empty_model(base)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not model.lm_head}
    wanted = lora_targets(model, recipe.lora.targets)
    chosen = [m for n, m in linear.items() if _is_target(n, wanted)]
    attention = require_attentions(model)
    blocks = sum(a.features // BLOCK for a in attention) // (len(attention) if recipe.shared_gates else 1)
    total, inside = sum(p.numel() for p in model.parameters()), sum(m.weight.numel() for m in linear.values())
    text = getattr(model.config, "text_config", model.config)
    return Shape(
        linear=inside,
        other=total - inside,
        largest=max(m.weight.numel() for m in linear.values()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=text.intermediate_size,
        heads=text.num_attention_heads,
        vocabulary=text.vocab_size,
        lora=sum(recipe.lora.r * (m.in_features + m.out_features) for m in chosen),
        lora_inputs=sum(m.in_features for m in chosen) // text.num_hidden_layers,
        gates=blocks * PARAMETERS // (VIEWS if recipe.triality else 1) if recipe.gates else 0,
    )


def plan(shape: Shape, recipe: Finetune, longest: int, processes: int = 1) -> MemoryPlan:
    """Add up what one process needs.

    Args:
        longest: tokens of the longest row.
        processes: that share each part of a batch, and if the recipe says so the base.
    """
    rows = -(-recipe.batch // (recipe.accumulation * processes))
    trained = shape.lora + shape.gates
    copies = 2 + (recipe.swa_start < 1) + (recipe.watch.every > 0)
    layer = _of_layer(shape, longest)
    kept = 4 * shape.hidden * shape.layers + layer if recipe.checkpointing else layer * shape.layers
    logits = 3 * 4 * shape.vocabulary * max(rows, 512 if recipe.language_weight else 0)
    shares = processes if recipe.shard_base else 1
    written_out = 8 * shape.largest if recipe.base_type in ("int8", "nf4") else 0
    # While int8 or nf4 are made, a layer at a time is held in float32 as well.
    return MemoryPlan(
        base=int(shape.linear * _BYTES[recipe.base_type] + shape.other * _apart(recipe)) // shares,
        adapter=4 * copies * trained,
        optimiser=(2 if recipe.optimizer == "paged_adamw_8bit" else 8) * trained,
        activations=rows * longest * kept,
        working=max(logits, written_out) + (_gathered(shape, recipe) if shares > 1 else 0),
    )


def require(
    found: MemoryPlan, shape: Shape, recipe: Finetune, longest: int, free: int | None, processes: int = 1
) -> None:
    """Refuse a plan that does not fit, with what would.

    Args:
        free: bytes there are; None where the system does not say, and then nothing is refused.

    Raises:
        BudgetError: naming the need, what there is, and every single change of the recipe that would fit.
    """
    if free is None or found.total <= free:
        return
    fits = [
        f"{name} = {value}" for name, value in _changes(recipe, processes)
        if plan(shape, recipe.model_copy(update={name: value}), longest, processes).total <= free
    ]  # fmt: skip
    raise BudgetError(
        f"This training needs {found.total / MIB:,.0f} MiB ({', '.join(f'{n} {s}' for n, s in found.rows() if n != 'total')}), and there are {free / MIB:,.0f} MiB.",
        f"Any one of these fits: {'; '.join(fits)}." if fits else "No single change of the recipe fits; take a smaller base, or nf4 with checkpointing and a smaller batch.",
    )  # fmt: skip


def peak() -> int | None:
    """The most memory this process has held so far, in bytes: of the GPU where there is one, else of the machine; None on Windows."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024


def _changes(recipe: Finetune, processes: int) -> Iterator[tuple[str, Any]]:
    parts = recipe.accumulation
    while parts < recipe.batch:
        parts *= 2
        if recipe.batch % parts == 0:
            yield "accumulation", parts
    if not recipe.checkpointing:
        yield "checkpointing", True
    if processes > 1 and not recipe.shard_base and recipe.base_type not in QUANTISED:
        yield "shard_base", True
    for held in ("bfloat16", "int8", "nf4"):
        if _BYTES[held] < _BYTES[recipe.base_type] and not (recipe.shard_base and held in QUANTISED):
            yield "base_type", held


def _apart(recipe: Finetune) -> int:
    """Bytes of a weight outside linear layers."""
    return 2 if recipe.base_type == "bfloat16" else 4


def _gathered(shape: Shape, recipe: Finetune) -> int:
    """Bytes of a base in shards that are whole at once. What is gathered is there twice while it comes.

    Either the head comes while the last layer is there, or on the way back the next layer comes beside head and layer.
    """
    head, layer = shape.vocabulary * shape.hidden, shape.linear // shape.layers
    return _apart(recipe) * max(2 * head + layer, head + 3 * layer)


def _of_layer(shape: Shape, longest: int) -> int:
    """Bytes a token leaves in a layer: float32 copies of its widths, and a row of attention scores and probabilities a head."""
    widths = 16 * shape.hidden + 6 * shape.inner
    return 4 * widths + 5 * shape.lora_inputs + 3 * 4 * shape.heads * longest


def _is_target(name: str, wanted: list[str] | str) -> bool:
    import re

    return bool(re.fullmatch(wanted, name)) if isinstance(wanted, str) else name.rpartition(".")[2] in wanted
