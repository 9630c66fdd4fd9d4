"""Clean-up of a page before it is read: even light, no specks, letters of a readable size, straight lines; and whether the lines run downwards.

Thresholds decide geometry only. What is read stays grey: Tesseract's network reads soft edges better than hard ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
"""[height, width], 0 black to 255 white."""

LETTER = 34
"""Height in pixels that letters are brought to when they are smaller; Tesseract's network was trained near it."""
_MOST_PIXELS = 24_000_000
_STEEPEST = 12.0
"""Degrees of tilt that are looked for; a page turned further is turned by quarters first."""


@dataclass(frozen=True)
class Page:
    """A cleaned page.

    Attributes:
        image: [height, width] grey.
        angle: tilt that was undone, degrees, anticlockwise.
        scale: how much larger than the original.
        vertical: how much more room there is between columns than between rows; above 1 for lines that run downwards.
        back: [2, 3] affine map from this page's pixels to the original's.
    """

    image: Grey
    angle: float
    scale: float
    vertical: float
    back: NDArray[np.float64]

    def box(self, left: float, top: float, width: float, height: float) -> tuple[int, int, int, int]:
        """The smallest upright box of the original around a box of this page: left, top, width, height."""
        xs, ys = np.array([left, left + width] * 2), np.array([top, top, top + height, top + height])
        x, y = self.back @ np.stack([xs, ys, np.ones(4)])
        corner = round(float(x.min())), round(float(y.min()))
        return *corner, round(float(x.max())) - corner[0], round(float(y.max())) - corner[1]


def clean(image: Grey) -> Page:
    """Clean a page up.

    Args:
        image: [height, width], upright or turned by quarters at most.
    """
    lit = even_light(without_specks(image))
    ink = ink_of(lit)
    angle, vertical = tilt(ink)
    scale = _scale(ink)
    forth, size = _motion(image.shape, angle, scale)
    moved = cv2.warpAffine(
        lit, forth, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=255
    )
    return Page(_grey(moved), angle, scale, vertical, np.asarray(cv2.invertAffineTransform(forth)))


def _grey(image: Any) -> Grey:
    return np.asarray(image, dtype=np.uint8)


def without_specks(image: Grey) -> Grey:
    """Remove specks of a pixel or two where there are many; a clean page is left as it is, since the filter costs edges."""
    if _specks(image) > 0.003:
        return _grey(cv2.medianBlur(image, 3))
    grain = _grain(image)
    if grain < 6:
        return image
    return _grey(cv2.fastNlMeansDenoising(image, None, h=min(45.0, grain), searchWindowSize=11))


def _specks(image: Grey) -> float:
    """Share of pixels that stand out from all eight neighbours. Thin strokes of small letters do not: they go on."""
    around = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=np.uint8)
    wide = image.astype(np.int16)
    dark = cv2.erode(image, around).astype(np.int16) - wide > 60
    bright = wide - cv2.dilate(image, around).astype(np.int16) > 60
    return float(np.mean(dark | bright))


def _grain(image: Grey) -> float:
    """Standard deviation of noise, from a Laplacian that plain edges do not answer to (Immerkær 1996), by its median."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float64)
    return float(np.median(np.abs(cv2.filter2D(image.astype(np.float64), -1, kernel)))) / (6 * 0.6745)


def even_light(image: Grey) -> Grey:
    """Divide by the paper's own brightness, and stretch what is left to the full range."""
    reach = max(15, min(image.shape) // 20) | 1
    paper = cv2.dilate(image, np.ones((reach, reach), np.uint8))
    paper = cv2.blur(paper, (reach, reach))
    flat = np.minimum(255.0, image.astype(np.float64) * 255 / np.maximum(paper, 1))
    darkest = float(np.percentile(flat, 0.5))
    # On an empty page there is no ink to stretch to, and stretching would make some.
    return _grey(np.clip((flat - darkest) * 255 / (255 - darkest), 0, 255)) if darkest < 225 else _grey(flat)


def ink_of(lit: Grey) -> Grey:
    """[height, width], 255 where there is ink, else 0."""
    reach = max(31, min(lit.shape) // 12) | 1
    return _grey(
        cv2.adaptiveThreshold(lit, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY_INV, reach, 20)
    )


def tilt(ink: Grey) -> tuple[float, float]:
    """The angle that makes lines straightest, and how much more room there is between columns than between rows.

    Straight lines of text leave empty stripes between them: sums along the lines then change sharply from one to the next. Letters on a grid leave stripes
    in both directions; those between lines are the wider ones.
    """
    if not ink.any():
        return 0.0, 1.0
    factor = min(1.0, 600 / max(ink.shape))
    small = _grey(cv2.resize(ink, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))
    angle = 0.0
    for step, reach in ((1.0, _STEEPEST), (0.25, 1.0), (0.1, 0.2)):
        tried = [angle + d for d in np.arange(-reach, reach + step / 2, step)]
        angle = max(tried, key=lambda a: max(_order(*_sums(small, a))))
    rows, columns = (_empty(s) for s in _sums(small, angle))
    return (0.0 if abs(angle) < 0.15 else round(float(angle), 2)), (columns + 0.02) / (rows + 0.02)


def _sums(ink: Grey, angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean ink of each row, and of each column, when the page is turned by `angle`."""
    height, width = ink.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turned = cv2.warpAffine(ink, turn, (width, height), flags=cv2.INTER_LINEAR)
    return turned.mean(axis=1, dtype=np.float64), turned.mean(axis=0, dtype=np.float64)


def _order(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> tuple[float, float]:
    """How sharply the sums change from one row, and from one column, to the next."""
    return float(np.mean(np.diff(rows) ** 2)), float(np.mean(np.diff(columns) ** 2))


def _empty(sums: NDArray[np.float64]) -> float:
    """Share of the stripes without ink, between the first and the last with some."""
    low, high = np.percentile(sums, (2, 90))
    inked = np.flatnonzero(sums > low + 0.2 * (high - low))
    return float(1 - inked.size / (inked[-1] - inked[0] + 1)) if inked.size else 0.0


def _scale(ink: Grey) -> float:
    """How much to enlarge, from the size of what could be letters; specks are many, and have little ink."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink)
    sizes = np.maximum(stats[1:, cv2.CC_STAT_HEIGHT], stats[1:, cv2.CC_STAT_WIDTH])
    letters = (sizes >= 5) & (sizes < max(ink.shape) / 4)
    if not letters.any():
        return 1.0
    order = np.argsort(sizes[letters])
    mass = np.cumsum(stats[1:, cv2.CC_STAT_AREA][letters][order])
    middle = float(sizes[letters][order][np.searchsorted(mass, mass[-1] / 2)])
    return float(np.clip(LETTER / middle, 1.0, min(4.0, (_MOST_PIXELS / ink.size) ** 0.5)))


def _motion(
    shape: tuple[int, ...], angle: float, scale: float
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """The affine map that turns and enlarges, with a margin that loses no corner, and the size of the result."""
    height, width = shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    margin = LETTER
    new = round(width * cos + height * sin) + 2 * margin, round(width * sin + height * cos) + 2 * margin
    turn[0, 2] += new[0] / 2 - width / 2
    turn[1, 2] += new[1] / 2 - height / 2
    return np.asarray(turn), new
