"""Tokens after a prompt, one forward pass each: what the torch engine writes text with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...core.engine import Sampling

if TYPE_CHECKING:
    from torch import Tensor

_STRIDE = 0x9E3779B97F4A7C15
"""Odd and far from small (2^64 over the golden ratio), so that places of neighbouring seeds do not meet."""


def continuation(
    model: Any,
    device: str,
    prompt: Sequence[int],
    sampling: Sampling,
    never: Sequence[int],
    written: Sequence[int] = (),
) -> Iterator[int]:
    """Yield token ids after `prompt` and `written` for as long as it is advanced; the caller decides where the text ends.

    With a seed, each token is drawn by a generator seeded with the seed and the token's place, so a text that is taken up again goes on alike.

    Args:
        model: a causal language model of transformers.
        never: token ids that are not drawn, so that the model cannot open a turn inside its answer.
        written: the tokens of the answer so far.
    """
    import torch

    generator = torch.Generator(device=device)
    generator.seed()
    ids, past = [*prompt, *written], None
    for place in itertools.count(len(written)):
        if sampling.seed is not None:
            generator.manual_seed((sampling.seed * _STRIDE + place) % 2**63)
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
