"""Several processes that train one model: what they decide together, and how they share a mean. Alone, nothing is asked of anyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def processes() -> int:
    """How many train together; 1 when alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if processes() > 1:
        dist.barrier()


def any_of(*flags: bool) -> list[bool]:
    """For each flag, whether any process has it set; all get the same answer."""
    if processes() == 1:
        return list(flags)
    where = "cuda" if dist.get_backend() == "nccl" else "cpu"
    told = torch.tensor([float(f) for f in flags], device=where)
    dist.all_reduce(told, op=dist.ReduceOp.MAX)
    return [bool(f) for f in told]


def weight_of(count: Tensor) -> Tensor | float:
    """What a process's own mean over `count` places weighs, so that the mean over processes is the mean over all places.

    Gradients are averaged over processes; a process with fewer real tokens would otherwise count as much as one with more.
    """
    if processes() == 1:
        return 1.0
    every = count.detach().clone().float()
    dist.all_reduce(every)
    return count * processes() / every.clamp(min=1)


def replicated(model: nn.Module, apart: Sequence[str]) -> nn.Module:
    """Wrap a model so that gradients are averaged over processes, as accelerate does, which refuses a model with shares.

    Args:
        apart: names of parameters that are left alone, as each process holds another share of them.
    """
    wrapper: Any = DistributedDataParallel
    wrapper._set_params_and_buffers_to_ignore_for_model(model, apart)
    wrapped: nn.Module = wrapper(model)
    return wrapped
