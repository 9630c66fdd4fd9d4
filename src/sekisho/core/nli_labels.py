"""Labels of natural language inference: the house's three, and a model's own mapped to them whatever their order, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .errors import ShelfError

KEYS = ("neutral", "refutes", "supports")
"""The house's labels, in canonical order."""
_WORDS: Mapping[str, str] = {
    **dict.fromkeys(
        ("entailment", "entail", "entails", "entailed", "supports", "support", "supported"), "supports"
    ),
    **dict.fromkeys(
        ("contradiction", "contradict", "contradicts", "contradictory", "refutes", "refute", "refuted"),
        "refutes",
    ),
    **dict.fromkeys(("neutral", "not enough info", "nei", "undetermined"), "neutral"),
}


def label_map(id2label: Mapping[int | str, str], name: str = "The model") -> tuple[str, ...]:
    """Return the house's label of each column of a model's logits, whatever order its labels have.

    Args:
        id2label: as in the model's `config.json`; keys are columns, as numbers or as text.

    Raises:
        ShelfError: naming the labels it has, when they are not the three, each once.
    """
    try:
        raw = {int(i): str(label) for i, label in id2label.items()}
    except (TypeError, ValueError):
        raw = {}
    house = tuple(_WORDS.get(_plain(raw[i]), "") for i in sorted(raw))
    if sorted(raw) != [0, 1, 2] or tuple(sorted(house)) != KEYS:
        has = ", ".join(map(repr, id2label.values())) or "none"
        raise ShelfError(
            f"{name} has the labels {has}, which cannot be mapped to {', '.join(KEYS)}.",
            "Use a model whose id2label holds entailment, contradiction and neutral, each once.",
        )
    return house


def _plain(label: str) -> str:
    return re.sub(r"[\s_\-]+", " ", label).strip().lower()


def house_row(values: Sequence[float], columns: Sequence[str]) -> dict[str, float]:
    """A row of numbers by the house's labels, in canonical order."""
    found = dict(zip(columns, values, strict=True))
    return {k: found[k] for k in KEYS}
