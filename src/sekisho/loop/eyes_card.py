"""The model card of an eye, written with the model, so that no figure in it is typed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.canonical import digest_file
from ..core.question import Frozen
from ..proof.rubric import RubricMeasures
from ..tasks.rubric.pack import Pack

_HEAD = """# {name}

A small vision model of the Qwen2-VL architecture, made {begun} by `sekisho rubric train {recipe}` from {forms}. It answers the {count} checks of the rubric pack
`{pack}` about one image in one forward pass. Licence of the weights: Apache-2.0. No real form, photo or person was used; the renderer is in `src/sekisho/data/forms`.

書類の画像を見て「はい／いいえ」の {count} 項目に答える小さなモデルです。学習には自作の書類画像だけを使っています。

## Not good for

- Anything but the {count} questions of `{pack}`, in English, word for word: it has learnt no other language and no other question, and refuses other packs.
- Reading: it sees pages at about {area:,} pixels. It tells an empty field from a filled one, not what is written in it.
- Real papers. It knows forms of one renderer; how it does on yours nobody has measured. Correct it, and measure it on labelled images of your own.
- Deciding alone. An outcome is a suggestion where to put a paper.

## Figures

On {held} rendered forms made with other fonts (Mincho; it learnt from Gothic), other titles and field names, ways of laying out it has not seen, other desks, blurs and specks. Probabilities were
calibrated on {calibration} forms of the training make, one slope and offset a criterion.

| figure | target | measured | always the more frequent answer |
| --- | --- | --- | --- |
| criterion accuracy, mean | ≥ 0.95 | {mean:.4f} | {majority:.4f} |
| worst criterion | ≥ 0.80 | {worst:.3f} ({worst_id}) | – |
| mean of both answers' recalls | – | {balanced:.4f} | 0.5 |
| outcome right | > 0.95 | {pattern:.3f} | – |
| expected calibration error | < 0.05 | {ece:.4f} | – |

{below}

## Every criterion

Accuracy, recall of yes, and the accuracy of always giving the more frequent answer.

| id | question | accuracy | recall | more frequent |
| --- | --- | --- | --- | --- |
"""


class EyesResult(Frozen):
    """What a training run made: the model folder, the digest of its weights, and its figures on held-out forms.

    Attributes:
        start: digest of the weights that learning began with; empty for random ones.
    """

    folder: str
    weights: str
    recipe: str
    start: str = ""
    figures: RubricMeasures


def _origin(recipe: Any, start: str) -> dict[str, str]:
    """What a model is called and was made from. One that went on from another keeps its name, and gives the digest of what it began with."""
    forms = f"{recipe.forms:,} rendered forms"
    if recipe.crowded:
        forms += f" and {recipe.crowded:,} that show much at once of what is seldom seen"
    if not recipe.start:
        return {"name": recipe.name, "begun": "from nothing", "forms": forms}
    began = f"from the weights `{recipe.start}` had before (`{start}`)"
    return {"name": Path(recipe.start).name, "begun": began, "forms": f"further {forms}"}


def card(recipe: Any, pack: Pack, folder: Path, result: EyesResult) -> str:
    """The card of a model folder as Markdown."""
    from ..data.pixels import AREA

    f = result.figures
    below = [i for i in pack.ids if f.accuracy[i] <= f.majority[i]]
    told = (
        f"No better than that frequent answer: {', '.join(below)}."
        if below
        else "Every criterion is better than that frequent answer."
    )
    head = _HEAD.format(
        **_origin(recipe, result.start), recipe=recipe.name, count=len(pack.ids), pack=pack.name, area=AREA, held=f.images, calibration=recipe.calibration,
        mean=f.mean, majority=f.majority_mean, worst=f.worst, worst_id=f.worst_id, balanced=f.balanced, pattern=f.pattern, ece=f.ece, below=told,
    )  # fmt: skip
    rows = []
    for c in pack.criteria:
        recall = f.recall[c.id]
        shown = "–" if recall is None else f"{recall:.3f}"
        rows.append(
            f"| {c.id} | {c.question.en} | {f.accuracy[c.id]:.3f} | {shown} | {f.majority[c.id]:.3f} |"
        )
    files = [
        f"| {p.name} | {p.stat().st_size:,} | `{digest_file(p)}` |"
        for p in sorted(folder.iterdir())
        if p.name != "README.md"
    ]
    return (
        head
        + "\n".join(rows)
        + "\n\n## Files\n\n| file | bytes | digest |\n|---|---|---|\n"
        + "\n".join(files)
        + "\n"
    )
