"""Eyes from nothing: a small Qwen2-VL model learns the checks of a rubric from rendered forms.

Beside the answers, the tokens of the vision tower learn to resemble the questions whose evidence they show, and their pooled values learn the answers too. These
helpers are thrown away; a vision transformer that is told nothing but yes and no learns little in so small a course.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import TrainingError
from ..data.forms.shards import Shard
from ..data.pixels import patches
from .eyes_helpers import Helpers
from .eyes_model import EyesRecipe
from .memory import kept_memory

Forward = Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Model, patches and grids in; logits `[images, criteria, 2]` and vision tokens `[images, tokens, width]` out."""


def batches(
    shards: Sequence[Shard], recipe: EyesRecipe, step: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Patches, grids, answers and evidence of one batch after another, from optimiser step `step` on; the order depends on the seed alone."""
    counts = [len(s.answers) for s in shards]
    total = sum(counts)
    places = [(i, j) for i, n in enumerate(counts) for j in range(n)]
    per_epoch = total // recipe.batch
    while True:
        epoch, within = divmod(step, per_epoch)
        order = np.random.default_rng([recipe.seed, epoch]).permutation(total)
        chosen = [places[k] for k in order[within * recipe.batch : (within + 1) * recipe.batch]]
        yield _stacked(shards, chosen, np.random.default_rng([recipe.seed, 1, step]), moved=epoch > 0)
        step += 1


def _stacked(
    shards: Sequence[Shard], chosen: Sequence[tuple[int, int]], rng: Any, moved: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    pixels, grids, answers, evidence = [], [], [], []
    for i, j in chosen:
        image = shards[i].picture(j)
        if moved:
            image = np.roll(image, tuple(rng.integers(-6, 7, 2)), (0, 1))
        flat, grid = patches(image)
        pixels.append(flat)
        grids.append((1, *grid))
        answers.append(shards[i].answers[j])
        evidence.append(shards[i].evidence[j])
    return (
        torch.from_numpy(np.concatenate(pixels)),
        torch.tensor(grids),
        torch.from_numpy(np.stack(answers).astype(np.float32)),
        torch.from_numpy(np.stack(evidence).astype(np.float32)),
    )


def loss_of(logits: Tensor, answers: Tensor) -> Tensor:
    """Mean cross entropy of yes against no. `logits` `[images, criteria, 2]`, yes first."""
    return functional.binary_cross_entropy_with_logits(logits[..., 0] - logits[..., 1], answers)


@kept_memory()
def fit(
    recipe: EyesRecipe,
    model: Any,
    shards: Sequence[Shard],
    asking: tuple[Forward, Sequence[int]],
    run: Path,
    told: Callable[[int, int, float], None],
) -> Any:
    """Train a model; a stopped run goes on from its last checkpoint.

    Args:
        asking: the pass that answers all questions, and the last token of each of them.
        told: hears of every step: which, of how many, and the mean loss of the answers.

    Raises:
        TrainingError: when the loss is not a number.
    """
    torch.set_num_threads(recipe.threads)
    criteria = shards[0].answers.shape[1]
    helpers = Helpers(model.config.text_config.hidden_size, shards[0].evidence.shape[2] - criteria, criteria)
    both = nn.ModuleDict({"model": model, "helpers": helpers}).train()
    _as_product(model.model.visual.patch_embed)
    optimiser = torch.optim.AdamW(
        _groups(both, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98)
    )
    steps = int(recipe.epochs * sum(len(s.answers) for s in shards) // recipe.batch)
    start, spent = _resumed(run, both, optimiser)
    begun, saved, mean = time.monotonic() - spent, time.monotonic(), 0.0
    for step, batch in zip(range(start, steps), batches(shards, recipe, start), strict=False):
        done = _done(recipe, step / steps, time.monotonic() - begun)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _rate(done, recipe.warmup)
        loss = _step(recipe, both, optimiser, asking, batch)
        mean = loss if not mean else 0.98 * mean + 0.02 * loss
        told(step + 1, steps, mean)
        if time.monotonic() - saved > recipe.checkpoint_seconds:
            _save(run, both, optimiser, step + 1, time.monotonic() - begun)
            saved = time.monotonic()
    _save(run, both, optimiser, steps, time.monotonic() - begun)
    return model.eval()


def _as_product(embed: Any) -> None:
    """Let patches be embedded by a matrix product: each is one step of its convolution, whose kernels are slow at that on a CPU."""
    weight = embed.proj.weight
    embed.forward = lambda patches: functional.linear(patches, weight.flatten(1))


def _done(recipe: EyesRecipe, share: float, seconds: float) -> float:
    """How far a run has come, 0 to 1: by steps or by the clock, whichever is further."""
    return max(share, seconds / (60 * recipe.minutes)) if recipe.minutes else share


def _step(
    recipe: EyesRecipe,
    both: nn.ModuleDict,
    optimiser: Any,
    asking: tuple[Forward, Sequence[int]],
    batch: tuple[Tensor, ...],
) -> float:
    pixels, grids, answers, evidence = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        model: Any = both["model"]
        logits, seen = asking[0](model, pixels, grids)
        asked = model.get_input_embeddings()(torch.tensor(asking[1]))
        where, pooled = both["helpers"](seen, asked)
    loss = main = loss_of(logits.float(), answers)
    loss = loss + recipe.evidence * functional.binary_cross_entropy_with_logits(
        where, evidence, pos_weight=_RARE
    )
    loss = loss + recipe.pooled * functional.binary_cross_entropy_with_logits(pooled.float(), answers)
    if not torch.isfinite(loss):
        raise TrainingError(
            "The loss is not a number.", "Lower learning_rate; the last checkpoint is intact."
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(both.parameters(), 1.0)
    optimiser.step()
    return float(main.detach())


def _groups(both: nn.ModuleDict, decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay, everything else without."""
    matrices = [p for p in both.parameters() if p.ndim > 1]
    rest = [p for p in both.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


def _rate(done: float, warmup: float) -> float:
    """Share of the learning rate when so much of a run is done: linear warm-up, then a cosine to a fiftieth."""
    if done < warmup:
        return max(done / warmup, 0.01)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


_RARE = torch.tensor(3.0)
"""Weight of a token that shows evidence: one in a hundred does."""
_CHECKPOINT = "checkpoint.pt"


def _save(run: Path, both: nn.ModuleDict, optimiser: Any, step: int, seconds: float) -> None:
    """Write a checkpoint; it takes the place of the one before only when it is whole."""
    partial = run / f"{_CHECKPOINT}.partial"
    state = {
        "weights": both.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    torch.save(state, partial)
    partial.replace(run / _CHECKPOINT)


def _resumed(run: Path, both: nn.ModuleDict, optimiser: Any) -> tuple[int, float]:
    """Take a run up again; returns the step to go on with, and the seconds spent."""
    if not (run / _CHECKPOINT).is_file():
        return 0, 0.0
    state = torch.load(run / _CHECKPOINT, weights_only=True)
    both.load_state_dict(state["weights"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), float(state["seconds"])
