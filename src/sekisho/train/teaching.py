"""The third stage of a base: its weights learn what linear teachers make of requests and of pieces of requests (distillation).

Whole requests alone are soon known by heart. Pieces (a stretch of one, stretches of two, one with words left out) have no label, but a teacher can
judge any number of them, and a model that agrees with it on pieces has learnt the words and not the rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ..core.canonical import digest_json
from ..core.prompt import END
from ..core.question import Example
from .batches import DecisionRows
from .decisions import LONGEST, run_course
from .recipe import Pretrain, Teaching, turned
from .teacher import Teachers
from .tokenizer import special_id

_LEFT_OUT = 0.15


def learn_from_teachers(
    recipe: Pretrain,
    model: Any,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    out: Path,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train all weights of `model` in place; a stopped run goes on from its newest whole checkpoint.

    Args:
        examples: rows with `meta["text"]` (a part of `state`) and `meta["lang"]`.
    """
    stage = recipe.teaching
    folder = out / f"teaching-{_key(recipe, examples)}"
    made, targets = taught_rows(stage, examples, recipe.seed)
    rows = DecisionRows(made, tokenizer, LONGEST, stage.bpe_dropout, targets)
    torch.manual_seed(recipe.seed)
    run_course(recipe, stage, model, rows, special_id(tokenizer, END), folder, callbacks)


def taught_rows(
    stage: Teaching, examples: Sequence[Example], seed: int
) -> tuple[list[Example], list[list[float]]]:
    """Make `stage.rows` rows and the probabilities each one's options should have."""
    rng = random.Random(seed)
    teachers = Teachers(examples, stage.folds, seed)
    number = round(stage.rows * stage.pieces)
    sources, pieces = _pieces(rng, teachers, examples, number)
    judged = teachers.judge(sources, [str(p.meta["text"]) for p in pieces])
    whole = _passes(rng, examples, stage.rows - number)
    known = teachers.judge(whole, [str(e.meta["text"]) for e in whole])
    targets = [_aligned(teachers, e, p) for e, p in zip(pieces, judged, strict=True)]
    targets += [_trusted(stage, e, _aligned(teachers, e, p)) for e, p in zip(whole, known, strict=True)]
    return [*pieces, *whole], targets


def _aligned(teachers: Teachers, example: Example, judged: Sequence[float]) -> list[float]:
    """A teacher's probabilities in the order of the example's own options."""
    by_option = dict(zip(teachers.options, judged, strict=True))
    return [float(by_option.get(key, 0.0)) for key in example.question.keys]


def _trusted(stage: Teaching, example: Example, judged: Sequence[float]) -> list[float]:
    """The smoothed label and the teacher's probabilities, weighed."""
    spread = stage.label_smoothing / len(judged)
    hard = [spread + (1 - stage.label_smoothing) * (k == example.label) for k in example.question.keys]
    return [(1 - stage.trust) * h + stage.trust * p for h, p in zip(hard, judged, strict=True)]


def _passes(rng: random.Random, examples: Sequence[Example], number: int) -> list[Example]:
    """`number` examples in shuffled passes, so that none is seen once more than another."""
    chosen: list[Example] = []
    while len(chosen) < number:
        chosen += rng.sample(list(examples), min(len(examples), number - len(chosen)))
    return chosen


def _pieces(
    rng: random.Random, teachers: Teachers, examples: Sequence[Example], number: int
) -> tuple[list[Example], list[Example]]:
    """Examples, and a piece made of each. A second stretch comes from the same fold and language: no teacher may have seen either."""
    alike: dict[tuple[int, str], list[Example]] = {}
    for e in examples:
        alike.setdefault((teachers.fold(e), e.meta["lang"]), []).append(e)
    sources = rng.choices(examples, k=number)
    return sources, [_piece(rng, e, alike[teachers.fold(e), e.meta["lang"]]) for e in sources]


def _piece(rng: random.Random, example: Example, alike: Sequence[Example]) -> Example:
    words, gap = _units(rng, example)
    draw = rng.random()
    if draw < 0.3:
        kept = [w for w in words if rng.random() > _LEFT_OUT]
    else:
        kept = _stretch(rng, words)
        if draw > 0.6:
            kept += _stretch(rng, _units(rng, rng.choice(alike))[0])
    text = gap.join(kept) or str(example.meta["text"])
    state = example.state.replace(str(example.meta["text"]), text, 1)
    return example.model_copy(update={"state": state, "meta": {**example.meta, "text": text}})


def _units(rng: random.Random, example: Example) -> tuple[list[str], str]:
    """What a text is cut into, and what stands between: English words; of Japanese, which has no spaces, one to four letters."""
    text = str(example.meta["text"])
    if example.meta["lang"] == "en":
        return text.split(), " "
    units, at = [], 0
    while at < len(text):
        size = rng.randint(1, 4)
        units.append(text[at : at + size])
        at += size
    return units, ""


def _stretch(rng: random.Random, words: Sequence[str]) -> list[str]:
    """At least a quarter of the words (and three), in a row."""
    most = len(words)
    size = rng.randint(min(most, max(3, most // 4)), most)
    start = rng.randint(0, most - size)
    return list(words[start : start + size])


def _key(recipe: Pretrain, examples: Sequence[Example]) -> str:
    rows = [[e.id, e.state, e.label] for e in examples]
    return digest_json({"recipe": turned(recipe, ("blend",)), "rows": rows})[7:19]
