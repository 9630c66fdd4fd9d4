"""Ruled tables on a form."""

from __future__ import annotations

from . import words
from .plan import Grid
from .sheet import LEFT, RIGHT, Sheet


def table(sheet: Sheet, g: Grid, y: float) -> float:
    """Draw a table from `y` on; returns where it ends."""
    s = sheet.source
    columns = (LEFT, LEFT + 200, LEFT + 290, LEFT + 384, RIGHT)
    high = 24 if g.rows > 6 else 27
    lines = g.rows + (g.header) + (g.total)
    for i in range(lines + 1):
        sheet.stroke([(LEFT, y + i * high), (RIGHT, y + i * high)])
    for x in columns:
        sheet.stroke([(x, y), (x, y + lines * high)])
    for i in range(lines):
        top = y + i * high
        if g.header and i == 0:
            sheet.pen.rectangle((LEFT + 1, top + 1, RIGHT - 1, top + high - 1), fill=(222, 224, 230))
            for x, head in zip(columns, words.HEADS, strict=False):
                sheet.text(x + 14, top + 4, head, 17)
            sheet.note("H07", (LEFT, top, RIGHT, top + high))
        elif g.total and i == lines - 1:
            sheet.note("H09", (LEFT, top, RIGHT, top + high))
            sheet.text(LEFT + 60, top + 4, "合計", 18)
            sheet.text(columns[3] + 16, top + 4, f"{s.randint(10, 99)},{s.randint(100, 999)}", 17)
        else:
            _row(sheet, g, columns, top)
    if g.rows >= 5:
        sheet.note("H06", (LEFT, y, RIGHT, y + lines * high))
    return y + lines * high + 8


def _row(sheet: Sheet, g: Grid, columns: tuple[float, ...], top: float) -> None:
    s = sheet.source
    sheet.text(columns[0] + 8, top + 4, s.choice(words.ITEMS), 17)
    for i in range(1, 4):
        if not g.figures:
            sheet.text(columns[i] + 10, top + 4, s.choice(("済", "有", "無", "要", "-")), 17)
            continue
        right = columns[i + 1] - (28 if g.unit and i != 2 else 8)
        figure = str(s.randint(1, 9) * 10 ** (i - 1) + s.randint(0, 9))
        sheet.text(right - sheet.width(figure, 17), top + 4, figure, 17)
        if g.unit and i != 2:
            sheet.note(
                "H10", sheet.text(columns[i + 1] - 24, top + 4, s.choice(words.UNITS) if i == 1 else "円", 17)
            )
    if g.unit and not g.figures:
        sheet.note("H10", sheet.text(columns[4] - 24, top + 4, "円", 17))
    if g.figures:
        sheet.note("H08", (columns[1], top, columns[4], top + 24))
