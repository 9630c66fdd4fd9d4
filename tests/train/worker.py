"""One of several processes that train together: `torchrun tests/train/worker.py BASE OUT PROCESSES-FREE-JSON`; writes the loss of every step."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.train.conftest import requests, tiny_finetune

from sekisho.train import fit as room


def main(base: Path, out: Path, changes: str) -> None:
    arguments = room.arguments

    def every_step(*given):
        made = arguments(*given)
        made.logging_steps = 1
        return made

    room.arguments = every_step
    losses: list[float] = []
    recipe = tiny_finetune(**json.loads(changes))
    model, _ = room.fit(
        recipe, base, requests(75), out, lambda d: losses.append(d["loss"]) if "loss" in d else None
    )
    if os.environ.get("RANK", "0") == "0":
        weights = {
            n: p.detach().double().sum().item() for n, p in model.named_parameters() if p.requires_grad
        }
        (out / "losses.json").write_text(json.dumps({"losses": losses, "weights": weights}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
