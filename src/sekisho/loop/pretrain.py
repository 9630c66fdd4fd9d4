"""Pretrain: bundled text in, a base model with its figures out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.canonical import digest_file, digest_json, digest_text, model_digest
from ..core.disk import write_whole
from ..core.errors import RecipeError
from ..core.gate_prompt import LANGS
from ..core.progress import Progress, Quiet
from ..core.question import Example, Frozen
from ..data.corpus import Document, read_corpus
from ..data.gateset import OWN_CAP, assemble
from ..shelf import write_json
from ..train.bits import NgramModel, model_bits, xz_bits
from ..train.recipe import Pretrain, find_recipe, read_recipe, recipe_digest, turned
from .making import making
from .model_card import render
from .parts import Parts
from .start import MADE, learnt_sources, require_apart, require_course, require_start, start_folder

_SAMPLE = 300_000


class PretrainResult(Frozen):
    """What a pretraining run made.

    Attributes:
        folder: the model folder.
        weights: digest of its weights.
        bits: held-out bits per character by language, for `model`, `ngram` and `xz`.
        corpus: digest, documents and characters of what was trained on.
    """

    folder: str
    weights: str
    recipe: str
    bits: Mapping[str, Mapping[str, float]]
    corpus: Mapping[str, Any]


@making
def pretrain(
    parts: Parts, recipe: str, out: Path | None = None, progress: Progress | None = None
) -> PretrainResult:
    """Train a base from bundled text. A stopped run goes on where it was.

    Args:
        recipe: a path, or a name under `share`/recipes.
        out: run folder; by default one under `home`/runs named by recipe and text, so that another recipe never goes on from this run.

    Raises:
        RecipeError: when `out` holds a run of another recipe, text or start, the recipe learns nothing or from what it must not, or `start` cannot be gone on from.
    """
    from ..train import pretrain as room

    told = progress or Quiet()
    chosen = read_recipe(find_recipe(recipe, parts.settings.share), Pretrain)
    require_course(chosen)
    start = start_folder(parts, chosen)
    if start:
        require_start(start)
    documents = list(read_corpus(parts.settings.share / "data"))
    corpus = corpus_summary(documents)
    run = _run_folder(parts, chosen, corpus["digest"], out, start)
    decisions = base_decisions(parts, chosen) if chosen.decisions.epochs or chosen.teaching.rows else []
    folder = room.pretrain(chosen, documents, run, decisions, [room.Told(told)], start)
    write_json(folder / MADE, {"gate_sources": _sources(decisions, start)})
    told.step("measure", 0, 1)
    result = PretrainResult(
        folder=str(folder),
        weights=digest_file(folder / "model.safetensors"),
        recipe=recipe_digest(chosen),
        bits=measure(folder, documents),
        corpus=corpus,
    )
    write_json(run / "result.json", result.model_dump())
    card = render(
        chosen, result.model_dump(), folder, model_figures(start or run / "language", documents), start
    )
    write_whole(folder / "README.md", card.encode())
    told.step("measure", 1, 1)
    return result


def _run_folder(parts: Parts, recipe: Pretrain, corpus: str, out: Path | None, start: Path | None) -> Path:
    """The folder of the first stage's run: what the second stage does not change decides."""
    first = turned(recipe, ("decisions", "teaching", "blend"))
    begun = {"start": model_digest(start)} if start else {}
    key = digest_json({"recipe": first, "corpus": corpus, **begun})
    run = out or parts.settings.home / "runs" / f"{recipe.name}-{key[7:19]}"
    if start:
        require_apart(start, run)
    mark = run / "run.json"
    if mark.is_file() and _key_of(mark) != key:
        raise RecipeError(f"{run} holds a run of another recipe, text or start.", "Give another --out.")
    write_json(mark, {"key": key, "recipe": first, "corpus": corpus, **begun})
    return run


def _key_of(mark: Path) -> str | None:
    try:
        return str(json.loads(mark.read_bytes())["key"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def base_decisions(parts: Parts, recipe: Pretrain) -> list[Example]:
    """Training rows of the sources that the recipe names: the project's own, so that real sources can still be left out."""
    most = recipe.decisions.own_cap or OWN_CAP
    _, splits = assemble(parts.settings.share, own_cap=most)
    return [e for e in splits["train"] for _ in range(recipe.decisions.repeats(e))]


def _sources(decisions: Sequence[Example], start: Path | None) -> list[str]:
    """Gate sources that a base has learnt from, before and now."""
    before = learnt_sources(start) if start else []
    return sorted({*before, *(str(e.meta["source"]) for e in decisions)})


def model_figures(folder: Path, documents: Sequence[Document]) -> dict[str, dict[str, float]]:
    """Bits per character of a model alone on the held-out running text, by language."""
    from ..train.fit import load_base

    model, tokenizer = load_base(folder)
    found: dict[str, dict[str, float]] = {}
    for lang in LANGS:
        _, held = held_out(documents, lang)
        bits = round(model_bits(model, tokenizer, held), 4)
        found[lang] = {"model": bits, "characters": sum(map(len, held))}
    return found


def held_out(documents: Sequence[Document], lang: str) -> tuple[list[str], list[str]]:
    """Running text of a language: all that is trained on, and of the rest at most 300,000 characters."""
    text = [d for d in documents if d.sort == "text" and d.lang == lang]
    held = _cut([d.text for d in text if d.held_out()], _SAMPLE)
    return [d.text for d in text if not d.held_out()], held


def measure(folder: Path, documents: Sequence[Document]) -> dict[str, dict[str, float]]:
    """Bits per character on held-out running text, by language, for the model, character 5-grams and xz.

    The n-gram model and xz see all training text of that language; the held-out text is cut to 300,000 characters.
    """
    found = model_figures(folder, documents)
    for lang, row in found.items():
        training, held = held_out(documents, lang)
        row["ngram"] = round(NgramModel().fit(training).bits(held), 4)
        row["xz"] = round(xz_bits(training, held), 4)
    return found


def _cut(texts: Sequence[str], most: int) -> list[str]:
    kept: list[str] = []
    for text in texts:
        if sum(map(len, kept)) >= most:
            break
        kept.append(text)
    return kept


def corpus_summary(documents: Sequence[Document]) -> dict[str, Any]:
    """Digest, counts and licences of the corpus, by source."""
    sources: dict[str, dict[str, Any]] = {}
    for d in documents:
        row = sources.setdefault(d.source, {"licence": d.licence, "documents": 0, "characters": 0})
        row["documents"] += 1
        row["characters"] += len(d.text) + sum(len(t) for _, t in d.turns)
    whole = digest_json([digest_text(d.model_dump_json()) for d in documents])
    return {"digest": whole, "sources": sources}
