"""Finetune: gathered data and experts' corrections in, an adapter on the shelf out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..core.canonical import digest_json, model_digest
from ..core.errors import DataError, ShelfError
from ..core.progress import Progress, Quiet
from ..core.question import Example, Frozen
from ..data import format as gateset
from ..data.corpus import read_corpus
from ..data.own import read_own
from ..shelf import write_json
from ..tasks.ngrams import NgramReader
from ..tasks.ngrams_fit import check_decisions, fit_ngrams
from ..tasks.scope import Scope, fit_scope
from ..tasks.sidecar import NGRAMS, SCOPE
from ..train import fit as room
from ..train.batches import encode
from ..train.board import plot, read_points
from ..train.documents import read_any
from ..train.recipe import Finetune, find_recipe, recipe_digest
from ..weights.adapter import save_adapter
from .corrections import Filed, filed
from .feasibility import require_feasible
from .gather import data_folder
from .making import making
from .memory import free_memory
from .parts import Parts


class Candidate(Frozen):
    """A trained adapter, not yet proved.

    Attributes:
        adapter, base, recipe, data: tagged digests.
        folder: the adapter on the shelf.
        run: folder with recipe, curves and checkpoints.
        corrections: ids of the corrections that were trained on.
        calibration, held_out: corrections that calibrate and prove instead.
        too_long: corrections over the recipe's `max_tokens`, not trained on.
        conversations: corrections of several texts at once, not trained on.
    """

    adapter: str
    base: str
    recipe: str
    data: str
    folder: str
    run: str
    corrections: tuple[str, ...]
    calibration: int = 0
    held_out: int = 0
    too_long: int = 0
    conversations: int = 0


@making
def finetune(parts: Parts, recipe: str | None = None, progress: Progress | None = None) -> Candidate:
    """Train an adapter from the training split and from corrections that fall into it. A stopped run goes on; a finished one is not repeated.

    Raises:
        DataError: when nothing was gathered yet.
        ProofError: when the calibration split is too small for any certificate.
        RecipeError, ShelfError, TrainingError: naming what is wrong.
    """
    settings, told = parts.settings, progress or Quiet()
    base = base_folder(parts)
    chosen = read_any(find_recipe(recipe or settings.recipe, settings.share), base)
    corrections = filed(parts)
    require_feasible(parts, [*read_split(parts, "calibration"), *corrections.splits["calibration"]])
    corrected = _short_enough(corrections.splits["train"], base, chosen)
    examples = training_examples(parts) + corrected
    made = {
        "base": model_digest(base),
        "recipe": recipe_digest(chosen),
        "data": data_digest(examples),
    }
    if chosen.ngrams.share:
        check_decisions(examples)
    run = settings.home / "runs" / f"{chosen.name}-{digest_json(made)[7:19]}"
    write_json(run / "recipe.json", {"recipe": chosen.model_dump(mode="json"), **made})
    shelved = _shelved(parts, run)
    if shelved is None:
        model, _ = room.fit(chosen, base, examples, run, _Curve(told, run), free_memory())
        shelved = _shelve(parts, model, made, examples, chosen)
    folder, adapter = shelved
    counts = _counts(corrections, corrected)
    candidate = Candidate(adapter=adapter, folder=str(folder), run=str(run), **counts, **made)
    write_json(run / "candidate.json", candidate.model_dump())
    plot(read_points(run / "curve.json"), run / "curves.svg")
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return candidate


def _shelved(parts: Parts, run: Path) -> tuple[Path, str] | None:
    """The adapter that this very run has made already, if it is on the shelf as it was; it counts as the newest again."""
    try:
        adapter = Candidate.model_validate_json((run / "candidate.json").read_bytes()).adapter
        folder = parts.shelf.get("adapters", adapter)
        parts.shelf.digest_of("adapters", folder)
    except (OSError, ValidationError, ShelfError):
        return None
    os.utime(folder)
    return folder, adapter


def _short_enough(examples: Sequence[Example], base: Path, recipe: Finetune) -> list[Example]:
    tokenizer = room.load_tokenizer(base)
    return [e for e in examples if len(encode(e, tokenizer)["input_ids"]) <= recipe.max_tokens]


def _counts(corrections: Filed, trained: Sequence[Example]) -> dict[str, Any]:
    """What became of the corrections, as fields of a Candidate."""
    splits = corrections.splits
    return {
        "corrections": tuple(str(e.meta["correction"]) for e in trained),
        "calibration": len(splits["calibration"]),
        "held_out": len(splits["holdout"]),
        "too_long": len(splits["train"]) - len(trained),
        "conversations": corrections.conversations,
    }


def _shelve(
    parts: Parts, model: Any, made: dict[str, str], seen: Sequence[Example], recipe: Finetune
) -> tuple[Path, str]:
    """Put the adapter on the shelf, with the scope of what it has seen and the reader of n-grams beside its weights."""
    scope, reader = scope_of(parts, seen, read_split(parts, "calibration")), reader_of(seen, recipe)
    with parts.shelf.building("adapters") as folder:
        save_adapter(model, folder, base=made["base"], recipe=made["recipe"], held=recipe.base_type)
        write_json(folder / SCOPE, scope.model_dump())
        if reader is not None:
            reader.save(folder / NGRAMS)
        write_json(folder / "made.json", made)
        digest = parts.shelf.keep("adapters", folder)
    return parts.shelf.path("adapters", digest), digest


def read_by_base(parts: Parts) -> Iterator[str]:
    """Texts like those the base has read, as far as that is known: of one that was made here, which has `made.json`, the bundled running text and the own requests in all their wordings."""
    data = parts.settings.share / "data"
    if (base_folder(parts) / "made.json").is_file():
        yield from (d.text for d in read_corpus(data) if not d.held_out())
        yield from (w.request.text for w in read_own(data))


def scope_of(parts: Parts, seen: Sequence[Example], calibration: Sequence[Example]) -> Scope:
    """The scope of what an adapter and its base have seen, its bound by calibration rows."""
    known = chain((str(e.meta["text"]) for e in seen), read_by_base(parts))
    return fit_scope(known, [str(e.meta["text"]) for e in calibration])


def reader_of(seen: Sequence[Example], recipe: Finetune) -> NgramReader | None:
    """The reader of n-grams that a recipe asks for; None when it asks for none."""
    asked = recipe.ngrams
    return fit_ngrams(seen, asked.share, asked.decay, recipe.correction_weight, recipe.seed)


def data_digest(examples: Sequence[Example]) -> str:
    """Digest of rows as a model learns them: id, state and label. A label that was overruled makes other data."""
    return digest_json([[e.id, e.state, e.label] for e in examples])


def base_folder(parts: Parts) -> Path:
    """The base model's folder: a path, or a name under `share`/models."""
    name = parts.settings.gate_model
    for folder in (Path(name), parts.settings.share / "models" / name):
        if (folder / "config.json").is_file():
            return folder
    raise DataError(f"There is no model {name!r}.", "Set `gate_model` to a model folder, or to nano.")


def read_split(parts: Parts, split: str) -> list[Example]:
    """The gathered examples of a split. Raises DataError when nothing was gathered."""
    return gateset.read_split(data_folder(parts), split)


def training_examples(parts: Parts) -> list[Example]:
    """The gathered training split."""
    return read_split(parts, "train")


class _Curve:
    """Shows progress and keeps the loss curve beside the run. A run that goes on goes on with its curve, from where it was resumed."""

    def __init__(self, progress: Progress, run: Path) -> None:
        self._progress = progress
        self._file = run / "curve.json"
        self._before = json.loads(self._file.read_bytes()) if self._file.is_file() else []
        self._points: list[dict[str, float]] = []

    def __call__(self, numbers: dict[str, float]) -> None:
        if not self._points:
            self._points = [p for p in self._before if p["step"] < numbers["step"]]
        self._points.append(numbers)
        note = f"loss {numbers['loss']:.3f}" if "loss" in numbers else ""
        self._progress.step("finetune", int(numbers["step"]), int(numbers["steps"]), note)
        write_json(self._file, self._points)
