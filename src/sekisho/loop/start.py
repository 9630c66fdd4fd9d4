"""What a base begins with when it goes on from another: checked whole before anything is learnt or written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.errors import RecipeError, ShelfError
from ..train.recipe import Pretrain
from .parts import Parts

OWN_SOURCES = ("authored", "wordings")
"""Gate sources a base may learn from: the project's own. A real one could not be left out of a proof any more."""
MADE = "made.json"


def start_folder(parts: Parts, recipe: Pretrain) -> Path | None:
    """The base whose weights a recipe goes on from; None when it begins with text. Raises RecipeError when there is none."""
    if not recipe.start:
        return None
    folder: Path = parts.settings.share / recipe.start
    try:
        there = (folder / "config.json").is_file()
    except (OSError, ValueError):  # a name that is too long, or holds what no name may
        there = False
    if there:
        return folder
    raise RecipeError(f"start: {recipe.start} holds no model.", "Name a model folder, as models/nano.")


def require_course(recipe: Pretrain) -> None:
    """Refuse a recipe that goes on from a base and learns nothing, or names rows that a base must not learn from. Raises RecipeError."""
    strange = sorted(set(recipe.decisions.sources) - set(OWN_SOURCES))
    if strange:
        raise RecipeError(
            f"decisions.sources: a base does not learn from {', '.join(strange)}.",
            f"It learns from the project's own requests alone: {', '.join(OWN_SOURCES)}.",
        )
    learns = (recipe.decisions.epochs or recipe.teaching.rows) and any(recipe.decisions.sources.values())
    if recipe.blend < 1 and not recipe.start:
        raise RecipeError("blend: there is no `start` to blend with.", "Name a base, or leave blend out.")
    if recipe.start and not learns:
        raise RecipeError(
            "A recipe with `start` learns nothing.",
            "Set decisions.epochs or teaching.rows, and how often decisions.sources are seen.",
        )


def require_start(folder: Path) -> None:
    """Load a base to go on from, once, with all that is read of it later.

    Raises:
        RecipeError: naming what is missing or cannot be read.
    """
    from ..train.fit import load_base

    learnt_sources(folder)
    if _json(folder / "config.json").get("model_type") != "phi3":
        raise RecipeError(f"start: {folder} is no Phi-3 model.", "Go on from one that `pretrain` made.")
    try:
        card_text(folder)
    except UnicodeDecodeError as e:
        raise RecipeError(f"start: {folder}/README.md is not UTF-8.", "Mend it, or take it away.") from e
    try:
        load_base(folder)
    except ShelfError as e:
        raise RecipeError(f"start: {e.what}", "Copy the model folder again.") from e


def require_apart(start: Path, run: Path) -> None:
    """Refuse a run that would write into the base it goes on from. Raises RecipeError."""
    if start.resolve() in (run.resolve(), (run / "model").resolve()):
        raise RecipeError(f"start: {start} is where this run would write.", "Give another --out.")


def learnt_sources(folder: Path) -> list[str]:
    """Gate sources that a base has learnt from. Raises RecipeError when its `made.json` does not say."""
    found = _json(folder / MADE).get("gate_sources")
    if not isinstance(found, list) or not all(isinstance(s, str) for s in found):
        raise RecipeError(
            f"start: {folder / MADE} names no gate sources.",
            'Write {"gate_sources": []} there, with the names of those it has learnt from.',
        )
    return found


def card_text(folder: Path) -> str:
    """The model card of a base; empty when it has none."""
    card = folder / "README.md"
    return card.read_text(encoding="utf-8") if card.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        raise RecipeError(f"start: {path} cannot be read: {e}.", "Copy the model folder again.") from e
    if not isinstance(found, dict):
        raise RecipeError(f"start: {path} is no JSON object.", "Copy the model folder again.")
    return found
