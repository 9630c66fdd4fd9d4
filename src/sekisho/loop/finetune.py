"""Finetune: gathered data and experts' corrections in, an adapter on the shelf out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.canonical import digest_json, digest_text, model_digest
from ..core.errors import DataError
from ..core.gate_prompt import DEFAULT_CONTRACT, gate_state, lang_of
from ..core.progress import Progress, Quiet
from ..core.question import Example, Frozen, gate_question
from ..core.records import Correction
from ..data import format as gateset
from ..data.split import split_of
from ..ledger import views
from ..shelf import write_json
from ..tasks.scope import fit_scope
from ..train import fit as room
from ..train.recipe import Finetune, find_recipe, read_recipe, recipe_digest
from ..weights.adapter import save_adapter
from .gather import data_folder
from .parts import Parts


class Candidate(Frozen):
    """A trained adapter, not yet proved.

    Attributes:
        adapter, base, recipe, data: tagged digests.
        folder: the adapter on the shelf.
        run: folder with recipe, curves and checkpoints.
        corrections: ids of the corrections that were trained on.
    """

    adapter: str
    base: str
    recipe: str
    data: str
    folder: str
    run: str
    corrections: tuple[str, ...]


def finetune(parts: Parts, recipe: str | None = None, progress: Progress | None = None) -> Candidate:
    """Train an adapter from the training split and from corrections that fall into it. A stopped run goes on.

    Raises:
        DataError: when nothing was gathered yet.
        RecipeError, ShelfError, TrainingError: naming what is wrong.
    """
    settings, told = parts.settings, progress or Quiet()
    chosen = read_recipe(find_recipe(recipe or settings.recipe, settings.share), Finetune)
    base = base_folder(parts)
    training = training_examples(parts)
    corrected = correction_examples(parts, "train")
    examples = training + corrected
    made = {
        "base": model_digest(base),
        "recipe": recipe_digest(chosen),
        "data": data_digest(examples),
    }
    run = settings.home / "runs" / f"{chosen.name}-{digest_json(made)[7:19]}"
    write_json(run / "recipe.json", {"recipe": chosen.model_dump(mode="json"), **made})
    model, _ = room.fit(chosen, base, examples, run, _Curve(told, run))
    folder, adapter = _shelve(parts, model, made, examples)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    corrections = tuple(str(e.meta["correction"]) for e in corrected)
    candidate = Candidate(adapter=adapter, folder=str(folder), run=str(run), corrections=corrections, **made)
    write_json(run / "candidate.json", candidate.model_dump())
    return candidate


def _shelve(parts: Parts, model: Any, made: dict[str, str], seen: Sequence[Example]) -> tuple[Path, str]:
    """Put the adapter on the shelf, with the scope of what it has seen beside its weights."""
    calibration = [e.meta["text"] for e in read_split(parts, "calibration")]
    scope = fit_scope((str(e.meta["text"]) for e in seen), [str(t) for t in calibration])
    with parts.shelf.building("adapters") as folder:
        save_adapter(model, folder, base=made["base"], recipe=made["recipe"])
        write_json(folder / "scope.json", scope.model_dump())
        write_json(folder / "made.json", made)
        digest = parts.shelf.keep("adapters", folder)
    return parts.shelf.path("adapters", digest), digest


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


def correction_examples(parts: Parts, split: str) -> list[Example]:
    """The gate's corrections that belong to a split, the latest word on each text; erased texts are left out.

    A corrected text's split is decided by its own digest, so a correction that proves a model was never trained on.
    """
    latest: dict[str, Example] = {}
    for correction in views.corrections_for(parts.ledger, "gate"):
        content = parts.ledger.content(correction.content) if correction.content else None
        for text in _texts(content):
            latest[text] = _example(correction, text, str((content or {}).get("contract", DEFAULT_CONTRACT)))
    return [e for e in latest.values() if split_of(e.group) == split]


def _texts(content: object) -> list[str]:
    """The text a correction is about. A conversation of several texts is left out: its label is of the whole."""
    if not isinstance(content, dict):
        return []
    texts = content.get("requests") or [content.get("state")]
    return [t for t in texts if isinstance(t, str)] if len(texts) == 1 else []


def _example(correction: Correction, text: str, contract: str) -> Example:
    lang = lang_of(text)
    return Example(
        id=digest_text(f"correction:{text}"),
        state=gate_state(text, lang, contract),
        question=gate_question(),
        label=correction.label,
        group=digest_text(text),
        meta={
            "text": text,
            "lang": lang,
            "domain": contract,
            "source": "corrections",
            "correction": correction.id,
        },
    )


class _Curve:
    """Shows progress and keeps the loss curve beside the run."""

    def __init__(self, progress: Progress, run: Path) -> None:
        self._progress, self._run = progress, run
        self._points: list[dict[str, float]] = []

    def __call__(self, numbers: dict[str, float]) -> None:
        self._points.append(numbers)
        note = f"loss {numbers['loss']:.3f}" if "loss" in numbers else ""
        self._progress.step("finetune", int(numbers["step"]), int(numbers["steps"]), note)
        write_json(self._run / "curve.json", self._points)
