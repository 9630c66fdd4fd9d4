"""What is known of the model that serves: its size, its architecture and its numbers, read from its own file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.errors import EngineError
from ..serve.gguf_header import read_header
from .entries import Serving
from .parts import Parts


@dataclass(frozen=True)
class Served:
    """The model that serves.

    Attributes:
        size: bytes of the weights file; 0 when the engine has none.
        numbers: number type of the weights.
        values: the file's metadata, single values only.
    """

    size: int = 0
    numbers: str = "unknown"
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The model's architecture."""
        return str(self.values.get("general.architecture", "unknown"))


def served(parts: Parts, serving: Serving) -> Served:
    """Describe what serves; where nothing can be read (another engine, no such file), what is unknown is said to be."""
    kind = str(parts.settings.weights)
    folder = parts.shelf.path("releases", serving.stamp.model_digest)
    try:
        name = json.loads((folder / "release.json").read_bytes())["gguf"][kind]
        return _read(folder / name, kind)
    except (OSError, ValueError, KeyError, EngineError):
        return Served()


@lru_cache(maxsize=8)
def _read(path: Path, kind: str) -> Served:
    """Releases never change under their name, so one reading holds."""
    values = read_header(path).values
    single = {k: v for k, v in values.items() if isinstance(v, str | int | float) and "template" not in k}
    return Served(path.stat().st_size, kind.upper(), single)
