"""A training that is killed again and again: `python -m tests.train.lives BASE FOLDER KILLS SEED`; prints what came of it as JSON.

Every life is a fork of this process, so that torch is imported once. A life begins to train, and at a random moment after that it gets SIGKILL: between steps, within one, while a checkpoint is being written.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from sekisho.core.canonical import folder_digest
from sekisho.train import fit as room
from sekisho.train.recipe import Lora
from sekisho.weights.adapter import save_adapter

from .conftest import requests, tiny_finetune

LORA = Lora(r=4, alpha=8, dropout=0.1)


def live(base: Path, folder: Path, kills: int) -> None:
    """Train to the end and keep the adapter; everything that draws or remembers is on."""
    recipe = tiny_finetune(
        steps=60 + 30 * kills, lora=LORA, checkpoint_seconds=0.15, gradient_noise=0.01, noise_decay=0.3,
        swa_start=0.7, accumulation=2, keep=3,
    )  # fmt: skip
    begun = folder / "begun"
    model, _ = room.fit(recipe, base, requests(100), folder, lambda _: begun.touch())
    save_adapter(model, folder / "adapter", base="sha256:b", recipe="sha256:r")


def killed(base: Path, folder: Path, kills: int, pause: float) -> bool:
    """One life; return whether it was killed before it was done."""
    (folder / "begun").unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        live(base, folder, kills)
        os._exit(0)
    while not (folder / "begun").exists() and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    time.sleep(pause)
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        return False
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main(base: Path, folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    for name in ("straight", "killed"):
        (folder / name).mkdir(parents=True)
    live(base, folder / "straight", kills)
    done = sum(killed(base, folder / "killed", kills, 0.6 * rng.random()) for _ in range(kills))
    if not (folder / "killed" / "adapter").exists():
        live(base, folder / "killed", kills)
    same = folder_digest(folder / "killed" / "adapter") == folder_digest(folder / "straight" / "adapter")
    print(json.dumps({"kills": done, "same": same}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
