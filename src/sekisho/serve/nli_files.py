"""Files of the NLI service, looked at without any model: which labels a classifier has, and whether an adapter is for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import ShelfError
from ..core.nli_labels import label_map


def labels_of(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """House labels and raw labels by column. Raises ShelfError."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        id2label = dict(config.get("id2label") or {})
    except (OSError, ValueError, TypeError, AttributeError) as e:
        raise ShelfError(
            f"{folder} holds no readable model: {e}.", "Set `nli_model` to a model folder."
        ) from e
    columns = label_map(id2label, folder.name)
    return columns, tuple(str(id2label[k]) for k in sorted(id2label, key=int))


def check_adapter(folder: Path, base: str, columns: Sequence[str]) -> None:
    """Refuse an adapter that was trained over another base or with another label map. Raises ShelfError."""
    try:
        made = json.loads((folder / "made.json").read_bytes())
        was, labels = made["base"], tuple(made["columns"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ShelfError(
            f"{folder} holds no adapter of this service.", "Train one with `sekisho adapt train`."
        ) from e
    if was != base:
        raise ShelfError(
            f"The adapter is for the base {was}, not {base}.",
            "Train one for this base, or set `nli_model` back.",
        )
    if labels != tuple(columns):
        raise ShelfError(
            f"The adapter's columns are {', '.join(labels)}, not {', '.join(columns)}.",
            "Train one for this model.",
        )
