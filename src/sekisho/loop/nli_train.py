"""Train the NLI classifier from the bundled sets, measure it beside what knows nothing, and write its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.canonical import digest_file, digest_json
from ..core.disk import write_whole
from ..core.errors import NotFoundError, TrainingError
from ..core.progress import Progress, Quiet
from ..core.question import Frozen
from ..data.nli import LABELS, LICENCES, Pair, pairs_digest, read_pairs, split_pairs
from ..shelf import write_json
from .adapt_prove import probabilities
from .making import making
from .parts import Parts

UNSEEN = ("janli",)
"""Sets it is measured on and never learns from."""


class NliResult(Frozen):
    """What a training made.

    Attributes:
        figures: by set: rows of the hold-out, accuracy of the model, of the commonest label and of lexical overlap, and macro F1.
    """

    folder: str
    weights: str
    recipe: str
    data: str
    rows: int
    figures: dict[str, dict[str, float]]


@making
def train_nli(
    parts: Parts, recipe: str, out: Path | None = None, progress: Progress | None = None
) -> NliResult:
    """Train a classifier by recipe. A stopped run goes on where it was.

    Raises:
        TrainingError: `out` holds a run of another recipe or data.
        RecipeError, DataError: naming what is wrong.
    """
    from ..train.nli import train_nli as room
    from ..train.nli_recipe import NliTrain
    from ..train.recipe import find_recipe, read_recipe

    told, share = progress or Quiet(), parts.settings.share
    chosen = read_recipe(find_recipe(recipe, share), NliTrain)
    splits = split_pairs(read_pairs(share / "data", chosen.sources))
    made = {"recipe": chosen.model_dump(mode="json"), "data": pairs_digest(splits["train"])}
    run = _run_folder(parts, chosen.name, made, out)

    def step(done: int, total: int, note: str) -> None:
        told.step("nli", done, total, note)

    folder = room(chosen, _vocabulary(parts, chosen.vocabulary), splits["train"], run, step)
    write_json(folder / "made.json", made)
    found = NliResult(
        folder=str(folder),
        weights=digest_file(folder / "model.safetensors"),
        recipe=digest_json(made["recipe"]),
        data=str(made["data"]),
        rows=len(splits["train"]),
        figures=figures(parts, folder, chosen.sources),
    )
    write_whole(folder / "README.md", card(found, chosen).encode())
    write_json(run / "result.json", found.model_dump())
    return found


def _run_folder(parts: Parts, name: str, made: dict[str, Any], out: Path | None) -> Path:
    key = digest_json(made)
    run: Path = out or parts.settings.home / "runs" / f"{name}-{key[7:19]}"
    mark = run / "run.json"
    if mark.is_file() and key not in mark.read_text(encoding="utf-8"):
        raise TrainingError(f"{run} holds a run of another recipe or data.", "Give another --out.")
    write_json(mark, {"key": key})
    return run


def _vocabulary(parts: Parts, name: str) -> Path:
    for folder in (Path(name), parts.settings.share / "models" / name):
        if (folder / "tokenizer.json").is_file():
            return folder
    raise NotFoundError(
        f"There is no base {name!r} to take the vocabulary from.", "Mend `vocabulary` in the recipe."
    )


def figures(parts: Parts, folder: Path, sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """Accuracy on the hold-out of every set, beside the commonest label and lexical overlap, both fitted on that set's training rows."""
    reader = parts.nli_reader(folder)
    found = {}
    for source in [*sources, *UNSEEN]:
        splits = split_pairs(read_pairs(parts.settings.share / "data", [source]))
        held = splits["holdout"]
        sure = probabilities(reader, reader.base, held)
        said = [sorted(LABELS)[i] for i in sure.argmax(axis=1)]
        truth = [p.label for p in held]
        found[source] = {
            "rows": len(held),
            "accuracy": round(_share(said, truth), 4),
            "macro_f1": round(_macro_f1(said, truth), 4),
            "majority": round(_share(_commonest(splits["train"], held), truth), 4),
            "overlap": round(_share(overlap_baseline(splits["train"], held), truth), 4),
        }
    return found


def _share(said: Sequence[str], truth: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(said, truth, strict=True)) / len(truth)


def _macro_f1(said: Sequence[str], truth: Sequence[str]) -> float:
    pairs = list(zip(said, truth, strict=True))
    return float(
        np.mean(
            [2 * sum(a == b == k for a, b in pairs) / (said.count(k) + truth.count(k)) for k in set(truth)]
        )
    )


def _commonest(train: Sequence[Pair], held: Sequence[Pair]) -> list[str]:
    labels = [p.label for p in train]
    return [max(sorted(set(labels)), key=labels.count)] * len(held)


def overlap(pair: Pair) -> tuple[float, float]:
    """How much of the hypothesis is in the premise, and the other way round, by character bigrams."""
    one, two = ({t[i : i + 2] for i in range(len(t) - 1)} for t in (pair.premise, pair.hypothesis))
    both = len(one & two)
    return both / max(len(two), 1), both / max(len(one), 1)


def overlap_baseline(train: Sequence[Pair], held: Sequence[Pair]) -> list[str]:
    """Labels by logistic regression over lexical overlap and length alone."""
    from sklearn.linear_model import LogisticRegression

    def features(pairs: Sequence[Pair]) -> Any:
        rows = [[*overlap(p), len(p.hypothesis) / max(len(p.premise), 1)] for p in pairs]
        return np.asarray([[*r, r[0] ** 2, r[1] ** 2, r[0] * r[1]] for r in rows])

    model = LogisticRegression(max_iter=2000).fit(features(train), [p.label for p in train])
    return [str(x) for x in model.predict(features(held))]


def card(found: NliResult, recipe: Any) -> str:
    """The model card; every figure in it is measured."""
    rows = [
        f"| {s}{'' if s in recipe.sources else ' (never seen)'} | {LICENCES[s]} | {f['rows']:.0f} | {f['accuracy']:.3f} | {f['macro_f1']:.3f} | {f['majority']:.3f} | {f['overlap']:.3f} |"
        for s, f in found.figures.items()
    ]
    shape = recipe.shape
    return _CARD.format(
        layers=shape.num_hidden_layers,
        width=shape.hidden_size,
        rows=found.rows,
        passes=recipe.epochs
        * min(1.0, recipe.cooldown_start + recipe.cooldown if recipe.cooldown_start < 1 else 1.0),
        recipe=found.recipe,
        data=found.data,
        weights=found.weights,
        below=", ".join(s for s, f in found.figures.items() if f["accuracy"] < f["overlap"]) or "no set",
        table="\n".join(rows),
    )


_CARD = """# nano-nli

A classifier of the DeBERTa-v2 architecture ({layers} layers, width {width}), made from nothing by `sekisho nli train nli` from the pairs bundled with Sekisho. Does a
premise entail a hypothesis, contradict it, or neither? Licence of the weights: Apache-2.0; the pairs keep their own licences (`NOTICE`). 同梱の日本語・英語の文対だけから作った、小さな含意判定モデルです。

It exists so that the NLI service and its loop of corrections work in a closed network without any other model. A better one is one setting: `nli_model`.

## Not good for

- Anything that matters without a person: the table says how often it is wrong. It knows captions of pictures and little else.
- Order of words and roles: JaNLI is made of just such pairs, and it has never seen them; see its row.
- Texts above 512 tokens, and languages other than Japanese and English.

## How it was made

{passes:.1f} passes over {rows:,} pairs; contradictions also the other way round. Words begin where the nano base has them. Everything is in `recipes/nli.toml`, digest
`{recipe}`; the pairs' digest is `{data}`; the weights' (fp16) `{weights}`.

## On held-out pairs

No sentence of these was in training. `majority`: the commonest label of the set; `overlap`: logistic regression over lexical overlap and length, fitted on that set's own training
pairs. The model is below `overlap` on: {below}. JaNLI has two labels; what is not entailed counts as neutral, and the model may still say refutes.

| set | licence | rows | accuracy | macro F1 | majority | overlap |
|---|---|---|---|---|---|---|
{table}
"""
