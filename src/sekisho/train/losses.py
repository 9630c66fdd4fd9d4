"""What training minimises: the next token, the decision over options, and PET."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .recipe import Pet, PetSteps

_NONE = -100
"""A place that predicts nothing."""


def decision_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy over the options alone, which is exactly what is served.

    Args:
        logits: `[batch, options]` logits of the option labels, `-inf` where a row has fewer options.
        labels: `[batch]` index of the right option.
        smoothing: mass spread evenly over a row's own options.
    """
    logp = functional.log_softmax(logits.float(), dim=-1)
    hit = -logp.gather(1, labels[:, None])[:, 0]
    own = torch.isfinite(logp)
    spread = -logp.masked_fill(~own, 0.0).sum(-1) / own.sum(-1)
    return ((1 - smoothing) * hit + smoothing * spread).mean()


def taught_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy against a teacher's probabilities over the options (Hinton et al. 2015), at temperature 1.

    Args:
        logits: `[batch, options]`, `-inf` where a row has fewer options.
        targets: `[batch, options]` probabilities, 0 where a row has fewer options.
    """
    logp = functional.log_softmax(logits.float(), dim=-1)
    return -(targets * logp.masked_fill(~torch.isfinite(logp), 0.0)).sum(-1).mean()


def language_loss(
    hidden: Tensor,
    head: Tensor,
    ids: Tensor,
    chunk: int = 512,
    mask: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of every next token, its logits made and dropped again `chunk` places at a time.

    All logits of a batch at once would be the largest tensor of a small model by far.

    Args:
        hidden: `[batch, seq, hidden]`; the last place predicts nothing.
        head: `[vocabulary, hidden]` weights of the output head.
        ids: `[batch, seq]` tokens.
        mask: `[batch, seq]`, 0 for padding, else the number of the packed text; a pair across two numbers does not count. None: all count.
        smoothing: mass spread evenly over the vocabulary.
    """
    wanted = ids[:, 1:]
    if mask is not None:
        wanted = wanted.masked_fill((mask[:, 1:] != mask[:, :-1]) | (mask[:, 1:] == 0), _NONE)
    places, wanted = hidden[:, :-1].flatten(0, 1), wanted.flatten()
    parts = zip(torch.split(places, chunk), torch.split(wanted, chunk), strict=True)
    summed = [checkpoint(_summed, h, head, w, smoothing, use_reentrant=False) for h, w in parts]
    count = wanted.numel() if mask is None else (wanted != _NONE).sum().clamp(min=1)
    return torch.stack(summed).sum() / count


def _summed(hidden: Tensor, head: Tensor, wanted: Tensor, smoothing: float) -> Tensor:
    logits = functional.linear(hidden, head).float()
    return functional.cross_entropy(
        logits, wanted, reduction="sum", ignore_index=_NONE, label_smoothing=smoothing
    )


def smoothed_places(mask: Tensor) -> Tensor:
    """Which triples of neighbouring places PET counts, `[batch, seq - 2]`: those within one text.

    Args:
        mask: `[batch, seq]`, 0 for padding, else the number of the packed text.
    """
    last, middle, first = mask[:, 2:], mask[:, 1:-1], mask[:, :-2]
    return (last == middle) & (middle == first) & (last > 0)


def pet_loss(hidden: Tensor, mask: Tensor, huber: float) -> Tensor:
    """Mean squared second difference `h[t] - 2 h[t-1] + h[t-2]` along the sequence, where all three places are of one text.

    Args:
        hidden: `[batch, seq, hidden]` hidden states.
        mask: `[batch, seq]`, 0 for padding, else the number of the packed text (1 where nothing is packed); a triple that touches padding or the border of two texts does not count.
        huber: beyond this the penalty grows linearly; 0 keeps squares.
    """
    second = (hidden[:, 2:] - 2 * hidden[:, 1:-1] + hidden[:, :-2]).float()
    real = smoothed_places(mask).to(second.dtype)[..., None]
    if huber > 0:
        size = second.abs()
        cost = torch.where(size <= huber, second.square(), 2 * huber * size - huber**2)
    else:
        cost = second.square()
    return (cost * real).sum() / (real.sum() * second.shape[-1]).clamp(min=1)


def pet_weight(pet: Pet, step: int, steps: int) -> float:
    """λ at an optimiser step out of `steps`, by the schedule the recipe has."""
    if pet.steps is not None:
        return pet.steps.maximum * _trapezium(step, pet.steps)
    phase = sum(step / max(steps, 1) >= start for start in pet.starts) - 1
    return pet.weights[max(phase, 0)]


def _trapezium(step: int, plan: PetSteps) -> float:
    if step < plan.warmup:
        return step / plan.warmup
    past = step - plan.warmup - plan.main
    return 1.0 if past < 0 else max(0.0, 1 - past / plan.anneal) if plan.anneal else 0.0
