"""One of two processes that hold every architecture in shards: `torchrun -m tests.weights.shards_worker FOLDER`; the first writes what it found.

For each base: how far losses and gradients of LoRA and gates are from those over the whole base, and how much of the base this process held.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model

from sekisho.train.decider import Decider
from sekisho.train.losses import language_loss
from sekisho.weights.families import lora_targets
from sekisho.weights.gates import install_gates
from sekisho.weights.held import load_held
from sekisho.weights.shards import head_weight, is_share, join

from .zoo import ZOO, base_of, lora_of

IDS = torch.arange(5, 5 + 2 * 9).reshape(2, 9)
OPTIONS = torch.tensor([[7, 8, 9], [10, 11, -1]])


def adapted(base: Path, lora: tuple[str, ...], processes: int) -> Decider:
    held = load_held(base, "float32", processes=processes)
    model = get_peft_model(held, LoraConfig(r=4, target_modules=lora_targets(held, lora)))
    install_gates(model)
    draw = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1, generator=draw)
    decider = Decider(model)
    if processes > 1:
        join(decider)
    return decider


def loss_of(model: Decider) -> torch.Tensor:
    """Decision and next token, which reads the head's weights once more."""
    logits, last, _ = model(IDS, torch.ones_like(IDS), OPTIONS)
    loss = torch.logsumexp(logits, -1).sum() + language_loss(last, head_weight(model.plain), IDS)
    loss.backward()
    return loss.detach()


def gradients(model: Decider) -> list[torch.Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def found(name: str, folder: Path) -> dict[str, float]:
    base = folder / name
    if dist.get_rank() == 0:
        base_of(name).save_pretrained(base)
    dist.barrier()
    whole, shared = adapted(base, lora_of(name), 1), adapted(base, lora_of(name), dist.get_world_size())
    frozen = [p for p in shared.parameters() if not p.requires_grad]
    apart = max(abs(float(loss_of(whole) - loss_of(shared))) for _ in range(2))
    pairs = list(zip(gradients(whole), gradients(shared), strict=True))
    again = [p for p in shared.parameters() if not p.requires_grad]
    return {
        "loss": apart,
        "gradient": max(float((a - b).abs().max()) for a, b in pairs),
        "largest": max(float(a.abs().max()) for a, _ in pairs),
        "trained": len(pairs),
        "shares": sum(map(is_share, frozen)) / len(frozen),
        "shares_afterwards": sum(map(is_share, again)) / len(again),
        "held": sum(p.to_local().numel() for p in frozen) / sum(p.numel() for p in frozen),
    }


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    results = {name: found(name, folder) for name in ZOO}
    if dist.get_rank() == 0:
        (folder / "found.json").write_text(json.dumps(results))
    dist.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
