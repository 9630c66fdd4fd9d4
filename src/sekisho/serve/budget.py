"""What an engine will take of the memory, computed from a GGUF file's head before anything is loaded. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import BudgetError, EngineError
from .gguf_header import Header

_PAD = 256
"""llama.cpp rounds the context of a slot up to a multiple of this."""
_BATCH = 512
"""Tokens llama.cpp computes at once (`n_ubatch`); its working memory is made for so many."""
_BYTES: Mapping[str, float] = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes of a number in the key-value cache; quantised types keep a half-precision step for each 32."""
_RUNTIME: Mapping[str, int] = {"cpu": 192 << 20, "cuda": 512 << 20}
"""The child process without a model: Python, libraries, threads; on a GPU the driver's context."""
MIB = 1 << 20


@dataclass(frozen=True)
class Shape:
    """What of a model decides its memory. Sizes are in numbers, not bytes.

    Attributes:
        weight_bytes: all tensors.
        kv_width: keys and values of one token, over all layers.
        heads, embedding, feed_forward, vocabulary: of the widest layer.
        trained: tokens of the context it was trained with.
    """

    weight_bytes: int
    kv_width: int
    heads: int
    embedding: int
    feed_forward: int
    vocabulary: int
    trained: int


def shape_of(header: Header) -> Shape:
    """Read a shape from a file's metadata.

    A sliding window makes the cache of some layers smaller; it is not counted, so the figure is an upper bound.

    Raises:
        EngineError: naming what the file does not say.
    """
    layers, embedding = (_number(header, key) for key in ("block_count", "embedding_length"))
    heads = _widest(header, "attention.head_count")
    kv_heads = header.of_arch("attention.head_count_kv", heads)
    per_layer = list(kv_heads) if isinstance(kv_heads, Sequence) else [int(kv_heads)] * layers
    width = sum(
        int(header.of_arch(f"attention.{part}_length", embedding // heads)) for part in ("key", "value")
    )
    return Shape(
        weight_bytes=header.weight_bytes,
        kv_width=sum(per_layer) * width,
        heads=heads,
        embedding=embedding,
        feed_forward=_widest(header, "feed_forward_length"),
        vocabulary=len(header.values.get("tokenizer.ggml.tokens", ())),
        trained=_number(header, "context_length"),
    )


@dataclass(frozen=True)
class Plan:
    """What an engine is to be started with.

    Attributes:
        context: tokens of one slot.
        slots: all of them, spare and kept ones included.
        kv_type: f32, f16, q8_0 or q4_0.
        flash_attention: needs no table of every token against every other.
        device: cpu or cuda.
    """

    context: int
    slots: int
    kv_type: str
    flash_attention: bool
    device: str


@dataclass(frozen=True)
class Budget:
    """Bytes by what they are for, and how many there may be."""

    plan: Plan
    parts: Mapping[str, int]
    limit: int
    largest: int
    """The largest context, a multiple of 256, that stays within the limit; 0 when none does."""

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Whether the parts stay within the limit."""
        return self.total <= self.limit

    def rows(self) -> list[tuple[str, str]]:
        """The table, in MiB."""
        rows = [*self.parts.items(), ("total", self.total), ("limit", self.limit)]
        return [(name, f"{value / MIB:,.1f} MiB") for name, value in rows]

    def require(self) -> None:
        """Raise BudgetError, with the largest context that fits, unless this does."""
        if self.fits:
            return
        told = ", ".join(f"{name} {size}" for name, size in self.rows())
        cure = (
            f"Set `context` to at most {self.largest}, or lower `slots`, `spare_slots` or `kv_type`."
            if self.largest
            else "No context fits: serve a smaller model, lower `slots` or `spare_slots`, or free memory."
        )
        slots = f"{self.plan.slots} slots of {self.plan.context} tokens"
        raise BudgetError(f"The memory does not hold {slots}: {told}.", cure)


def budget(shape: Shape, plan: Plan, limit: int) -> Budget:
    """Compute the parts of a plan, and the largest context that would fit in `limit` bytes."""
    contexts = range(_PAD, plan.context + 1, _PAD)
    low, high = 0, len(contexts)
    while low < high:  # the need grows with the context, so halving finds the border
        middle = (low + high + 1) // 2
        need = sum(parts_of(shape, replace(plan, context=contexts[middle - 1])).values())
        low, high = (middle, high) if need <= limit else (low, middle - 1)
    return Budget(plan, parts_of(shape, plan), limit, contexts[low - 1] if low else 0)


def parts_of(shape: Shape, plan: Plan) -> dict[str, int]:
    """Bytes of each part.

    The cache holds every slot's whole context. The working memory is that of one batch: hidden states, the attention mask, and without flash attention the
    scores of every head over a slot's context. Measured against llama.cpp's own figures in the tests.
    """
    cells = -(-plan.context // _PAD) * _PAD
    scores = 0 if plan.flash_attention else shape.heads * cells
    mask = 1.5 * cells if plan.flash_attention else cells
    hidden = 3 * shape.feed_forward + 2 * shape.embedding
    return {
        "weights": shape.weight_bytes,
        "key-value cache": int(shape.kv_width * cells * plan.slots * _BYTES[plan.kv_type]),
        "working memory": int(4 * _BATCH * (scores + mask + hidden)) + 4 * plan.slots * shape.vocabulary,
        "runtime": _RUNTIME[plan.device],
    }


def _number(header: Header, key: str) -> int:
    value: Any = header.of_arch(key)
    if not isinstance(value, int) or value <= 0:
        raise EngineError(f"The model file does not say its {key}.", "Bake again.")
    return value


def _widest(header: Header, key: str) -> int:
    """A number that some models have one of for each layer."""
    value: Any = header.of_arch(key)
    if isinstance(value, list) and value:
        return int(max(value))
    return _number(header, key)
