"""The packed pass: one image prefix, every question after it at once, under a tree mask (torch, Qwen2-VL architecture).

Positions are those of the architecture's own prompts (multimodal rotary positions, Wang and others 2024): each question begins where it would begin if it were
asked alone. So the probabilities are those of separate prompts, up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.packing import Packed, visible


@dataclass(frozen=True)
class Form:
    """Token ids the pass needs: those that stand around the image, and the two answers."""

    start: int
    end: int
    yes: int
    no: int


def answers(model: Any, pixels: Tensor, grid: Tensor, packed: Packed, form: Form) -> tuple[Tensor, Tensor]:
    """Logits of yes and of no for every question and image.

    Args:
        model: a `Qwen2VLForConditionalGeneration`.
        pixels: patches of all images, one after the other `[images × patches, 768]`.
        grid: time, rows and columns of patches of each image `[images, 3]`; all must have equally many patches.

    Returns:
        Logits `[images, questions, 2]`, yes first, and what the vision tower gave `[images, tokens, width]`.
    """
    seen = model.model.visual(pixels, grid_thw=grid).pooler_output.view(
        grid.shape[0], -1, model.config.text_config.hidden_size
    )
    embed = model.model.language_model.embed_tokens
    row = torch.tensor([form.start, form.end, *packed.ids], device=pixels.device)
    texts = embed(row).unsqueeze(0).expand(len(seen), -1, -1)
    whole = torch.cat((texts[:, :1], seen.to(texts.dtype), texts[:, 1:]), dim=1)
    prefix = seen.shape[1] + 2
    hidden = model.model.language_model(
        inputs_embeds=whole,
        attention_mask={"full_attention": _mask(prefix, packed, whole)},
        position_ids=positions(grid, packed).to(whole.device),
        use_cache=False,
    ).last_hidden_state
    ends = torch.tensor([prefix + e for e in packed.ends], device=whole.device)
    both = model.lm_head.weight[[form.yes, form.no]]
    return hidden[:, ends] @ both.to(hidden.dtype).T, seen


def _mask(prefix: int, packed: Packed, like: Tensor) -> Tensor:
    """The tree mask, additive `[1, 1, tokens, tokens]`."""
    allowed = torch.tensor(visible(prefix, packed), device=like.device)
    return torch.zeros_like(allowed, dtype=like.dtype).masked_fill(~allowed, torch.finfo(like.dtype).min)[
        None, None
    ]


def positions(grid: Tensor, packed: Packed, merge: int = 2) -> Tensor:
    """Rotary positions in time, height and width `[3, images, tokens]`."""
    found = []
    for _, rows, columns in grid.tolist():
        high, wide = rows // merge, columns // merge
        down = torch.arange(high).repeat_interleave(wide) + 1
        across = torch.arange(wide).repeat(high) + 1
        image = torch.stack((torch.ones_like(down), down, across))
        end = 1 + max(high, wide)
        text = torch.tensor([end, *(end + 1 + step for step in packed.steps)]).expand(3, -1)
        found.append(torch.cat((torch.zeros(3, 1, dtype=torch.long), image, text), dim=1))
    return torch.stack(found, dim=1)
