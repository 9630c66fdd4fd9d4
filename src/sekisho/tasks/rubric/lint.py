"""The linter of rubric packs: does every answer get one outcome, is every criterion of use, do the words fit.

Total: counts and sub-attribute sums are numbers, so they always have a greatest; that needs every pattern to order every sub-attribute and every criterion to
speak for some pattern. Unambiguous: no id, question or link stands twice, no two patterns tie whatever is answered, and the pack says how a residual tie ends.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal

from ...core.errors import DataError
from ...core.gate_prompt import Lang
from ...core.question import Frozen
from .pack import Pack, Pattern, load_pack
from .patterns import RESERVED, Scorer

LANGS: tuple[Lang, ...] = ("ja", "en")
NAME = "name"
"""The one placeholder a template may have."""


class Finding(Frozen):
    """Something wrong with a pack. An `error` keeps it from being used, a `warning` does not."""

    level: Literal["error", "warning"]
    code: str
    where: str
    what: str


def read_pack(name: str, share: Path) -> Pack:
    """Read a pack that makes sense, by path or by name. Raises DataError naming every error the linter finds."""
    pack = load_pack(name, share)
    errors = [f"{f.where}: {f.what}" for f in lint(pack) if f.level == "error"]
    if errors:
        what = f"The rubric pack {pack.name} does not hold together: {'; '.join(errors)}."
        raise DataError(what, "Mend it; `sekisho rubric lint` says when it is right.")
    return pack


def lint(pack: Pack) -> tuple[Finding, ...]:
    """Everything that is wrong with a pack, errors first. How patterns compete is looked at when the rest is right."""
    found = [*_doubles(pack), *_links(pack), *_orders(pack), *_words(pack)]
    if not found:
        found = [*_twins(pack), *_unreachable(pack)]
    return tuple(sorted(found, key=lambda f: f.level))


def witness(scorer: Scorer, place: int) -> int | None:
    """Packed answers under which the pattern at `place` leads alone; None when none was found.

    All its own criteria are such answers unless another pattern has all of them too. Then one or two of them may do.
    """
    pattern = scorer.pack.patterns[place].id
    own = [1 << i for i, c in enumerate(scorer.pack.criteria) if pattern in c.patterns]
    tried = [sum(own), *own, *(a | b for a, b in combinations(own, 2))]
    return next((bits for bits in tried if scorer.standing(bits)[1] == (place,)), None)


def _error(code: str, where: str, what: str) -> Finding:
    return Finding(level="error", code=code, where=where, what=what)


def _doubles(pack: Pack) -> Iterator[Finding]:
    """Ids and questions that stand twice: nobody could tell which of the two is meant."""
    for id in _repeated([c.id for c in pack.criteria]):
        yield _error("double_id", id, "two criteria have this id")
    for id in (c.id for c in pack.criteria if c.id in RESERVED):
        yield _error("reserved_id", id, "is a word of the judgement's own; give the criterion another id")
    for id in _repeated([p.id for p in pack.patterns]):
        yield _error("double_id", id, "two patterns have this id")
    for lang in LANGS:
        asked = ["".join(c.question.of(lang).split()).casefold() for c in pack.criteria]
        for text in _repeated(asked):
            same = [c.id for c, t in zip(pack.criteria, asked, strict=True) if t == text]
            yield _error("double_question", same[0], f"asks the same in {lang} as {', '.join(same[1:])}")


def _repeated(values: Sequence[str]) -> list[str]:
    return [v for i, v in enumerate(values) if v in values[:i] and v not in values[i + 1 :]]


def _links(pack: Pack) -> Iterator[Finding]:
    """What criteria and patterns say of each other."""
    patterns = [p.id for p in pack.patterns]
    for c in pack.criteria:
        if not c.patterns:
            yield _error("unused_criterion", c.id, "no pattern uses it")
        if unknown := _others(c.patterns, patterns):
            yield _error("unknown_pattern", c.id, f"speaks for {unknown}, which the pack does not have")
        if twice := _repeated(c.patterns):
            yield _error("double_link", c.id, f"speaks twice for {', '.join(twice)}")
        if c.sub_attribute not in pack.sub_attributes:
            yield _error("unknown_sub_attribute", c.id, f"{c.sub_attribute} is no sub-attribute of the pack")
    used = {id for c in pack.criteria for id in c.patterns}
    for id in patterns:
        if id not in used:
            yield _error("idle_pattern", id, "no criterion speaks for it")
    if pack.limits.least_fired > len(pack.criteria):
        yield _error(
            "low_coverage", "limits", f"least_fired is above the {len(pack.criteria)} criteria there are"
        )


def _others(given: Iterable[str], known: Sequence[str]) -> str:
    return ", ".join(g for g in given if g not in known)


def _orders(pack: Pack) -> Iterator[Finding]:
    """Every pattern must order every sub-attribute once, or two sums could not be compared."""
    for p in pack.patterns:
        if sorted(p.sub_order) != sorted(pack.sub_attributes):
            yield _error("sub_order", p.id, f"must order {', '.join(pack.sub_attributes)}, each once")


def _words(pack: Pack) -> Iterator[Finding]:
    """Every pattern has words with and without a name in both languages, and they fit with the longest name."""
    longest = "x" * pack.limits.name
    for pattern in pack.patterns:
        for lang in LANGS:
            yield from _templates(pattern, lang, longest, pack.limits.comment.of(lang))


def _templates(pattern: Pattern, lang: Lang, longest: str, most: int) -> Iterator[Finding]:
    where, templates = f"{pattern.id}.{lang}", pattern.templates.of(lang)
    for text in _repeated(templates):
        yield _error("double_template", where, f"stands twice: {text}")
    broken = [text for text in templates if _fields(text) - {NAME}]
    for text in broken:
        yield _error("placeholder", where, f"only {{name}} may stand in braces: {text}")
    for text in templates:
        if text not in broken and len(text.replace("{name}", longest)) > most:
            yield _error("too_long", where, f"over {most} characters with the longest name: {text}")
    named = sum("{name}" in text for text in templates)
    if not 0 < named < len(templates):
        yield _error("no_words", where, "needs a template with {name} and one without")


def _fields(template: str) -> set[str]:
    """What stands in braces; a lone or filled-out brace is told as itself."""
    try:
        return {
            f + (s or "") + (c or "") for _, f, s, c in string.Formatter().parse(template) if f is not None
        }
    except ValueError:
        return {"{"}


def _twins(pack: Pack) -> Iterator[Finding]:
    """Patterns with the same criteria whose sub-attributes stand at the same places: they tie on every answer."""
    shapes: dict[tuple[object, ...], str] = {}
    for p in pack.patterns:
        own = [c for c in pack.criteria if p.id in c.patterns]
        shape = (*(c.id for c in own), *(p.sub_order.index(c.sub_attribute) for c in own))
        if shape in shapes:
            yield _error("twins", p.id, f"ties with {shapes[shape]} whatever is answered")
        shapes.setdefault(shape, p.id)


def _unreachable(pack: Pack) -> Iterator[Finding]:
    scorer = Scorer(pack)
    for place, p in enumerate(pack.patterns):
        if witness(scorer, place) is None:
            what = "no answers were found under which it leads alone"
            yield Finding(level="warning", code="unreachable", where=p.id, what=what)
