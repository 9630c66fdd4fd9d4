"""Eyes: rendered forms in, a small vision model that answers a rubric's checks out, calibrated and measured on forms of another make."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.canonical import digest_file, digest_json
from ..core.disk import write_whole
from ..core.errors import TrainingError
from ..core.progress import Progress, Quiet
from ..data.forms.shards import Shard, render
from ..data.pixels import patches
from ..proof.platt import fit as fit_platt
from ..proof.platt import sigmoid
from ..proof.rubric import RubricMeasures, measure
from ..shelf import write_json
from ..tasks.rubric.lint import read_pack
from ..tasks.rubric.pack import Pack
from ..tasks.rubric.patterns import Scorer
from ..train.recipe import find_recipe, read_recipe, recipe_digest
from .eyes_card import EyesResult, card
from .making import making
from .parts import Parts

HELD = 500
"""Forms of another make that the figures come from."""
_CALIBRATION = 1_000_000
"""Number of the first form that temperatures are fitted on; no form that is learnt from has so high a number."""
Floats = NDArray[np.float64]


@making
def train_eyes(
    parts: Parts, recipe: str, out: Path | None = None, progress: Progress | None = None
) -> EyesResult:
    """Train a vision model for a rubric. A stopped run goes on where it was.

    Args:
        recipe: a path, or a name under `share`/recipes.
        out: run folder; by default one under `home`/runs named by the recipe.

    Raises:
        TrainingError: when `out` holds a run of another recipe, `start` is no model of its shape, or the loss is not a number.
        ToolError: when a font is missing, naming the package.
    """
    from ..serve.eyes import packed, prompt
    from ..train import eyes as room
    from ..train.eyes_model import EyesRecipe, begun
    from ..train.eyes_tokens import train_tokenizer

    told = progress or Quiet()
    chosen = read_recipe(find_recipe(recipe, parts.settings.share), EyesRecipe)
    pack = read_pack(chosen.pack, parts.settings.share)
    start = _start(parts, chosen)
    run = _run_folder(parts, chosen, pack, out, start)
    questions = [c.question.en for c in pack.criteria]
    tokenizer = train_tokenizer(questions, chosen.shape.vocab_size)
    model = begun(chosen, tokenizer, parts.settings.share)
    shards = _rendered(run, chosen, pack, told)
    branches, form = prompt.packed(tokenizer, questions), prompt.form_of(tokenizer)

    def forward(model: Any, pixels: Any, grids: Any) -> Any:
        return packed.answers(model, pixels, grids, branches, form)

    room.fit(
        chosen,
        model,
        shards["train"],
        (forward, [branches.ids[e] for e in branches.ends]),
        run,
        lambda done, of, loss: told.step("learn", done, of, f"loss {loss:.4f}"),
    )
    folder = _saved(run / "model", model, tokenizer, pack)
    return _figures(folder, chosen, pack, shards, lambda s, n: odds(model, s, forward, n), told, **start)


def _run_folder(parts: Parts, recipe: Any, pack: Pack, out: Path | None, start: dict[str, str]) -> Path:
    key = digest_json({"recipe": recipe_digest(recipe), "pack": pack.digest(), **start})
    run = out or parts.settings.home / "runs" / f"{recipe.name}-{key[7:19]}"
    mark = run / "run.json"
    if mark.is_file() and json.loads(mark.read_bytes())["key"] != key:
        raise TrainingError(f"{run} holds a run of another recipe or rubric.", "Give another --out.")
    run.mkdir(parents=True, exist_ok=True)
    write_json(mark, {"key": key, "recipe": recipe.model_dump(mode="json")})
    return run


def _start(parts: Parts, recipe: Any) -> dict[str, str]:
    """The weights that learning begins with, which may be others another time."""
    weights = parts.settings.share / recipe.start / "model.safetensors"
    return {"start": digest_file(weights)} if recipe.start and weights.is_file() else {}


def _rendered(run: Path, recipe: Any, pack: Pack, told: Progress) -> dict[str, list[Shard]]:
    """Forms to learn from, to fit temperatures on, and to measure on."""
    folder, ids = run / "forms", pack.ids

    def shown(done: int, of: int) -> None:
        told.step("render", done, of)

    return {
        "train": render(folder, recipe.forms, "train", ids, recipe.first, shown)
        + render(folder, recipe.crowded, "train", ids, recipe.first, shown, crowded=True),
        "calibration": render(folder, recipe.calibration, "train", ids, _CALIBRATION),
        "held": render(folder, HELD, "held", ids),
    }


def odds(model: Any, shards: Sequence[Shard], forward: Any, count: int) -> Floats:
    """Log-odds of yes `[forms, criteria]` for the first `count` forms."""
    import torch

    rows = []
    with torch.inference_mode():
        for shard, place in [(s, i) for s in shards for i in range(len(s.answers))][:count]:
            flat, (high, wide) = patches(shard.picture(place))
            logits, _ = forward(model, torch.from_numpy(flat), torch.tensor([[1, high, wide]]))
            rows.append((logits[0, :, 0] - logits[0, :, 1]).double().numpy())
    return np.stack(rows)


def _saved(folder: Path, model: Any, tokenizer: Any, pack: Pack) -> Path:
    """Write the model folder: weights in bfloat16, which is what is then measured."""
    import torch

    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    model.to(torch.float32)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "made.json", {"pack": pack.name, "pack_digest": pack.digest(), "criteria": list(pack.ids)}
    )
    return folder


def _figures(
    folder: Path,
    recipe: Any,
    pack: Pack,
    shards: dict[str, list[Shard]],
    look: Any,
    told: Progress,
    start: str = "",
) -> EyesResult:
    told.step("measure", 0, 2)
    fitted = look(shards["calibration"], recipe.calibration)
    truth = np.concatenate([s.answers for s in shards["calibration"]])[: recipe.calibration].astype(float)
    scales = [fit_platt(fitted[:, i], truth[:, i]) for i in range(len(pack.ids))]
    write_json(
        folder / "calibration.json",
        {"forms": recipe.calibration, "criteria": dict(zip(pack.ids, scales, strict=True))},
    )
    told.step("measure", 1, 2)
    held = look(shards["held"], HELD)
    answers = np.concatenate([s.answers for s in shards["held"]])[:HELD].astype(float)
    figures = judged(pack, sigmoid(held * [a for a, _ in scales] + [b for _, b in scales]), answers)
    result = EyesResult(
        folder=str(folder),
        weights=digest_file(folder / "model.safetensors"),
        recipe=recipe_digest(recipe),
        start=start,
        figures=figures,
    )
    write_json(folder / "figures.json", result.model_dump(mode="json", exclude={"folder"}))
    write_whole(folder / "README.md", card(recipe, pack, folder, result).encode())
    told.step("measure", 2, 2)
    return result


def judged(pack: Pack, probabilities: Floats, answers: Floats) -> RubricMeasures:
    """Figures of calibrated probabilities `[images, criteria]` against answers of the same shape; outcomes by the scorer, for both."""
    scorer = Scorer(pack)
    right = 0
    for p, a in zip(probabilities.tolist(), answers.astype(int).tolist(), strict=True):
        said = scorer.score(scorer.bits_of(dict(zip(pack.ids, p, strict=True))), "seed")
        right += (
            said.pattern == scorer.score(scorer.bits(dict(zip(pack.ids, a, strict=True))), "seed").pattern
        )
    thresholds = np.array([c.threshold for c in pack.criteria])
    return measure(pack.ids, probabilities, answers, thresholds, right / len(answers))
