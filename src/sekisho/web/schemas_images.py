"""The forms of answers about images, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from .schemas import Open


class RubricShown(BaseModel):
    """A rubric pack in short."""

    name: str
    version: str
    title: dict[str, str]
    criteria: int
    patterns: dict[str, dict[str, str]]


class RubricList(BaseModel):
    """The packs there are."""

    rubrics: list[RubricShown]


class CheckShown(BaseModel):
    """One criterion: the calibrated probability of yes, and whether it counts as yes."""

    id: str
    probability: float = Field(ge=0, le=1)
    yes: bool
    ja: str
    en: str


class RubricAnswer(Open):
    """An image's outcome. `judgement` is what corrections name, with the label `ID:yes` or `ID:no`."""

    judgement: str
    pack: str
    image: str = Field(description="Digest of the file as it came.")
    pattern: str | None
    state: str
    pattern_scores: dict[str, int]
    residual_tie: list[str]
    fired: list[str]
    because: list[str]
    second_look: dict[str, Any] | None = Field(
        None, description="How a tie of two outcomes was looked at again, where the house does so."
    )
    comments: list[str]
    checks: list[CheckShown]
    model: str
    calibration: str
    milliseconds: float


class OcrPage(Open):
    """The text of one image or page."""

    page: int
    digest: str
    lang: str
    vertical: bool
    confidence: float
    text: str
    lines: list[dict[str, Any]]


class OcrAnswer(Open):
    """The text of every page, and the summary where one was asked for."""

    digest: str
    text: str
    pages: list[OcrPage]
    summary: dict[str, Any] | None
