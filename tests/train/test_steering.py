from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import TrainerControl

from sekisho.train import fit as room
from sekisho.train.fit import fit
from sekisho.train.recipe import Watch
from sekisho.train.steering import GradientNoise, LateMean, RefuseWatch, set_aside

from .conftest import requests, tiny_finetune

NANO = Path(__file__).parents[2] / "models" / "nano"


def state(step: int, steps: int = 100) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, max_steps=steps)


def noise(step: int, seed: int = 1, decay: float = 0.0) -> torch.Tensor:
    model = nn.Linear(200, 200)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    GradientNoise(0.5, decay, seed).on_pre_optimizer_step(None, state(step), None, model=model)
    return model.weight.grad


def test_noise_has_its_size_fades_and_is_the_same_for_a_seed_and_step() -> None:
    assert noise(3).std().item() == pytest.approx(0.5, rel=0.02)
    assert noise(99, decay=0.5).std().item() == pytest.approx(0.05, rel=0.02)
    assert torch.equal(noise(3), noise(3))
    assert not torch.equal(noise(3), noise(4))
    assert not torch.equal(noise(3), noise(3, seed=2))


def test_the_late_mean_is_the_mean_from_its_start_on_and_goes_through_a_checkpoint(tmp_path: Path) -> None:
    model, mean = nn.Linear(3, 1, bias=False), LateMean(0.75)
    for step in range(1, 101):
        model.weight.data.fill_(float(step))
        if step == 90:
            mean.save(tmp_path)
            mean = LateMean(0.75)
            mean.load(tmp_path)
        mean.on_step_end(None, state(step), None, model=model)
    mean.finish(model)
    assert mean.count == 26
    assert model.weight.detach().flatten().tolist() == pytest.approx([sum(range(75, 101)) / 26] * 3)


def test_without_a_start_nothing_is_averaged() -> None:
    model, mean = nn.Linear(3, 1), LateMean(1.0)
    before = model.weight.detach().clone()
    mean.on_step_end(None, state(99), None, model=model)
    mean.finish(model)
    assert torch.equal(model.weight, before)


def test_falling_refusals_stop_the_run_and_bring_the_best_weights_back(tmp_path: Path) -> None:
    seen = iter([0.7, 0.9, 0.89, 0.6, 0.5, 0.88, 0.6, 0.6, 0.6])
    model, control = nn.Linear(2, 1), TrainerControl()
    watch = RefuseWatch(Watch(every=10, drop=0.05, patience=3), lambda: next(seen))
    for step in range(1, 101):
        model.weight.data.fill_(float(step))
        watch.on_step_end(None, state(step), control, model=model)
        if step == 70:
            watch.save(tmp_path)
            again = RefuseWatch(Watch(every=10, drop=0.05, patience=3), lambda: next(seen))
            again.load(tmp_path)
            assert (again.best, again.low) == (0.9, 1)
            watch = again
        if control.should_training_stop:
            break
    assert step == 90
    watch.finish(model)
    assert model.weight.detach().flatten().tolist() == [20.0, 20.0]


def test_rows_to_watch_are_whole_topics_and_always_the_same() -> None:
    rows = [e.model_copy(update={"group": f"topic {i // 4}"}) for i, e in enumerate(requests(400))]
    trained, watched = set_aside(rows, 0.1)
    assert {e.group for e in trained} & {e.group for e in watched} == set()
    assert 20 < len(watched) < 70
    assert set_aside(rows, 0.1) == (trained, watched)


def test_a_watched_run_stops_when_it_must(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measure is replaced by one that falls; everything else is the run's own."""
    falling = iter([0.9, 0.5, 0.5])
    monkeypatch.setattr(room, "refuse_recall", lambda *_: next(falling))
    recipe = tiny_finetune(watch=Watch(every=2, share=0.2, patience=2))
    steps: list[float] = []
    fit(recipe, base, requests(60), tmp_path, lambda d: steps.append(d["step"]))
    assert steps[-1] == 6


def test_refuse_recall_counts_what_is_not_allowed_and_leaves_the_mode(base: Path) -> None:
    model, tokenizer = room.load_base(base)
    model.train()
    found = room.refuse_recall(model, tokenizer, requests(30))
    assert 0 <= found <= 1
    assert model.training


@pytest.mark.parametrize("held", ["int8", "nf4"])
def test_rounded_bases_train_lower_the_loss_and_stay_within_the_plan(tmp_path: Path, held: str) -> None:
    """On the base that ships: a random one has no output head to speak of."""
    logs: list[dict[str, float]] = []
    recipe = tiny_finetune(
        base_type=held, steps=20, checkpointing=held == "nf4", language_weight=0.1, lora={"r": 8, "alpha": 16}
    )
    fit(recipe, NANO, requests(60), tmp_path, logs.append)
    losses = [d["decision"] for d in logs if "decision" in d]
    assert losses[-1] < losses[0] - 0.05
    assert {"language", "pet", "lambda", "tokens_per_second", "grad_norm", "learning_rate"} <= logs[0].keys()
    memory = json.loads((tmp_path / "memory.json").read_bytes())
    assert memory["planned"]["total"] > memory["planned"]["runtime"] > 0
    assert list((tmp_path / "board").glob("events*"))
