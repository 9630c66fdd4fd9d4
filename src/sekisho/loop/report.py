"""Report: the whole card, with leave-one-source-out trainings and evaluation-only data, as a page and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.canonical import canonical_json, digest_json, model_digest
from ..core.disk import write_whole
from ..core.progress import Progress, Quiet
from ..core.question import Example, Frozen
from ..ledger import views
from ..proof import verdict
from ..proof.measures import Scored
from ..proof.report import render_html, short_card
from ..proof.verdict import Section
from ..shelf import write_json
from ..tasks.sidecar import Sidecar
from ..train import fit as room
from ..train.recipe import Finetune, find_recipe, read_recipe, recipe_digest
from . import gather as gathering
from .finetune import base_folder, data_digest, reader_of, scope_of, training_examples
from .making import making
from .parts import Parts
from .prove import (
    Scores,
    baseline_scores,
    document,
    gather_splits,
    measured,
    score_adapter,
    score_model,
    score_release,
    sections,
)


class ReportPaths(Frozen):
    """Where the report lies, and its short form."""

    html: str
    json_file: str
    short: tuple[str, ...]


@making
def report(
    parts: Parts,
    evaluation_file: Path | None = None,
    leave_one_out: bool = True,
    progress: Progress | None = None,
) -> ReportPaths:
    """Write the report card of what serves (of the newest adapter when nothing does).

    Args:
        evaluation_file: JSON lines (id, text, category, gate_hint) that are only evaluated on.
        leave_one_out: train one more model for each source, without it; finished ones are kept, so a stopped report goes on.
    """
    told = progress or Quiet()
    if evaluation_file is not None:
        gathering.gather(parts, evaluation_file)
    splits = gather_splits(parts)
    candidate, mine = _scored(parts, splits)
    rival = baseline_scores(parts, training_examples(parts), splits)
    more = _left_out(parts, splits, told) if leave_one_out else []
    found = verdict.judge([*sections(mine, rival), *more])
    whole = document(mine, rival, found, {"candidate": candidate}, more)
    folder = parts.settings.home / "reports"
    write_json(folder / "report.json", whole)
    write_whole(folder / "report.html", render_html(whole).encode())
    return ReportPaths(
        html=str(folder / "report.html"),
        json_file=str(folder / "report.json"),
        short=tuple(short_card(whole)),
    )


def _scored(parts: Parts, splits: Mapping[str, Sequence[Example]]) -> tuple[str, Scores]:
    """The adapter the card is about and its scores: as it serves in its release, else the newest on the shelf."""
    promotion = views.serving(parts.ledger)
    if promotion is not None:
        _, release = parts.shelf.release(promotion.release)
        return release.adapter, score_release(parts, promotion.release, splits)
    found = parts.shelf.all("adapters")
    adapter = (found[-1] if found else parts.shelf.get("adapters", "")).name
    return adapter, score_adapter(parts, adapter, splits)


def _left_out(parts: Parts, splits: Mapping[str, Sequence[Example]], told: Progress) -> list[Section]:
    """One section a source: a model and a baseline that never saw it, measured on all of its rows.

    A source the base itself has learnt from cannot be left out by leaving it out of the adapter, and gets no section.
    """
    training = training_examples(parts)
    sources = sorted({str(e.meta["source"]) for e in training} - base_sources(parts))
    found = []
    for i, source in enumerate(sources):
        told.step("leave one source out", i, len(sources), source)
        found.append(_without(parts, source, training, splits, told))
    told.step("leave one source out", len(sources), len(sources))
    return found


def base_sources(parts: Parts) -> set[str]:
    """Gate sources the base has learnt from, as its own folder says."""
    path = base_folder(parts) / "made.json"
    return set(json.loads(path.read_bytes())["gate_sources"]) if path.is_file() else set()


def _without(
    parts: Parts,
    source: str,
    training: Sequence[Example],
    splits: Mapping[str, Sequence[Example]],
    told: Progress,
) -> Section:
    settings = parts.settings
    recipe = read_recipe(find_recipe(settings.recipe, settings.share), Finetune)
    rest = [e for e in training if e.meta["source"] != source]
    unseen = [e for rows in (training, *splits.values()) for e in rows if _is_bare(e, source)]
    calibration = [e for e in splits["calibration"] if e.meta["source"] != source]
    data = data_digest([*rest, *calibration, *unseen])
    key = digest_json([recipe_digest(recipe), model_digest(base_folder(parts)), data])
    run = settings.home / "runs" / f"without-{source}-{key[7:19]}"
    kept = run / "section.json"
    if kept.is_file():
        return Section(**json.loads(kept.read_bytes()))
    mine, rival = _both(parts, recipe, run, rest, {"calibration": calibration, "unseen": unseen}, told)
    section = _section(source, mine, rival)
    write_json(kept, json.loads(canonical_json(section.json())))
    return section


def _is_bare(example: Example, source: str) -> bool:
    """Whether a row is of the source, as it was collected and not a wrapped variant."""
    return example.meta["source"] == source and not example.meta.get("variant")


def _both(
    parts: Parts,
    recipe: Finetune,
    run: Path,
    training: Sequence[Example],
    splits: Mapping[str, Sequence[Example]],
    told: Progress,
) -> tuple[Scores, Any]:
    def tell(numbers: dict[str, float]) -> None:
        told.step("finetune", int(numbers["step"]), int(numbers["steps"]))

    model, tokenizer = room.fit(recipe, base_folder(parts), training, run, tell)
    scope = scope_of(parts, training, splits["calibration"])
    beside = Sidecar(scope.reader(), reader_of(training, recipe))
    return score_model(parts, model, tokenizer, beside, splits), baseline_scores(parts, training, splits)


def _section(source: str, mine: Scores, rival: Any) -> Section:
    """The section of a source that was left out."""
    rows: list[Scored] = mine.splits["unseen"]
    return Section("leave_one_out", source, mine.measured(rows), measured(rival, rival.scored["unseen"]))
