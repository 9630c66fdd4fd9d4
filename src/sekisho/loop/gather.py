"""Gather: the bundle's sources, cleaned, deduplicated, composed and split, under the home folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data import gateset
from ..data.format import Manifest
from .making import making
from .parts import Parts


@making
def gather(parts: Parts, evaluation_file: Path | None = None, progress: Any = None) -> Manifest:
    """Build the gate's data set under `home`/data/gate; the same seed and bundle give the same digests.

    Args:
        evaluation_file: JSON lines (id, text, category, gate_hint) that are only ever evaluated on.
    """
    settings = parts.settings
    return gateset.gather(
        settings.share, data_folder(parts), evaluation_file=evaluation_file, progress=progress
    )


def data_folder(parts: Parts) -> Path:
    """Where the gathered set lies."""
    folder: Path = parts.settings.home / "data" / "gate"
    return folder
