"""What became of one pair, and how `POST /nli` says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.errors import InputError, NotFoundError, SekishoError
from ..core.records import Judgement
from .nli_line import Reader


@dataclass(frozen=True)
class Answer:
    """One pair's answer. `judgement` and `cut` are set, or `error` is."""

    judgement: Judgement | None = None
    raw_label: str = ""
    cut: int = 0
    error: SekishoError | None = None


def wire(answer: Answer, id: str) -> dict[str, Any]:
    """An answer as `POST /nli` gives it."""
    if answer.error is not None or answer.judgement is None:
        error = answer.error or NotFoundError("There is no answer.")
        loc = {"loc": list(error.loc)} if isinstance(error, InputError) and error.loc else {}
        return {"id": id, "error": {"error_type": error.code, "message": str(error), **loc}}
    j = answer.judgement
    return {
        "id": id,
        "label": j.answer,
        "confidence": j.probabilities[str(j.answer)],
        "raw_label": answer.raw_label,
        "probabilities": dict(j.probabilities),
        "cut_tokens": answer.cut,
        "judgement": j.id,
    }


def truncation(reader: Reader) -> dict[str, Any]:
    """What is done to a pair that is too long, in the words of the answer."""
    return {
        "max_tokens": reader.longest,
        "policy": "premise_end",
        "meaning": "A pair above max_tokens loses the end of its premise (`cut_tokens` says how much); the hypothesis is never cut.",
    }
