"""One of several processes that train together: `torchrun -m tests.train.worker BASE OUT PROCESSES-FREE-JSON DIE-AT`.

Writes the loss of every step, what each process held of the base's weights (`held-RANK.json`: its own numbers, all there are), and the adapter.
At the end of optimiser step DIE-AT, if it is not 0, every process kills itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from tests.train.conftest import requests, tiny_finetune
from transformers import TrainerCallback

from sekisho.core.canonical import model_digest
from sekisho.train import fit as room
from sekisho.weights.adapter import save_adapter


class Death(TrainerCallback):
    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args, state, control, **_) -> None:
        if state.global_step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(base: Path, out: Path, changes: str, die_at: int) -> None:
    arguments, steering = room.arguments, room._steering
    room._steering = lambda *given: [Death(die_at), *steering(*given)]

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
    rank = os.environ.get("RANK", "0")
    (out / f"held-{rank}.json").write_text(json.dumps(held(model)))
    if rank == "0":
        save_adapter(model, out / "adapter", model_digest(base), "sha256:0")
        weights = {
            n: p.detach().double().sum().item() for n, p in model.named_parameters() if p.requires_grad
        }
        (out / "losses.json").write_text(json.dumps({"losses": losses, "weights": weights}))


def held(model) -> dict[str, tuple[int, int]]:
    """Numbers of every frozen weight: those in this process, and all."""
    frozen = {n: p for n, p in model.named_parameters() if not p.requires_grad}
    return {n: (getattr(p, "_local_tensor", p).numel(), p.numel()) for n, p in frozen.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
