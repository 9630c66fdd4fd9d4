"""What one form shall show, drawn from a seed: a leading theme, one for each outcome of the pack `intake`, and a few other things by chance."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from . import words

Split = Literal["train", "held"]
THEMES = (
    "secret",
    "altered",
    "unsigned",
    "undated",
    "blank",
    "unreadable",
    "broken",
    "askew",
    "several",
    "hand",
    "table",
    "ready",
)
"""In the order of the pack's outcomes O01 to O12."""


@dataclass
class Field:
    """A labelled field. `fix` is how its entry was changed: struck through, or painted over with correction fluid."""

    label: str
    kind: Literal["name", "address", "other"] = "other"
    required: bool = False
    filled: bool = True
    fix: Literal["strike", "fluid"] | None = None
    squeezed: bool = False
    sealed: bool = False


@dataclass
class Grid:
    """A ruled table."""

    rows: int
    header: bool
    figures: bool
    total: bool
    unit: bool


@dataclass
class Camera:
    """What happens between the paper and the image file. Angles in degrees; `turn` in quarter turns."""

    blur: float = 0.0
    dark: float = 1.0
    glare: bool = False
    faint: bool = False
    specks: bool = False
    stain: bool = False
    hidden: bool = False
    corner: Literal["torn", "folded", "outside"] | None = None
    cropped: bool = False
    fold: bool = False
    shifted: bool = False
    turn: int = 0
    tilt: float = 0.0
    desk: bool = False
    slant: bool = False


@dataclass
class Plan:
    """One form. Everything that is drawn is decided here, so that the answers can be read from here."""

    split: Split
    theme: str
    title: str
    fields: list[Field] = field(default_factory=list)
    hand: bool = False
    coloured: bool = False
    uneven: bool = False
    beyond: bool = False
    notes: bool = False
    choices: bool | None = None
    date: Literal["full", "empty", "no_day", "no_month", "year"] | None = "full"
    marks: bool = True
    seal: bool | None = True
    signature: bool | None = None
    approvals: list[bool] | None = None
    page: Literal["one", "many"] | None = None
    continues: bool = False
    attached: bool = False
    breaks: bool = False
    bound: Literal["staple", "holes"] | None = None
    secret: bool = False
    call: bool = False
    loud: bool = False
    viewers: bool = False
    number: bool = False
    portrait: bool = False
    grid: Grid | None = None
    camera: Camera = field(default_factory=Camera)


def draw_plan(source: random.Random, split: Split, theme: str | None = None, crowded: bool = False) -> Plan:
    """Draw a plan. The theme is drawn too when it is None; a crowded one shows much of what is otherwise rare."""
    theme = theme or source.choice(THEMES)
    plan = Plan(split, theme, source.choice(words.TITLES[split]), _fields(source, split))
    _ordinary(plan, source)
    if theme != "ready":
        _mishaps(plan, source, 0.12 if crowded else 0.03)
        if crowded:
            _crowd(plan, source)
        _THEMES[theme](plan, source)
    return plan


def _fields(source: random.Random, split: Split) -> list[Field]:
    found = [
        Field(source.choice(words.NAME), "name", source.random() < 0.6),
        Field(source.choice(words.ADDRESS), "address", source.random() < 0.4),
    ]
    found += [
        Field(label, "other", source.random() < 0.25)
        for label in source.sample(words.OTHERS[split], source.randint(1, 4))
    ]
    if source.random() < 0.15:
        source.shuffle(found)
    return found


def _ordinary(plan: Plan, s: random.Random) -> None:
    """What is neither a fault nor a hint: sealed or signed, dated, now and then a list of choices, an approval, a small table."""
    plan.seal, plan.signature = (
        s.choice([(True, None), (True, None), (True, True), (None, True)])
        if plan.theme != "ready"
        else (True, s.choice([None, True]))
    )
    plan.choices = True if s.random() < 0.4 else None
    plan.marks = s.random() < 0.8
    plan.approvals = [True] * s.randint(2, 3) if s.random() < 0.2 else None
    plan.page = "one" if s.random() < 0.1 else None
    if plan.theme not in ("ready", "table") and s.random() < 0.08:
        plan.grid = Grid(s.randint(2, 3), s.random() < 0.5, False, False, False)


def _mishaps(p: Plan, s: random.Random, chance: float) -> None:
    """Things of other themes, each by itself and seldom."""

    def now() -> bool:
        return s.random() < chance

    p.hand = s.random() < 0.05
    p.coloured, p.uneven = p.hand and s.random() < 0.6, p.hand and s.random() < 0.7
    p.notes, p.attached, p.number, p.portrait, p.call, p.viewers = now(), now(), now(), now(), now(), now()
    p.loud = p.call
    p.bound = s.choice(["staple", "holes"]) if now() else None
    p.page = "many" if now() else p.page
    p.choices = False if now() else p.choices
    if now():
        s.choice(p.fields).filled = False
    if now():
        _change(s.choice(p.fields), s)
    if now():
        p.date = s.choice(["empty", "no_day"])
    c = p.camera
    c.specks, c.desk, c.fold, c.glare = now(), now(), now(), now()
    c.tilt = s.choice((-1, 1)) * s.uniform(3, 9) if now() else 0.0


def _crowd(p: Plan, s: random.Random) -> None:
    """Other themes, and small things that are seldom seen, several at once: more is learnt of them from one such form than from twenty others."""
    for chance, theme in _CROWD:
        if s.random() < chance:
            theme(p, s)
    c = p.camera
    c.blur = s.uniform(1.9, 3.2) if s.random() < 0.08 else c.blur
    c.faint, c.stain = s.random() < 0.05, s.random() < 0.05
    if s.random() < 0.1:
        c.fold, c.shifted = True, s.random() < 0.75
    p.choices = False if s.random() < 0.1 else p.choices


def _change(f: Field, s: random.Random) -> None:
    f.filled, f.fix = True, s.choice(["strike", "strike", "fluid"])
    f.squeezed, f.sealed = f.fix == "strike" and s.random() < 0.6, s.random() < 0.5


def _secret(p: Plan, s: random.Random) -> None:
    p.secret, p.loud = s.random() < 0.85, True
    p.call = not p.secret
    p.viewers, p.number, p.portrait = s.random() < 0.55, s.random() < 0.6, s.random() < 0.45
    if p.secret and s.random() < 0.15:
        p.loud = False
    if sum((p.secret, p.loud, p.viewers, p.number, p.portrait)) < 3:
        p.number = p.viewers = True


def _altered(p: Plan, s: random.Random) -> None:
    for f in s.sample(p.fields, s.randint(1, 2)):
        _change(f, s)
        if f.fix == "fluid":
            f.sealed = True


def _unsigned(p: Plan, s: random.Random) -> None:
    way = s.randrange(4)
    p.seal, p.signature, p.approvals = (
        (False, None, None),
        (False, False, None),
        (None, False, [False] * s.randint(2, 3)),
        (False, None, [True, s.random() < 0.4, False]),
    )[way]
    for f in p.fields:
        f.sealed = False


def _undated(p: Plan, s: random.Random) -> None:
    p.date, p.marks = s.choice(["empty", "empty", "no_day", "no_month", "year"]), s.random() < 0.85


def _blank(p: Plan, s: random.Random) -> None:
    name, address = (next(f for f in p.fields if f.kind == kind) for kind in ("name", "address"))
    for f in (name, address):
        f.filled = s.random() < 0.35
        f.required = f.required or s.random() < 0.6
    if s.random() < 0.5:
        s.choice(p.fields[1:-1] or p.fields).filled = False
    p.choices = False if s.random() < 0.5 else p.choices
    if name.filled and address.filled:
        name.filled, name.required = False, True


def _unreadable(p: Plan, s: random.Random) -> None:
    c = p.camera
    way = s.sample(("blur", "dark", "glare", "faint", "specks"), s.choice((1, 2, 2, 3)))
    c.blur = s.uniform(1.9, 3.2) if "blur" in way else c.blur
    c.dark = s.uniform(0.22, 0.4) if "dark" in way else c.dark
    c.glare, c.faint, c.specks = c.glare or "glare" in way, "faint" in way, c.specks or "specks" in way
    c.stain = s.random() < 0.3


def _broken(p: Plan, s: random.Random) -> None:
    c = p.camera
    way = s.randrange(3)
    if way == 0:
        c.corner = s.choice(["torn", "folded", "outside"])
        c.hidden, c.desk = s.random() < 0.4, c.desk or c.corner == "outside"
    elif way == 1:
        c.cropped = True
    else:
        c.fold, c.shifted = True, s.random() < 0.75
    c.fold = c.fold or s.random() < 0.25
    c.cropped = c.cropped or s.random() < 0.15


def _askew(p: Plan, s: random.Random) -> None:
    c = p.camera
    way = s.randrange(3)
    if way != 1:
        c.turn = s.choice((1, 2, 3))
    if way != 0:
        c.desk, c.slant = True, s.random() < 0.7
        c.tilt = s.choice((-1, 1)) * s.uniform(3, 11)
    elif s.random() < 0.3:
        c.tilt = s.choice((-1, 1)) * s.uniform(3, 9)


def _several(p: Plan, s: random.Random) -> None:
    chosen = set(s.sample(("page", "continues", "attached", "breaks", "bound"), s.choice((2, 3, 3, 4))))
    p.page = "many" if "page" in chosen else p.page
    p.continues, p.attached, p.breaks = "continues" in chosen, "attached" in chosen, "breaks" in chosen
    p.bound = s.choice(["staple", "holes"]) if "bound" in chosen else p.bound


def _hand(p: Plan, s: random.Random) -> None:
    p.hand, p.coloured, p.uneven = True, s.random() < 0.7, s.random() < 0.8
    p.beyond, p.notes = s.random() < 0.45, s.random() < 0.45


def _table(p: Plan, s: random.Random) -> None:
    p.grid = Grid(s.randint(5, 9), s.random() < 0.85, s.random() < 0.9, s.random() < 0.65, s.random() < 0.6)
    p.fields = p.fields[:2]


def _nothing(p: Plan, s: random.Random) -> None:
    """A form that is ready has no fault."""


_THEMES = dict(
    zip(
        THEMES,
        (
            _secret,
            _altered,
            _unsigned,
            _undated,
            _blank,
            _unreadable,
            _broken,
            _askew,
            _several,
            _hand,
            _table,
            _nothing,
        ),
        strict=True,
    )
)
_CROWD = (
    (0.25, _undated),
    (0.25, _altered),
    (0.2, _hand),
    (0.12, _unsigned),
    (0.08, _several),
    (0.06, _secret),
)
"""Chances of a second and third theme on a crowded form."""
