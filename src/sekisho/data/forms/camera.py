"""From the sheet to the image file: folds and tears, the desk, the angle, the light, the lens."""

from __future__ import annotations

import math
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .plan import Camera, Split
from .sheet import HEIGHT, WIDTH, Box, Sheet

Matrix = NDArray[np.float64]
"""3 × 3, homogeneous: sheet pixels to image pixels."""


def shoot(
    sheet: Sheet, camera: Camera, source: random.Random, split: Split
) -> tuple[Image.Image, dict[str, list[Box]]]:
    """Take the picture. Evidence comes back in fractions of the image's width and height."""
    desk = _desk_colour(source, split)
    _on_paper(sheet, camera, source, desk)
    matrix, corners = _pose(camera, source, split)
    image = _placed(sheet, matrix, camera, source, desk)
    found = {name: [_through(matrix, box) for box in boxes] for name, boxes in sheet.found.items()}
    _on_picture(image, camera, source, found, corners)
    image = _light(image, camera, source, split, found)
    return _turned(image, found, camera.turn)


def _desk_colour(s: random.Random, split: Split) -> tuple[int, int, int]:
    browns = (
        ((120, 82, 50), (96, 70, 48), (60, 60, 66), (84, 96, 88))
        if split == "train"
        else ((140, 100, 64), (44, 48, 60), (104, 110, 100))
    )
    return s.choice(browns)


def _on_paper(sheet: Sheet, c: Camera, s: random.Random, desk: tuple[int, int, int]) -> None:
    if c.faint:
        sheet.image = Image.blend(
            sheet.image, Image.new("RGB", sheet.image.size, sheet.paper), s.uniform(0.68, 0.82)
        )
        sheet.note("L05", (0, 0, WIDTH, HEIGHT))
    sheet.pen = ImageDraw.Draw(sheet.image)
    if c.fold:
        _fold(sheet, c.shifted, s)
    if c.stain:
        _stain(sheet, s)
    if c.corner in ("torn", "folded"):
        _corner(sheet, s, c.corner, desk if c.desk else (150, 150, 152))


def _fold(sheet: Sheet, shifted: bool, s: random.Random) -> None:
    """A crease across the page; where it was pressed badly, what lies behind it is shifted along it and a strip is lost."""
    y = int(s.uniform(0.25, 0.72) * HEIGHT)
    if shifted:
        strip, by = sheet.image.crop((0, y + 6, WIDTH, HEIGHT)), s.choice((-1, 1)) * s.randint(9, 15)
        sheet.pen.rectangle((0, y, WIDTH, HEIGHT), fill=sheet.paper)
        sheet.image.paste(strip, (by, y))
        sheet.note("L11", (0, y - 14, WIDTH, y + 18))
    for i in range(16):
        shade = 255 - int(3.2 * (16 - i))
        row = sheet.image.crop((0, y + i, WIDTH, y + i + 1)).point(lambda v, k=shade: v * k // 255)
        sheet.image.paste(row, (0, y + i))
    sheet.stroke([(0, y), (WIDTH, y + s.uniform(-3, 3))], (150, 148, 146), 2)
    sheet.note("L10", (0, y - 8, WIDTH, y + 14))


def _stain(sheet: Sheet, s: random.Random) -> None:
    """Something was spilt: a dark blob with soft edges on top of text."""
    x, y, r = s.uniform(150, 430), s.uniform(180, 520), s.uniform(46, 80)
    mask = Image.new("L", sheet.image.size, 0)
    ImageDraw.Draw(mask).ellipse((x - r * 1.5, y - r * 0.7, x + r * 1.5, y + r * 0.7), fill=225)
    sheet.image.paste(s.choice(((110, 84, 52), (70, 66, 60))), (0, 0), mask.filter(ImageFilter.BoxBlur(8)))
    sheet.pen = ImageDraw.Draw(sheet.image)
    sheet.note("L01", (x - r * 1.5, y - r * 0.7, x + r * 1.5, y + r * 0.7))


def _corner(sheet: Sheet, s: random.Random, how: str, behind: tuple[int, int, int]) -> None:
    """A corner that is gone, or turned over so that its back is seen."""
    right, low, reach = s.random() < 0.5, s.random() < 0.5, s.uniform(80, 140)
    x, y = (WIDTH if right else 0), (HEIGHT if low else 0)
    dx, dy = (
        (-reach if right else reach),
        (-reach * s.uniform(0.7, 1.3) if low else reach * s.uniform(0.7, 1.3)),
    )
    edge = [(x + dx, y), (x + dx / 2 + s.uniform(-9, 9), y + dy / 2), (x, y + dy)]
    sheet.pen.polygon([(x, y), *edge], fill=behind)
    if how == "folded":
        sheet.pen.polygon([edge[0], edge[2], (x + dx, y + dy)], fill=(214, 212, 206), outline=(130, 130, 130))
        sheet.stroke([edge[0], edge[2]], (110, 110, 110), 3)
    sheet.note("L07 L08", (min(x, x + dx), min(y, y + dy), max(x, x + dx), max(y, y + dy)))


def _pose(c: Camera, s: random.Random, split: Split) -> tuple[Matrix, list[tuple[float, float]]]:
    """Where the corners of the sheet come to lie, and the matrix that takes them there."""
    scale = s.uniform(0.76, 0.88) if c.desk or c.slant else 1.0
    moved = (0.0, 0.0)
    if c.corner == "outside":
        scale, moved = 0.92, (s.choice((-1, 1)) * 75.0, s.choice((-1, 1)) * 90.0)
    elif c.cropped:
        scale = s.uniform(1.12, 1.25)
        moved = s.choice(((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1)))
        moved = (moved[0] * 85.0, moved[1] * 105.0)
    angle = math.radians(c.tilt)
    points = []
    for x, y in ((0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)):
        dx, dy = (x - WIDTH / 2) * scale, (y - HEIGHT / 2) * scale
        px, py = dx * math.cos(angle) - dy * math.sin(angle), dx * math.sin(angle) + dy * math.cos(angle)
        points.append((px + WIDTH / 2 + moved[0], py + HEIGHT / 2 + moved[1]))
    if c.slant:
        points = _slanted(points, s, split)
    return _homography([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)], points), points


def _slanted(points: list[tuple[float, float]], s: random.Random, split: Split) -> list[tuple[float, float]]:
    """One side seen from farther away than the one across."""
    side = s.choice((0, 1, 2) if split == "train" else (0, 2, 3))
    a, b, by = side, (side + 1) % 4, s.uniform(0.11, 0.19)
    (ax, ay), (bx, by_) = points[a], points[b]
    points[a] = (ax + (bx - ax) * by, ay + (by_ - ay) * by)
    points[b] = (bx + (ax - bx) * by, by_ + (ay - by_) * by)
    return points


def _homography(source: list[tuple[float, float]], target: list[tuple[float, float]]) -> Matrix:
    """The projective map that takes four points to four others (Hartley and Zisserman 2004, 4.1, with h33 = 1)."""
    rows, right = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return np.append(np.linalg.solve(np.array(rows, float), np.array(right, float)), 1.0).reshape(3, 3)


def _placed(
    sheet: Sheet, matrix: Matrix, c: Camera, s: random.Random, desk: tuple[int, int, int]
) -> Image.Image:
    plain = not (c.desk or c.slant)
    if plain and not c.tilt and not c.cropped:
        return sheet.image
    back = Image.new("RGB", sheet.image.size, sheet.paper if plain else desk)
    if not plain:
        _grain(back, s, desk)
    inverse = np.linalg.inv(matrix)
    inverse /= inverse[2, 2]
    terms = tuple(float(v) for v in inverse.ravel()[:8])
    warped = sheet.image.transform(back.size, Image.Transform.PERSPECTIVE, terms, Image.Resampling.BILINEAR)
    mask = Image.new("L", sheet.image.size, 255).transform(
        back.size, Image.Transform.PERSPECTIVE, terms, Image.Resampling.BILINEAR
    )
    back.paste(warped, (0, 0), mask)
    return back


def _grain(back: Image.Image, s: random.Random, desk: tuple[int, int, int]) -> None:
    pen = ImageDraw.Draw(back)
    for _ in range(40):
        y, by = s.uniform(0, HEIGHT), s.randint(-14, 14)
        colour = (desk[0] + by, desk[1] + by, desk[2] + by)
        pen.line((0, y, WIDTH, y + s.uniform(-30, 30)), fill=colour, width=s.randint(2, 9))


def _through(matrix: Matrix, box: Box) -> Box:
    """The box around a box's four corners after the map, in fractions of the image."""
    left, top, right, bottom = box
    corners = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]]) @ matrix.T
    x, y = corners[:, 0] / corners[:, 2] / WIDTH, corners[:, 1] / corners[:, 2] / HEIGHT
    return (float(x.min()), float(y.min()), float(x.max()), float(y.max()))


def _on_picture(
    image: Image.Image,
    c: Camera,
    s: random.Random,
    found: dict[str, list[Box]],
    corners: list[tuple[float, float]],
) -> None:
    if c.desk or c.slant:
        found.setdefault("L15", []).extend(
            [(0, 0, 1, 0.06), (0, 0.94, 1, 1), (0, 0, 0.06, 1), (0.94, 0, 1, 1)]
        )
    if c.corner == "outside":
        x, y = max(corners, key=lambda p: abs(p[0] - WIDTH / 2) + abs(p[1] - HEIGHT / 2))
        fx, fy = min(max(x / WIDTH, 0), 1), min(max(y / HEIGHT, 0), 1)
        for name in ("L07", "L08"):
            found.setdefault(name, []).append((fx - 0.1, fy - 0.1, fx + 0.1, fy + 0.1))
    if c.hidden:
        _hide(image, s, found)
    if c.cropped:
        for name in ("L07", "L09"):
            found.setdefault(name, []).extend(_edges(corners))


def _edges(corners: list[tuple[float, float]]) -> list[Box]:
    """Strips along the sides of the picture that the sheet reaches beyond."""
    x, y = [p[0] for p in corners], [p[1] for p in corners]
    sides: list[tuple[bool, Box]] = [
        (min(x) < -40, (0, 0, 0.07, 1)),
        (max(x) > WIDTH + 40, (0.93, 0, 1, 1)),
        (min(y) < -40, (0, 0, 1, 0.06)),
        (max(y) > HEIGHT + 40, (0, 0.94, 1, 1)),
    ]
    return [box for on, box in sides if on]


def _hide(image: Image.Image, s: random.Random, found: dict[str, list[Box]]) -> None:
    """Something lies on the page: a thumb, or a dark object."""
    w, h = s.uniform(70, 110), s.uniform(90, 150)
    x, y = s.choice((-20.0, WIDTH - w + 20)), s.uniform(150, 520)
    colour = s.choice(((214, 166, 138), (60, 60, 64), (170, 124, 100)))
    ImageDraw.Draw(image).rounded_rectangle(
        (x, y, x + w, y + h), 34, fill=colour, outline=tuple(v - 30 for v in colour)
    )
    found.setdefault("L07", []).append((x / WIDTH, y / HEIGHT, (x + w) / WIDTH, (y + h) / HEIGHT))


def _light(
    image: Image.Image, c: Camera, s: random.Random, split: Split, found: dict[str, list[Box]]
) -> Image.Image:
    whole: Box = (0, 0, 1, 1)
    if c.blur:
        soft = (
            ImageFilter.GaussianBlur(c.blur)
            if split == "train" or s.random() < 0.4
            else ImageFilter.BoxBlur(c.blur * 1.35)
        )
        image = image.filter(soft)
        found["L02"] = [whole]
    if c.glare:
        image = _glare(image, s, found)
    if c.specks:
        _specks(image, s, split)
        found["L06"] = [whole]
    if c.dark < 1:
        image = image.point(lambda v: int(v * c.dark))
        found["L03"] = [whole]
    else:
        lamp = s.uniform(0.88, 1.0)
        image = image.point(lambda v: int(v * lamp))
    for name, on in (("L12", c.turn), ("L13", c.tilt or c.slant), ("L14", c.turn), ("L16", c.slant)):
        if on:
            found[name] = [whole]
    return image


def _glare(image: Image.Image, s: random.Random, found: dict[str, list[Box]]) -> Image.Image:
    """Light that washes a patch out."""
    x, y, rx, ry = s.uniform(0.25, 0.75), s.uniform(0.2, 0.75), s.uniform(0.15, 0.28), s.uniform(0.1, 0.2)
    gx, gy = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    far = ((gx - x) / rx) ** 2 + ((gy - y) / ry) ** 2
    mask = np.clip(1.7 - far, 0, 1)
    pixels = np.asarray(image, dtype=np.float32)
    # A flash is brighter than paper; the paper beside it looks a little greyer for it.
    lit = pixels * 0.86 * (1 - mask[..., None]) + 255.0 * mask[..., None]
    for name in ("L04", "L01"):
        found.setdefault(name, []).append((x - rx, y - ry, x + rx, y + ry))
    return Image.fromarray(lit.astype(np.uint8))


def _specks(image: Image.Image, s: random.Random, split: Split) -> None:
    pen = ImageDraw.Draw(image)
    for _ in range(s.randint(140, 320)):
        x, y, r = s.uniform(0, WIDTH), s.uniform(0, HEIGHT), s.choice((1.0, 1.5, 2.0, 3.0))
        shade = s.randint(20, 130)
        if split == "held" and s.random() < 0.3:
            pen.line((x, y, x + s.uniform(-7, 7), y + s.uniform(-7, 7)), fill=(shade, shade, shade), width=2)
        else:
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(shade, shade, shade - 10))


_TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}


def _turned(
    image: Image.Image, found: dict[str, list[Box]], turn: int
) -> tuple[Image.Image, dict[str, list[Box]]]:
    """Quarter turns, anticlockwise."""
    for _ in range(turn):
        found = {name: [(t, 1 - r, b, 1 - l) for l, t, r, b in boxes] for name, boxes in found.items()}  # noqa: E741
    return (image.transpose(_TURNS[turn]) if turn else image), found
