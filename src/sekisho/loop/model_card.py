"""The model card of a base: what it is, from what it was made, its figures. Written with the model, so that no figure is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.canonical import digest_file
from ..train.recipe import Pretrain
from .start import card_text

_WHAT = """# {name}

A language model of the Phi-3 architecture with {parameters:,} parameters, made from nothing from the text bundled with Sekisho; `sekisho pretrain {name}`
made these weights. Licence of the weights: Apache-2.0; the text keeps its own licences (table below, `NOTICE`).

It exists so that a closed network without any other model has a gate that works. 日本語と英語の同梱文書だけから作った、門（ゲート）用の小さな言語モデルです。

## Not good for

- Prose: it writes none worth reading. Knowledge: it has seen {characters:,} characters.
- Texts over {context:,} tokens, and languages other than Japanese and English.
- Learning to choose among options cost it some of its language, as the table of bits shows.
"""

_HOW = """## How it was made

Stage one: next token, {epochs:g} passes over the text in rows of {sequence} tokens, then the weights were stored in bfloat16. Stage two: all weights learnt the gate's
question from the training topics of the project's own requests ({sources}), {decision_epochs:g} passes. {third}{teaching}Everything is in `recipes/{name}.toml`,
digest `{recipe}`; the text's digest is `{corpus}`.
"""

_MORE = """## How it was made

It began from the weights `{start}`, made as told below. All weights then learnt the gate's question from training requests of the project's own ({sources}). {decisions}{teaching}{blend}
Everything is in `recipes/{name}.toml`, digest `{recipe}`; the text's digest is `{corpus}`.

### How that was made
"""

_TEACHING = """{folds} linear teachers over n-grams, each trained on the same requests without
the topics it judges, labelled {rows:,} rows, {pieces:.0%} of them pieces of requests; all weights learnt those probabilities (distillation). """

_BITS = """## Held-out bits per character

On 2 % of the documents, which no stage saw; the character 5-gram model and `xz` saw the same training text.

| language | held-out characters | {before} | this model | character 5-grams | xz |
|---|---|---|---|---|---|
"""


def render(
    recipe: Pretrain,
    result: Mapping[str, Any],
    folder: Path,
    language: Mapping[str, Mapping[str, float]],
    start: Path | None = None,
) -> str:
    """Return the card of a model folder as Markdown.

    Args:
        result: a `PretrainResult` as JSON values.
        language: bits per character of the model before it learnt to decide, by language.
        start: folder of the base it went on from.
    """
    config = json.loads((folder / "config.json").read_bytes())
    corpus = result["corpus"]
    head = _WHAT.format(
        name=recipe.name,
        parameters=parameters_of(folder),
        characters=sum(s["characters"] for s in corpus["sources"].values()),
        context=config["max_position_embeddings"],
    )
    how = _how(recipe, result, folder) if start is None else _more(recipe, result, start)
    bits = _BITS.format(before="this model, stage one" if start is None else "what it began from")
    parts = [head, how, bits + _bits(result["bits"], language), _text(corpus["sources"]), _files(folder)]
    return "\n".join(parts)


def _how(recipe: Pretrain, result: Mapping[str, Any], folder: Path) -> str:
    sources = json.loads((folder / "made.json").read_bytes())["gate_sources"]
    return _HOW.format(
        name=recipe.name,
        epochs=recipe.epochs,
        sequence=recipe.sequence,
        decision_epochs=recipe.decisions.epochs,
        third="Stage three: " if recipe.teaching.rows else "",
        teaching=_teaching(recipe),
        sources=", ".join(f"`{s}`" for s in sources) or "none",
        recipe=result["recipe"],
        corpus=result["corpus"]["digest"],
    )


def _more(recipe: Pretrain, result: Mapping[str, Any], start: Path) -> str:
    stage = recipe.decisions
    told = _MORE.format(
        name=recipe.name,
        start=digest_file(start / "model.safetensors"),
        sources=", ".join(f"`{name}` {times:g} time(s) a pass" for name, times in stage.sources.items()),
        decisions=f"{stage.rounds} time(s) {stage.epochs:g} passes. " if stage.epochs else "",
        teaching=_teaching(recipe),
        blend=f"{recipe.blend:.0%} of that is stored, and the rest is what it began from. "
        if recipe.blend < 1
        else "",
        recipe=result["recipe"],
        corpus=result["corpus"]["digest"],
    )
    _, _, before = card_text(start).partition("## How it was made\n")
    return told + (before.partition("\n## ")[0] or "\nNo card told.\n")


def _teaching(recipe: Pretrain) -> str:
    stage = recipe.teaching
    return _TEACHING.format(folds=stage.folds, rows=stage.rows, pieces=stage.pieces) if stage.rows else ""


def parameters_of(folder: Path) -> int:
    """Number of weights stored in a model folder."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as stored:
        return sum(_product(stored.get_slice(name).get_shape()) for name in stored.keys())  # noqa: SIM118


def _product(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _bits(bits: Mapping[str, Mapping[str, float]], language: Mapping[str, Mapping[str, float]]) -> str:
    rows = [
        f"| {lang} | {row['characters']:,.0f} | {language[lang]['model']:.3f} | {row['model']:.3f} "
        f"| {row['ngram']:.3f} | {row['xz']:.3f} |"
        for lang, row in bits.items()
    ]
    return "\n".join(rows) + "\n"


def _text(sources: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        f"| {name} | {row['licence']} | {row['documents']:,} | {row['characters']:,.0f} |"
        for name, row in sources.items()
    ]
    return "\n".join(
        ["## Text\n", "| source | licence | documents | characters |", "|---|---|---|---|", *rows, ""]
    )


def _files(folder: Path) -> str:
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != "README.md")
    rows = [f"| {p.name} | {p.stat().st_size:,} | `{digest_file(p)}` |" for p in files]
    return "\n".join(["## Files\n", "| file | bytes | digest |", "|---|---|---|", *rows, ""])
