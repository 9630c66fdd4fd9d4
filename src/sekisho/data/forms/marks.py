"""Marks people leave on paper: seals, signatures, stamps that call out, corrections, notes, portraits, holes."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

from . import words
from .plan import Field, Plan
from .sheet import HEIGHT, WIDTH, Box, Sheet, font

RED = (205, 30, 35)
BLUE = (30, 50, 165)


def seal(sheet: Sheet, x: float, y: float, size: int = 46, evidence: str = "seen_seal") -> None:
    """A round red seal with a name in it, a little turned, its middle at (x, y)."""
    s = sheet.source
    mask = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(mask)
    pen.ellipse((1, 1, size - 2, size - 2), outline=255, width=max(2, size // 16))
    for i, letter in enumerate(s.choice(words.SEALS)):
        own = int(size * 0.36)
        pen.text((size / 2 - own / 2, size * 0.12 + i * own), letter, 235, font(sheet.path, own))
    mask = mask.rotate(s.uniform(-14, 14)).point([int(v * s.uniform(0.75, 1.0)) for v in range(256)])
    sheet.tilted(x - size / 2, y - size / 2, mask, RED)
    sheet.note(evidence, (x - size / 2, y - size / 2, x + size / 2, y + size / 2))


def signature(sheet: Sheet, box: Box, ink: tuple[int, int, int]) -> None:
    """A signature: loops that run to the right."""
    s, (left, top, right, bottom) = sheet.source, box
    x, middle, points = left + 8, (top + bottom) / 2, []
    reach, phase = (right - left) * s.uniform(0.6, 0.85), s.uniform(0, 6)
    for i in range(60):
        t = i / 59
        points.append(
            (
                x + reach * t + 7 * math.sin(17 * t + phase),
                middle + 10 * math.sin(29 * t + phase) * (1 - 0.5 * t),
            )
        )
    sheet.stroke(points, ink, 2)
    sheet.note("seen_signature", box)


def call(sheet: Sheet, plan: Plan, x: float, y: float) -> None:
    """A mark that calls out: confidential, urgent. Loud ones are red or framed."""
    s = sheet.source
    text = s.choice(words.SECRETS if plan.secret else words.CALLS)
    red = plan.loud and s.random() < 0.75
    framed = plan.loud and (not red or s.random() < 0.6)
    ink = RED if red else sheet.ink
    size = 26 if len(text) < 6 else 20
    wide = sheet.width(text, size)
    x = min(max(x, 8), WIDTH - wide - 24)
    box = (x - 6, y - 5, x + wide + 6, y + size + 6)
    sheet.text(x, y, text, size, ink)
    if framed and len(text) == 1:
        sheet.pen.ellipse(box, outline=ink, width=3)
    elif framed:
        sheet.frame(box, ink, 3)
    sheet.note(" ".join(n for n, on in (("T01", plan.secret), ("T02", plan.loud)) if on) or "seen_call", box)


def changed(sheet: Sheet, f: Field, box: Box, ink: tuple[int, int, int]) -> None:
    """The traces of a change of the entry in `box`."""
    s, (left, top, right, bottom) = sheet.source, box
    right = min(right, WIDTH - 60)
    middle = (top + bottom) / 2
    if f.fix == "strike":
        for gap in (-2, 3):
            sheet.stroke(
                [(left - 3, middle + gap + s.uniform(-1, 1)), (right + 3, middle + gap + s.uniform(-2, 2))],
                ink,
                2,
            )
        sheet.note("T06 T07 T08", (left, top, right, bottom))
    else:
        _fluid(sheet, left + (right - left) * s.uniform(0, 0.3), top, right)
        sheet.note("T06 T09", (left, top - 3, right, bottom + 3))
    if f.squeezed:
        _squeezed(sheet, f, box, ink)
    if f.sealed:
        seal(sheet, min(right + 18, WIDTH - 30), middle, 26, "T10")


def _squeezed(sheet: Sheet, f: Field, box: Box, ink: tuple[int, int, int]) -> None:
    """Small words above or beside what was struck."""
    left, top, right, _ = box
    x, y = (left + 6, top - 15) if sheet.source.random() < 0.5 else (right + 34, top + 2)
    x = min(x, WIDTH - 110)
    sheet.note("T11", sheet.hand(x, y, sheet.source.choice(words.VALUES)[:5], 14, ink, True))


def _fluid(sheet: Sheet, left: float, top: float, right: float) -> None:
    """A blob of white, whiter than paper, with a faint edge; what was beneath is gone, and part of it written again."""
    s, points = sheet.source, []
    for i in range(18):
        a = 2 * math.pi * i / 18
        points.append(
            (
                (left + right) / 2 + (right - left) * 0.56 * math.cos(a) + s.uniform(-3, 3),
                top + 11 + 15 * math.sin(a) + s.uniform(-2, 2),
            )
        )
    sheet.pen.polygon(points, fill=(255, 255, 255), outline=(188, 188, 184))
    sheet.stroke([*points, points[0]], (190, 190, 186), 2)
    sheet.hand((left + right) / 2 - 24, top + 2, s.choice(words.VALUES)[:4], 17, sheet.ink, True)


def notes(sheet: Sheet) -> None:
    """Words in the margin, by hand and askew."""
    s = sheet.source
    for _ in range(s.randint(1, 2)):
        x, y = s.choice(
            ((6, s.uniform(120, 600)), (WIDTH - 62, s.uniform(120, 600)), (s.uniform(60, 380), HEIGHT - 30))
        )
        sheet.note(
            "H05", sheet.hand(x, y, s.choice(words.NOTES), 19, s.choice((RED, BLUE, (50, 50, 50))), True)
        )


def portrait(sheet: Sheet, x: float, y: float) -> None:
    """A portrait photo, or the copy of an identity card with one."""
    s, card = sheet.source, sheet.source.random() < 0.5
    wide, high = (150, 92) if card else (74, 92)
    x = min(x, WIDTH - wide - 12)
    sheet.pen.rectangle(
        (x, y, x + wide, y + high), fill=(214, 222, 228) if card else (178, 196, 210), outline=sheet.ink
    )
    px, py, w, h = (x + 8, y + 12, 54, 68) if card else (x, y, wide, high)
    back = s.choice(((150, 180, 205), (165, 165, 170), (190, 175, 150)))
    sheet.pen.rectangle((px, py, px + w, py + h), fill=back)
    sheet.pen.ellipse(
        (px + w * 0.1, py + h * 0.66, px + w * 0.9, py + h * 1.3),
        fill=s.choice(((40, 45, 70), (80, 40, 40), (35, 35, 35))),
    )
    sheet.pen.rectangle(
        (px - 1, py + h, px + w + 1, py + h * 1.35), fill=(214, 222, 228) if card else sheet.paper
    )
    sheet.pen.ellipse((px + w * 0.3, py + h * 0.2, px + w * 0.7, py + h * 0.68), fill=(222, 184, 160))
    sheet.pen.chord((px + w * 0.27, py + h * 0.14, px + w * 0.73, py + h * 0.55), 180, 360, fill=(35, 25, 20))
    for i in range(4 if card else 0):
        sheet.stroke([(x + 74, y + 22 + 16 * i), (x + 140 - 12 * (i % 2), y + 22 + 16 * i)], sheet.ink, 3)
    sheet.note("T05", (x, y, x + wide, y + high))


def bound(sheet: Sheet, how: str) -> None:
    """A staple in the corner, or two punched holes."""
    s = sheet.source
    if how == "staple":
        x, y = s.uniform(18, 40), s.uniform(18, 40)
        sheet.stroke([(x, y + 16), (x + 20, y)], (70, 72, 78), 4)
        sheet.stroke([(x + 2, y + 19), (x + 22, y + 3)], (190, 190, 190), 2)
        sheet.note("C15", (x, y, x + 24, y + 20))
        return
    middle = HEIGHT / 2 + s.uniform(-40, 40)
    for y in (middle - 75, middle + 75):
        sheet.pen.ellipse((8, y, 28, y + 20), fill=(70, 66, 62), outline=(120, 120, 120))
        sheet.note("C15", (8, y, 28, y + 20))


def hands_ink(plan: Plan, source: random.Random, ink: tuple[int, int, int]) -> tuple[int, int, int]:
    """The colour of what was filled in: that of the print, or another."""
    if not plan.coloured:
        return ink
    return source.choice((BLUE, (20, 60, 190), (60, 60, 200)))
