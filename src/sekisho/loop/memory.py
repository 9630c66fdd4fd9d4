"""How much memory a training may take: of the GPU it will run on, or of this machine."""

from __future__ import annotations

import torch

from ..host.memory import available


def free_memory() -> int | None:
    """Bytes; None where the system does not say."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else available()
