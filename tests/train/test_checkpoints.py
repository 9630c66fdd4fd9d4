from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from sekisho.core.errors import TrainingError
from sekisho.train import fit as room
from sekisho.train.checkpoints import mark_whole, newest_checkpoint
from sekisho.train.fit import fit
from sekisho.train.recipe import Lora

from .conftest import requests, tiny_finetune


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir()
    for name in (
        "trainer_state.json",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trained.safetensors",
    ):
        (made / name).write_text(f"{name} at {step}")
    return made


BREAKS: dict[str, Callable[[Path], object]] = {
    "cut": lambda p: os.truncate(p / "optimizer.pt", 3),
    "empty": lambda p: os.truncate(p / "trained.safetensors", 0),
    "missing": lambda p: (p / "trained.safetensors").unlink(),
    "altered": lambda p: (p / "optimizer.pt").write_text("optimizer.pt at 99"),
    "unmarked": lambda p: (p / "whole.json").unlink(),
    "cut mark": lambda p: os.truncate(p / "whole.json", 5),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_checkpoint_is_passed_over_with_a_message(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (10, 20):
        mark_whole(checkpoint(tmp_path, step))
    assert newest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")
    assert caplog.messages == []
    BREAKS[how](tmp_path / "checkpoint-20")
    assert newest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    (message,) = caplog.messages
    assert "checkpoint-20 is not whole" in message


def test_a_checkpoint_that_was_never_finished_is_passed_over(tmp_path: Path) -> None:
    checkpoint(tmp_path, 10)
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "nothing") is None


def trained(model: object) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("number", "at"), [(signal.SIGTERM, 5), (signal.SIGINT, 10)])
def test_a_signal_saves_stops_and_the_run_goes_on_bit_for_bit(
    base: Path, tmp_path: Path, number: signal.Signals, at: int
) -> None:
    """In the first epoch and in the second, where the order of rows must be the second epoch's; with dropout and every steering."""
    lora = Lora(r=4, alpha=8, dropout=0.2)
    recipe = tiny_finetune(epochs=2, lora=lora, gradient_noise=0.01, swa_start=0.4, mixed_batches=True)
    rows = requests(60)
    before = signal.getsignal(number)

    class Interrupt(TrainerCallback):
        def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
            if state.global_step == at:  # type: ignore[attr-defined]
                signal.raise_signal(number)

    with pytest.MonkeyPatch.context() as patch:
        steering = room._steering
        patch.setattr(room, "_steering", lambda *a: [Interrupt(), *steering(*a)])
        with pytest.raises(TrainingError, match=rf"{number.name} stopped the training at step {at} of 16"):
            fit(recipe, base, rows, tmp_path / "run", lambda _: None)
    assert signal.getsignal(number) is before
    assert newest_checkpoint(tmp_path / "run" / "checkpoints") is not None
    resumed, _ = fit(recipe, base, rows, tmp_path / "run", lambda _: None)
    straight, _ = fit(recipe, base, rows, tmp_path / "straight", lambda _: None)
    wanted = trained(straight)
    assert len(wanted) > 0
    assert all(torch.equal(t, wanted[n]) for n, t in trained(resumed).items())


def test_the_trainer_leaves_whole_checkpoints_and_goes_on_from_them(base: Path, tmp_path: Path) -> None:
    recipe = tiny_finetune(epochs=2, checkpoint_seconds=0.01)
    fit(recipe, base, requests(60), tmp_path, lambda _: None)
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    last = int(newest.rpartition("-")[2])
    BREAKS["cut"](Path(newest))
    steps: list[float] = []
    fit(recipe, base, requests(60), tmp_path, lambda d: steps.append(d["step"]))
    assert steps[-1] == last, "it went on from the checkpoint before, and ended where it had ended"
    assert newest_checkpoint(tmp_path / "checkpoints") == newest
