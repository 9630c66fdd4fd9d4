"""Pixels as a vision transformer of the Qwen2-VL family takes them: scaled to a grid of patches, patches in blocks of 2 × 2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PATCH, MERGE = 16, 2
AREA = 288 * 384
"""Most pixels of a picture after scaling."""
MEAN, SPREAD = 0.75, 0.25
"""Of every colour, from 0 to 1: what a model sees is `(value - MEAN) / SPREAD`."""


def fitted(width: int, height: int, area: int = AREA) -> tuple[int, int]:
    """The size a picture is scaled to: multiples of 32 near its own shape, at most `area` pixels, at least one block each way."""
    block = PATCH * MERGE
    scale = (area / (width * height)) ** 0.5
    most = max(1, area // block**2)
    columns = min(max(1, round(width * scale / block)), most)
    rows = max(1, min(round(height * scale / block), most // columns))
    return columns * block, rows * block


def scaled(image: Image.Image, area: int = AREA) -> NDArray[np.uint8]:
    """The picture in RGB at its fitted size, `[height, width, 3]`; every pixel is the mean of those it stands for."""
    size = fitted(*image.size, area)
    return np.asarray(
        image.convert("RGB").resize(
            size, Image.Resampling.BOX if image.width > size[0] else Image.Resampling.BILINEAR
        )
    )


def patches(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Flattened patches `[rows × columns, 3 × 16 × 16]` of `[height, width, 3]`, in the family's order, and how many rows and columns of them there are."""
    rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    grid: NDArray[Any] = pixels.reshape(rows // MERGE, MERGE, PATCH, columns // MERGE, MERGE, PATCH, 3)
    flat = grid.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, 3 * PATCH * PATCH)
    return (flat.astype(np.float32) / 255.0 - MEAN) / SPREAD, (rows, columns)
