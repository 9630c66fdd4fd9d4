"""The forms of the NLI service and of feedback, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from ..core.question import Frozen
from ..loop.feedback import Word
from .schemas import Open


class NliPair(BaseModel):
    """One pair. `source` names the document of the premise: pairs of one document are never split between training and proof."""

    id: str | None = Field(None, description="Given back with the answer; its place in the list when absent.")
    premise: str
    hypothesis: str
    source: str | None = None


class NliRequest(BaseModel):
    """Pairs to judge. What is wrong with one pair is that pair's answer."""

    pairs: list[NliPair]
    model: Literal["fast", "slow"] = "fast"


class NliAnswer(Open):
    """Answers in the order of the pairs: `label`, `confidence`, `raw_label`, `probabilities`, `cut_tokens`, `judgement`, or `error`."""

    model: str
    adapter: str | None
    calibration: str
    truncation: dict[str, Any]
    results: list[dict[str, Any]]
    request: str


class AdapterRequest(Frozen):
    """An adapter by its digest, or the beginning of it."""

    adapter: str = Field(max_length=200)
    by: str | None = Field(None, max_length=200)


class ByRequest(Frozen):
    """Who does it."""

    by: str | None = Field(None, max_length=200)


class Activated(Open):
    """A step that changed what answers."""

    id: str
    adapter: str | None
    previous: str | None
    proof: str | None
    step: str


class AdapterStatus(Open):
    """What answers, and how it came to be so."""

    model: str
    adapter: str | None
    calibration: str
    shelf: list[str]
    history: list[dict[str, Any]]


class FeedbackRequest(Word):
    """A person's word on an answer, its claim or its source."""


class FeedbackFiled(Open):
    """A person's word as it stands in the ledger: a correction of an answer, or a word on its claim or source."""

    id: str
    at: str
    judgement: str
    reason: str
    by: str


class Dashboard(Open):
    """Accuracy, correction rate, Brier score and calibration error of reviewed answers, by day and adapter."""

    days: list[dict[str, Any]]
    adapters: list[dict[str, Any]]
