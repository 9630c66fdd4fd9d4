"""Rendered forms on disk, in shards: pixels at the size a model sees them, answers, and where the evidence lies on its grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..pixels import MERGE, PATCH, scaled
from .make import Form, make
from .plan import Split
from .sheet import Box

SIZE = 500
SEEN = (
    "seen_seal",
    "seen_signature",
    "seen_tick",
    "seen_untick",
    "seen_date",
    "seen_title",
    "seen_typed",
    "seen_page",
    "seen_call",
    "seen_empty",
    "seen_bare",
)
"""Things that are learnt to be seen although no check asks for them."""
_CELL = PATCH * MERGE


@dataclass(frozen=True)
class Shard:
    """Some hundred forms.

    Attributes:
        pixels: `[forms, 288 × 384 × 3]`, flat because some lie on their sides.
        shapes: height and width `[forms, 2]`.
        answers: `[forms, criteria]`, 0 or 1.
        evidence: `[forms, cells, names]`, 0 or 1; cells row by row.
    """

    pixels: NDArray[np.uint8]
    shapes: NDArray[np.int32]
    answers: NDArray[np.uint8]
    evidence: NDArray[np.uint8]

    def picture(self, place: int) -> NDArray[np.uint8]:
        """One form `[height, width, 3]`."""
        height, width = self.shapes[place]
        return np.asarray(self.pixels[place]).reshape(height, width, 3)


def cells(
    found: Mapping[str, Sequence[Box]], names: Sequence[str], rows: int, columns: int
) -> NDArray[np.uint8]:
    """Which cells of a grid a box of evidence touches with a tenth of a cell or more: `[rows × columns, names]`."""
    grid = np.zeros((rows, columns, len(names)), np.uint8)
    for place, name in enumerate(names):
        for left, top, right, bottom in found.get(name, ()):
            x, y = max(0, int(left * columns + 0.1)), max(0, int(top * rows + 0.1))
            grid[
                y : max(y + 1, int(np.ceil(bottom * rows - 0.1))),
                x : max(x + 1, int(np.ceil(right * columns - 0.1))),
                place,
            ] = 1
    return grid.reshape(rows * columns, len(names))


def _row(form: Form, names: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    pixels = scaled(form.image)
    return pixels, cells(form.found, names, pixels.shape[0] // _CELL, pixels.shape[1] // _CELL)


def render(
    folder: Path,
    count: int,
    split: Split,
    ids: Sequence[str],
    first: int = 0,
    told: Callable[[int, int], None] | None = None,
    crowded: bool = False,
) -> list[Shard]:
    """Render forms `first` to `first + count` into shards, passing over shards that are there; returns them, pixels on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    names, kind, end = (*ids, *SEEN), "crowded" if crowded else split, first + count
    files = [(start, folder / f"{kind}-{start:07d}.npz") for start in range(first, end, SIZE)]
    for start, file in files:
        last = min(start + SIZE, end)
        if not file.is_file():
            _write(file, [make(n, split, crowded=crowded) for n in range(start, last)], ids, names)
        if told is not None:
            told(last - first, count)
    return [read(file) for _, file in files]


def _write(file: Path, forms: Sequence[Form], ids: Sequence[str], names: Sequence[str]) -> None:
    """Write a shard: the pixels first, so that a shard whose answers are there is whole."""
    rows = [_row(f, names) for f in forms]
    pixels, partial = file.with_suffix(".npy"), file.with_suffix(".partial.npy")
    np.save(partial, np.stack([p.reshape(-1) for p, _ in rows]))
    partial.replace(pixels)
    partial = file.with_suffix(".partial.npz")
    np.savez_compressed(
        partial,
        shapes=np.array([p.shape[:2] for p, _ in rows], np.int32),
        answers=np.array([[f.answers[i] for i in ids] for f in forms], np.uint8),
        evidence=np.stack([e for _, e in rows]),
    )
    partial.replace(file)


def read(file: Path) -> Shard:
    """Open a shard; its pixels stay on the disk until they are looked at."""
    with np.load(file) as found:
        pixels = np.load(file.with_suffix(".npy"), mmap_mode="r")
        return Shard(pixels, found["shapes"], found["answers"], found["evidence"])
