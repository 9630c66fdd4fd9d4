"""The eye's training: it learns what can be seen, and a stopped run goes on where it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sekisho.core.errors import TrainingError
from sekisho.data.forms.shards import Shard
from sekisho.serve.eyes import packed, prompt
from sekisho.train import eyes
from sekisho.train.eyes import fit
from sekisho.train.eyes_model import EyesRecipe, Sight, begun, new_model
from sekisho.train.eyes_tokens import SPECIAL, train_tokenizer

QUESTIONS = ["Is the upper half dark?", "Is the page red?"]
SHAPE = Sight(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=96,
    layers=1,
    heads=2,
    vision_size=64,
    vision_layers=1,
    vision_heads=2,
)
RECIPE = EyesRecipe(
    name="t",
    forms=64,
    calibration=8,
    shape=SHAPE,
    epochs=12,
    batch=8,
    learning_rate=3e-3,
    evidence=5.0,
    threads=1,
    bf16=False,
    checkpoint_seconds=0.01,
)


def shard(count: int = 64, seed: int = 0) -> Shard:
    """Small pages of which some are dark above and some are red."""
    draw = np.random.default_rng(seed)
    answers = draw.integers(0, 2, (count, 2), dtype=np.uint8)
    pixels = draw.integers(200, 256, (count, 64, 64, 3), dtype=np.uint8)
    evidence = np.zeros((count, 4, 2), np.uint8)
    for n in range(count):
        if answers[n, 0]:
            pixels[n, :32] //= 4
            evidence[n, :2, 0] = 1
        if answers[n, 1]:
            pixels[n, ..., 1:] //= 3
            evidence[n, :, 1] = 1
    return Shard(pixels.reshape(count, -1), np.full((count, 2), 64, np.int32), answers, evidence)


def prepared(seed: int = 1):
    tokenizer = train_tokenizer(QUESTIONS, SHAPE.vocab_size)
    model = new_model(SHAPE, {t: tokenizer.token_to_id(t) for t in SPECIAL}, seed)
    branches, form = prompt.packed(tokenizer, QUESTIONS), prompt.form_of(tokenizer)

    def forward(model, pixels, grids):
        return packed.answers(model, pixels, grids, branches, form)

    return model, forward, [branches.ids[e] for e in branches.ends]


def quiet(step, steps, loss):
    """Nobody listens."""


def right(model, forward, rows: Shard) -> float:
    from sekisho.loop.eyes import odds

    return float(((odds(model, [rows], forward, len(rows.answers)) > 0) == rows.answers).mean())


def test_it_learns_what_can_be_seen(tmp_path):
    model, forward, ends = prepared()
    fit(RECIPE, model, [shard()], (forward, ends), tmp_path, quiet)
    assert right(model, forward, shard(40, seed=9)) > 0.95


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    recipe = RECIPE.model_copy(update={"epochs": 2.0})
    whole, forward, ends = prepared()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    fit(recipe, whole, [shard()], (forward, ends), tmp_path / "a", quiet)

    def stop(step, steps, loss):
        if step == 9:
            raise KeyboardInterrupt

    stopped, forward, ends = prepared()
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, stopped, [shard()], (forward, ends), tmp_path / "b", stop)
    again, forward, ends = prepared(seed=2)
    heard = []
    fit(recipe, again, [shard()], (forward, ends), tmp_path / "b", lambda step, *_: heard.append(step))
    assert heard[0] > 1
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_clock_ends_a_run_and_the_rate_falls_with_it(tmp_path):
    model, forward, ends = prepared()
    heard = []
    fit(
        RECIPE.model_copy(update={"minutes": 0.005, "epochs": 1000.0}),
        model,
        [shard()],
        (forward, ends),
        tmp_path,
        lambda step, *_: heard.append(step),
    )
    assert 1 <= len(heard) < 8000
    assert eyes._rate(1.0, 0.05) == pytest.approx(0.02)
    assert eyes._rate(0.05, 0.05) == pytest.approx(1.0)
    assert all(0 < eyes._rate(d / 100, 0.05) <= 1 for d in range(101))


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    model, forward, ends = prepared()

    def broken(model, pixels, grids):
        logits, seen = forward(model, pixels, grids)
        return logits * math.nan, seen

    with pytest.raises(TrainingError, match="not a number"):
        fit(RECIPE, model, [shard()], (broken, ends), tmp_path, quiet)


def kept(folder, seed: int = 1):
    """A model with its tokenizer in a folder, as a run leaves it."""
    tokenizer = train_tokenizer(QUESTIONS, SHAPE.vocab_size)
    model = new_model(SHAPE, {t: tokenizer.token_to_id(t) for t in SPECIAL}, seed)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model, tokenizer


def test_learning_begins_with_the_weights_it_is_told(tmp_path):
    model, tokenizer = kept(tmp_path / "begun", seed=5)
    recipe = RECIPE.model_copy(update={"start": "begun"})
    for a, b in zip(model.parameters(), begun(recipe, tokenizer, tmp_path).parameters(), strict=True):
        assert torch.equal(a, b)
    fresh = begun(RECIPE, tokenizer, tmp_path)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


def test_weights_of_another_shape_or_for_other_questions_are_refused(tmp_path):
    kept(tmp_path / "begun")
    recipe = RECIPE.model_copy(update={"start": "begun"})
    other = train_tokenizer(["Is it blue?"], SHAPE.vocab_size)
    with pytest.raises(TrainingError, match="other questions"):
        begun(recipe, other, tmp_path)
    wide = recipe.model_copy(update={"shape": SHAPE.model_copy(update={"layers": 2})})
    with pytest.raises(TrainingError, match="another shape"):
        begun(wide, train_tokenizer(QUESTIONS, SHAPE.vocab_size), tmp_path)
    with pytest.raises(TrainingError, match="No model"):
        begun(recipe.model_copy(update={"start": "absent"}), other, tmp_path)
