"""A frozen base in shards: every process holds a share of each weight, and a whole layer only while that layer works (FSDP2, Zhao et al. 2023).

transformers reads into each process its share alone, so nobody ever holds the whole base. What is trained comes later, beside the shares, whole in every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .families import empty_model, require_attentions

_WHILE_USED, _TO_THE_END = "free_full_weight", "keep_full_weight"
"""How long a unit stays whole: while it works, or from its first use until the way back is done."""


def sharding(folder: Path, processes: int) -> dict[str, Any]:
    """Say to `from_pretrained` how a base is shared out.

    Args:
        folder: of the base; its configuration is read.
        processes: that hold a share each; when there is one, nothing is said.

    Raises:
        ShelfError: when the folder holds no configuration of such a model.
        InputError: when it has no attention that is known.
    """
    if processes == 1:
        return {}
    from transformers.distributed import DistributedConfig

    units = {**dict.fromkeys(_units(empty_model(folder)), _WHILE_USED), "lm_head": _TO_THE_END}
    return {"distributed_config": DistributedConfig(fsdp_size=processes, fsdp_plan=units)}


def _units(model: Any) -> Iterator[str]:
    """Names of what is gathered apart, a star for the number of a layer. A vision tower is one unit: training never asks for it, so it stays in shares."""
    layers, _, _ = require_attentions(model)[0].name.rpartition(".")[0].rpartition(".")
    inside, _, of_layers = layers.rpartition(".")
    for holder in dict.fromkeys(("model", inside)):
        for name, child in model.get_submodule(holder).named_children():
            unit = f"{holder}.{name}"
            if unit != inside and any(True for _ in child.parameters()):
                yield f"{unit}.*" if name == of_layers and holder == inside else unit


def is_share(parameter: Tensor) -> bool:
    """Whether this process holds a share of it and no more."""
    return hasattr(parameter, "full_tensor")


def sharded_names(model: nn.Module) -> list[str]:
    """Names of the parameters of which this process holds a share."""
    return [name for name, parameter in model.named_parameters() if is_share(parameter)]


def join(model: nn.Module) -> None:
    """Make `model`, around a base in shards, the root that orders gathering and letting go. What is trained stays whole in every process."""
    from torch.distributed.fsdp import fully_shard

    fully_shard(model, ignored_params={p for p in model.parameters() if not is_share(p)})


def read_out(base: Any, hidden: Tensor) -> Tensor:
    """The output head's logits `[..., vocabulary]` of hidden states `[..., hidden]` that a causal LM has just made."""
    return functional.linear(hidden, head_weight(base)) if _borrows(base) else base.lm_head(hidden)


def head_weight(base: Any) -> Tensor:
    """The output head's weights `[vocabulary, hidden]`, whole, after `read_out`."""
    weight: Tensor = (base.get_input_embeddings() if _borrows(base) else base.lm_head).weight
    return weight


def _borrows(base: Any) -> bool:
    """Whether the head's weights are the embeddings', which are whole now. Of two modules that share weights in shards only one is told when they are."""
    return is_share(base.lm_head.weight) and not is_share(base.get_input_embeddings().weight)
