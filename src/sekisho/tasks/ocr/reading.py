"""From an image to text: clean it up, read it the likeliest way, and the other ways only when the first one is unsure of itself.

Which way a page is turned, and whether its lines run downwards, is seen from the page as far as possible. What the page leaves open, Tesseract's own confidence
decides between readings of the same pixels.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...core.errors import EngineTimeoutError
from .cleanup import Grey, Page, clean
from .tesseract import ONE_BLOCK, ONE_VERTICAL_BLOCK, read
from .text import Line, confidence

SURE = 0.8
"""Confidence from which on no other way is tried."""
VERTICAL = {"jpn": "jpn_vert"}
"""Language data for lines that run downwards, by that for lines that run across."""


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        lines: in reading order, boxes in pixels of the upright image.
        confidence: 0 to 1.
        angle: tilt that was undone, in degrees.
        quarters: quarter turns, anticlockwise, that set the page upright.
        vertical: whether lines run downwards.
        tried: how many ways were tried.
    """

    lines: tuple[Line, ...]
    confidence: float
    angle: float
    quarters: int
    vertical: bool
    tried: int


@dataclass(frozen=True)
class _Way:
    quarters: int
    vertical: bool


def read_image(image: Image.Image, languages: Sequence[str], seconds: float, threads: int = 1) -> Reading:
    """Read all text of an upright image.

    Args:
        languages: Tesseract's names for lines that run across, such as jpn and eng.
        seconds: deadline for all readings together.

    Raises:
        ToolError, EngineTimeoutError, EngineError: as `tesseract.read` does.
    """
    grey = np.asarray(image.convert("L"), dtype=np.uint8)
    end = time.monotonic() + seconds
    best: Reading | None = None
    page, tried = clean(grey), 0
    for way in _ways(page.vertical, languages):
        left = end - time.monotonic()
        if left <= 0:
            raise EngineTimeoutError(
                f"The image could not be read within {seconds:g} seconds.", "Allow more time."
            )
        tried += 1
        found = _read(page, way, languages, left, threads)
        if best is None or found.confidence > best.confidence:
            best = found
        if best.confidence >= SURE:
            break
    assert best is not None, "there is always a way to try"
    return Reading(**{**vars(best), "tried": tried})


def _ways(vertical: float, languages: Sequence[str]) -> Iterator[_Way]:
    """Ways to read a page, the likeliest first."""
    downwards = [_Way(0, True), _Way(2, True)] if any(x in VERTICAL for x in languages) else []
    if vertical > 1:
        yield from (*downwards[:1], _Way(1, False), _Way(3, False), *downwards[1:], _Way(0, False))
    else:
        yield from (_Way(0, False), _Way(2, False), *downwards)


def _read(page: Page, way: _Way, languages: Sequence[str], seconds: float, threads: int) -> Reading:
    image = np.ascontiguousarray(np.rot90(page.image, way.quarters))
    if way.vertical:
        names, mode = [VERTICAL.get(x, x) for x in languages if x in VERTICAL], ONE_VERTICAL_BLOCK
    else:
        names, mode = list(languages), ONE_BLOCK
    lines = read(_png(image), names, mode, seconds, threads)
    back = _placed(page, way.quarters)
    placed = tuple(line.model_copy(update={"box": back(line.box)}) for line in lines)
    return Reading(placed, confidence(lines), page.angle, way.quarters, way.vertical, 1)


def _png(image: Grey) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _placed(page: Page, quarters: int) -> Callable[[tuple[int, int, int, int]], tuple[int, int, int, int]]:
    """The map from boxes of the page as it was read to boxes of the upright image."""
    height, width = page.image.shape

    def back(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        left, top, wide, high = box
        turned = {
            0: (left, top, wide, high),
            1: (width - top - high, left, high, wide),
            2: (width - left - wide, height - top - high, wide, high),
            3: (top, height - left - wide, high, wide),
        }
        return page.box(*turned[quarters])

    return back
