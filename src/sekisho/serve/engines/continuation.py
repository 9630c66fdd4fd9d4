"""Tokens after a prompt, one forward pass each: what the torch engine writes text with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...core.engine import Sampling

if TYPE_CHECKING:
    from torch import Tensor


def continuation(
    model: Any, device: str, prompt: Sequence[int], sampling: Sampling, never: Sequence[int]
) -> Iterator[int]:
    """Yield token ids after `prompt` for as long as it is advanced; the caller decides where the text ends.

    Args:
        model: a causal language model of transformers.
        never: token ids that are not drawn, so that the model cannot open a turn inside its answer.
    """
    import torch

    generator = torch.Generator(device=device)
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed % 2**63)
    ids, past = list(prompt), None
    while True:
        rows = torch.tensor([ids], device=device)
        with torch.no_grad():
            out = model(input_ids=rows, past_key_values=past, logits_to_keep=1, use_cache=True)
        past = out.past_key_values
        logits = out.logits[0, -1].float()
        logits[list(never)] = -torch.inf
        ids = [_draw(logits, sampling, generator)]
        yield ids[0]


def _draw(logits: Tensor, sampling: Sampling, generator: Any) -> int:
    """Draw a token from `logits` `[vocabulary]`: temperature, then the smallest set of mass top-p (Holtzman et al. 2020)."""
    import torch

    if sampling.temperature == 0:
        return int(logits.argmax())
    ordered, order = torch.softmax(logits / sampling.temperature, dim=-1).sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    ordered[before >= sampling.top_p] = 0.0
    return int(order[torch.multinomial(ordered, 1, generator=generator)])
