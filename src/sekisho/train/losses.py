"""What training minimises: the next token, the decision over options, and PET."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .recipe import Pet


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


def language_loss(hidden: Tensor, head: Tensor, ids: Tensor, chunk: int = 512) -> Tensor:
    """Mean cross-entropy of every next token, its logits made and dropped again `chunk` places at a time.

    All logits of a batch at once would be the largest tensor of a small model by far.

    Args:
        hidden: `[batch, seq, hidden]`; the last place predicts nothing.
        head: `[vocabulary, hidden]` weights of the output head.
        ids: `[batch, seq]` tokens.
    """
    places, wanted = hidden[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    parts = zip(torch.split(places, chunk), torch.split(wanted, chunk), strict=True)
    summed = [checkpoint(_summed, h, head, w, use_reentrant=False) for h, w in parts]
    return torch.stack(summed).sum() / wanted.numel()


def _summed(hidden: Tensor, head: Tensor, wanted: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(hidden, head).float(), wanted, reduction="sum")


def pet_loss(hidden: Tensor, mask: Tensor, huber: float) -> Tensor:
    """Mean squared second difference `h[t] - 2 h[t-1] + h[t-2]` along the sequence, where all three places are real.

    Args:
        hidden: `[batch, seq, hidden]` hidden states.
        mask: `[batch, seq]`, 1 for real tokens; a triple that touches padding does not count.
        huber: beyond this the penalty grows linearly; 0 keeps squares.
    """
    second = (hidden[:, 2:] - 2 * hidden[:, 1:-1] + hidden[:, :-2]).float()
    real = (mask[:, 2:] * mask[:, 1:-1] * mask[:, :-2]).to(second.dtype)[..., None]
    if huber > 0:
        size = second.abs()
        cost = torch.where(size <= huber, second.square(), 2 * huber * size - huber**2)
    else:
        cost = second.square()
    return (cost * real).sum() / (real.sum() * second.shape[-1]).clamp(min=1)


def pet_weight(pet: Pet, progress: float) -> float:
    """λ at a progress from 0 to 1, in optimiser steps over all steps."""
    phase = sum(progress >= start for start in pet.starts) - 1
    return pet.weights[max(phase, 0)]
