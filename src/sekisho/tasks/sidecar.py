"""Sidecar: what stands beside the weights of an adapter and of the release made from it: the scope, and the reader of n-grams where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ..core.errors import ShelfError
from .ngrams import NgramReader, read_ngrams
from .scope import Scope, ScopeReader

SCOPE, NGRAMS = "scope.json", "ngrams.safetensors"


@dataclass(frozen=True)
class Sidecar:
    """Unpacked, for many questions.

    Attributes:
        scope: which texts look like what was trained on.
        ngrams: the second reader; None in an adapter that was made without one.
    """

    scope: ScopeReader
    ngrams: NgramReader | None = None


def read_sidecar(folder: Path) -> Sidecar:
    """Read the files of an adapter or a release. Raises ShelfError when one cannot be read."""
    path = folder / SCOPE
    try:
        scope = Scope.model_validate_json(path.read_bytes()).reader()
    except (OSError, ValidationError, ShelfError) as e:
        raise ShelfError(f"{path} cannot be read: {e}.", "Bake again.") from e
    beside = folder / NGRAMS
    return Sidecar(scope, read_ngrams(beside) if beside.exists() else None)


def copy_sidecar(source: Path, folder: Path) -> None:
    """Copy the files of an adapter into a release, byte for byte."""
    for name in (SCOPE, NGRAMS):
        if (source / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())
