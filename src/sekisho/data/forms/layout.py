"""Where things stand on a form: a plan in, a drawn sheet with its evidence out."""

from __future__ import annotations

import random
from typing import Any

from . import marks, tables, words
from .answers import between, sealed
from .plan import Field, Plan
from .sheet import HEIGHT, LEFT, RIGHT, WIDTH, Sheet

_PLACES = [
    (style, dated, signed)
    for style in ("grid", "line", "open")
    for dated in ("top", "row")
    for signed in ("low", "middle")
]


def draw(plan: Plan, source: random.Random) -> Sheet:
    """Draw a plan. Every third way of laying a form out is kept for measuring."""
    kept = [p for i, p in enumerate(_PLACES) if (i % 3 == 2) == (plan.split == "held")]
    sheet, (style, dated, signed) = Sheet(source, plan.split), source.choice(kept)
    signed = "middle" if plan.breaks else signed  # the end of the page is taken
    y = _head(sheet, plan, dated)
    ink = marks.hands_ink(plan, source, sheet.ink)
    for i, f in enumerate(plan.fields):
        y = _field(sheet, plan, f, y, style, ink, i)
    if dated == "row" and plan.date:
        y = _date(sheet, plan, LEFT + 4, y + 6, ink) + 10
    if plan.number:
        y = _number(sheet, y)
    if plan.choices is not None:
        y = _choices(sheet, plan.choices, y, ink)
    if signed == "middle":
        y = _signing(sheet, plan, y + 6, ink)
    if plan.grid is not None:
        y = tables.table(sheet, plan.grid, y + 6)
    low = HEIGHT - 128 if signed == "low" else HEIGHT - 50
    _body(sheet, plan, y + 8, low)
    if signed == "low":
        _signing(sheet, plan, max(y + 10, HEIGHT - 124), ink)
    _foot(sheet, plan)
    _extras(sheet, plan)
    return sheet


def _head(sheet: Sheet, plan: Plan, dated: str) -> float:
    s = sheet.source
    size = s.randint(27, 34)
    wide = sheet.width(plan.title, size)
    x, y = (WIDTH - wide) / 2 if s.random() < 0.75 else LEFT, s.uniform(34, 48)
    sheet.note("seen_title", sheet.text(x, y, plan.title, size))
    if plan.secret or plan.call:
        marks.call(sheet, plan, s.choice((12, WIDTH - 150)), s.uniform(8, 16))
    y += size + 14
    ink = marks.hands_ink(plan, s, sheet.ink)
    if dated == "top" and plan.date:
        _date(sheet, plan, WIDTH - 236, y, ink)
    if plan.portrait:
        marks.portrait(sheet, s.choice((LEFT, LEFT + 20)), y)
        return y + 104
    return y + 36


def _fill(
    sheet: Sheet, plan: Plan, x: float, y: float, text: str, ink: Any, size: int = 19
) -> tuple[float, float, float, float]:
    """What was filled in: by hand or typed."""
    if plan.hand:
        return sheet.hand(x, y, text, size + 2, ink, plan.uneven)
    return sheet.text(x, y, text, size, ink)


def _field(sheet: Sheet, plan: Plan, f: Field, y: float, style: str, ink: Any, place: int) -> float:
    s, high, split = sheet.source, sheet.source.randint(34, 38), LEFT + 138
    box = (split, y, RIGHT, y + high)
    if style == "grid":
        sheet.frame((LEFT, y, split, y + high))
        sheet.frame(box)
    elif style == "line":
        sheet.stroke([(split, y + high - 4), (RIGHT, y + high - 4)])
    else:
        sheet.frame((split, y + 2, RIGHT, y + high - 3))
    sheet.text(LEFT + 6, y + 8, f.label, 18)
    if f.required:
        end = LEFT + 8 + sheet.width(f.label, 18)
        sheet.text(min(end, split - 16), y + 7, "※", 16, marks.RED)
    if not f.filled:
        names = [
            n
            for n, on in (("C01", f.required), ("C03", f.kind == "name"), ("C04", f.kind == "address"))
            if on
        ]
        if place in between(plan):
            names.append("C02")
        sheet.note(" ".join(names) or "seen_empty", box)
        return y + high + (0 if style == "grid" else 5)
    text = s.choice(
        words.PEOPLE if f.kind == "name" else words.PLACES if f.kind == "address" else words.VALUES
    )
    wild = plan.beyond and place == 0
    written = _fill(
        sheet,
        plan,
        split + s.uniform(6, 26),
        y + (s.choice((-9, 17)) if wild else 8),
        text + ("、" + text if wild and s.random() < 0.6 else ""),
        ink,
        25 if wild else 19,
    )
    if wild:
        sheet.note("H04", written)
    if plan.hand:
        sheet.note("H01" + " H02" * plan.coloured + " H03" * plan.uneven, written)
    else:
        sheet.note("seen_typed", written)
    if f.fix:
        marks.changed(sheet, f, written, ink)
    return y + high + (0 if style == "grid" else 5)


def _date(sheet: Sheet, plan: Plan, x: float, y: float, ink: Any) -> float:
    """Year, month, day; printed marks have room before them, other dates stand in a box after a label."""
    s = sheet.source
    year = s.choice(("令和8", "2026", "2025", "令和7"))
    given = {
        "full": (1, 1, 1),
        "empty": (0, 0, 0),
        "no_day": (1, 1, 0),
        "no_month": (1, 0, 1),
        "year": (1, 0, 0),
    }[plan.date or "full"]
    start = x
    if plan.marks:
        for text, mark, room, on in zip(
            (year, str(s.randint(1, 12)), str(s.randint(1, 28))), "年月日", (62, 34, 34), given, strict=True
        ):
            if on:
                _fill(sheet, plan, x + 2, y, text, ink, 17)
            x += room
            sheet.text(x, y, mark, 18)
            x += 24
    else:
        sheet.text(x, y + 2, "日付", 18)
        sheet.frame((x + 46, y - 4, x + 196, y + 26))
        parts = [str(s.choice((2025, 2026))), str(s.randint(1, 12)), str(s.randint(1, 28))]
        _fill(sheet, plan, x + 54, y, "/".join(p for p, on in zip(parts, given, strict=True) if on), ink, 17)
        x += 196
    box = (start, y - 4, x, y + 26)
    bad = {
        "full": "seen_date",
        "empty": "C06 C07",
        "no_day": "C07 C09",
        "no_month": "C07 C09",
        "year": "C07 C09 C10",
    }[plan.date or "full"]
    sheet.note(bad + (" C08" if plan.marks and plan.date != "full" else ""), box)
    return y + 28


def _number(sheet: Sheet, y: float) -> float:
    s = sheet.source
    left = LEFT + 8 + sheet.width(label := s.choice(words.NUMBERS), 18)
    sheet.text(LEFT + 4, y + 8, label, 18)
    for i in range(12):
        x = left + 6 + i * 21 + (i // 4) * 7
        sheet.frame((x, y + 5, x + 20, y + 31), width=1)
        sheet.text(x + 5, y + 9, str(s.randint(0, 9)), 18)
    sheet.note("T04", (LEFT, y + 4, left + 280, y + 32))
    return y + 38


def _choices(sheet: Sheet, ticked: bool, y: float, ink: Any) -> float:
    s = sheet.source
    options = s.choice(words.CHOICES)
    chosen = s.randrange(len(options)) if ticked else -1
    x = float(LEFT + 8)
    for i, option in enumerate(options):
        sheet.frame((x, y + 8, x + 18, y + 26), width=2)
        if i == chosen:
            sheet.stroke([(x + 2, y + 16), (x + 8, y + 25), (x + 22, y + 3)], ink, 4)
        sheet.note(
            "C05" if not ticked else "seen_tick" if i == chosen else "seen_untick", (x, y + 4, x + 22, y + 28)
        )
        x += 28 + sheet.text(x + 26, y + 8, option, 18)[2] - x + 8
    return y + 36


def _body(sheet: Sheet, plan: Plan, y: float, low: float) -> None:
    """Running text. Where it breaks off, it fills the page to its end and the last line has no full stop."""
    s = sheet.source
    if plan.viewers:
        sheet.note("T03", sheet.text(LEFT + 4, y, s.choice(words.VIEWERS), 18))
        y += 28
    if plan.attached:
        sheet.note("C13", sheet.text(LEFT + 4, y, s.choice(words.ATTACHED), 18))
        y += 28
    step, letters = 25, 26
    room = int((low - y) // step)
    if room < 1:
        return
    text = "".join(s.choice(words.SENTENCES) for _ in range(12))
    count = s.randint(1, min(3, room))
    for i in range(count):
        line = text[i * letters : (i + 1) * letters]
        if i == count - 1:
            line = line[: s.randint(6, 16)].rstrip("、。") + "。"
        sheet.text(LEFT + 4, y + i * step, line, 18)


def _signing(sheet: Sheet, plan: Plan, y: float, ink: Any) -> float:
    """Approval boxes, the box for the seal, the line for the signature, side by side."""
    s, x = sheet.source, float(LEFT + 2)
    for i, stamped in enumerate(plan.approvals or ()):
        last = i == len(plan.approvals or ()) - 1
        sheet.frame((x, y, x + 56, y + 22))
        sheet.frame((x, y + 22, x + 56, y + 74))
        sheet.text(x + 10, y + 2, words.APPROVERS[i % 3 if not last else 2], 17)
        if stamped:
            marks.seal(sheet, x + 28, y + 48, 42)
        else:
            partly = any(plan.approvals or ())
            sheet.note("T15 " * partly + "T16" * last or "seen_bare", (x, y + 22, x + 56, y + 74))
        x += 56
    x += 16 if plan.approvals else 0
    if plan.signature is not None:
        sheet.text(x, y + 34, "署名", 18)
        box = (x + 44, y + 18, x + 44 + 150, y + 60)
        sheet.stroke([(box[0], box[3]), (box[2], box[3])])
        if plan.signature:
            marks.signature(sheet, box, ink)
        else:
            sheet.note("T13 T14" if _bare(plan) else "T13", box)
        x += 210
    if plan.seal is not None:
        x = min(max(x, s.uniform(x, RIGHT - 64)), RIGHT - 64)
        box = (x, y + 10, x + 62, y + 72)
        sheet.frame(box)
        sheet.text(x + 2, y - 9, "印", 16)
        if plan.seal:
            marks.seal(sheet, x + 31 + s.uniform(-4, 4), y + 41 + s.uniform(-4, 4), 50)
        else:
            sheet.note("T12 T14" if _bare(plan) else "T12", box)
    return y + 82


def _bare(plan: Plan) -> bool:
    return not sealed(plan) and not plan.signature


def _foot(sheet: Sheet, plan: Plan) -> None:
    s = sheet.source
    y = HEIGHT - 34
    if plan.breaks:
        _broken_off(sheet)
        y = HEIGHT - 22
    if plan.page:
        many = s.randint(2, 6)
        text = "1/1" if plan.page == "one" else f"{s.randint(1, many)}/{many}"
        box = sheet.text(WIDTH / 2 - 18, y, text, 18)
        sheet.note("C11" if plan.page == "many" else "seen_page", box)
    if plan.continues:
        text = s.choice(words.CONTINUES)
        sheet.note("C12", sheet.text(RIGHT - sheet.width(text, 17), HEIGHT - 30, text, 17))


def _broken_off(sheet: Sheet) -> None:
    """Three full lines at the end of the page, the last of which stops in the middle of a sentence."""
    text = "".join(sheet.source.choice(words.SENTENCES) for _ in range(8)).replace("。", "、")
    top = HEIGHT - 78
    sheet.pen.rectangle((LEFT, top, RIGHT, HEIGHT - 24), fill=sheet.paper)
    for i in range(2):
        sheet.text(LEFT, top + 2 + 25 * i, text[27 * i : 27 * i + 27], 18)
    sheet.note("C14", (LEFT, top, RIGHT, HEIGHT - 24))


def _extras(sheet: Sheet, plan: Plan) -> None:
    if plan.notes:
        marks.notes(sheet)
    if plan.bound:
        marks.bound(sheet, plan.bound)
