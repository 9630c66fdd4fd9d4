"""Pages without a font: letters are boxes with a hole, which is all that geometry looks at."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def page(lines: int = 8, letters: int = 18, size: int = 20, downwards: bool = False) -> Image.Image:
    """Letters close to each other, lines apart."""
    step, feed = int(size * 1.15), int(size * 1.9)
    shape = (letters * step + 4 * size, lines * feed + 4 * size)
    drawn = Image.new("L", shape[::-1] if downwards else shape, 255)
    pen = ImageDraw.Draw(drawn)
    for i in range(lines):
        for j in range(letters - i % 3):
            at = 2 * size + j * step, 2 * size + i * feed
            x, y = at[::-1] if downwards else at
            pen.rectangle((x, y, x + size - 2, y + size - 2), outline=0, width=max(2, size // 7))
    return drawn


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.uint8)
