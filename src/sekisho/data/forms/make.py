"""A form from a seed: image, answers, evidence. The same seed gives the same pixels."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from .answers import answers
from .camera import shoot
from .layout import draw
from .plan import Plan, Split, draw_plan
from .sheet import Box


@dataclass(frozen=True)
class Form:
    """A rendered form.

    Attributes:
        answers: 0 or 1 by criterion of the pack `intake`.
        found: where the evidence lies, by criterion or `seen_…`, in fractions of width and height.
    """

    image: Image.Image
    answers: Mapping[str, int]
    found: Mapping[str, list[Box]]
    plan: Plan


def make(seed: int, split: Split, theme: str | None = None, crowded: bool = False) -> Form:
    """Render the form with this number, one that shows much at once if it shall be `crowded`. Raises ToolError naming the package when a font is missing."""
    source = random.Random(f"{'crowded ' if crowded else ''}{split} {seed}")
    plan = draw_plan(source, split, theme, crowded)
    image, found = shoot(draw(plan, source), plan.camera, source, split)
    return Form(image, answers(plan), found, plan)
