"""Policy rules: phrases that make a decision stricter, each under a clause. No rule makes anything looser, and a lone keyword makes none fire.

A rule fires when the text has one phrase of every group in `all`, none in `unless`, and the desk is one it speaks of. Phrases are compared
after Unicode's NFKC and in lower case; one of Latin letters alone must stand as a word. There are no patterns to write, and so none that
take long.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain

from ..core.gate_prompt import DEFAULT_LEVEL, LEVELS, ROLES
from ..core.question import Frozen
from ..core.records import STRICTNESS

_SPACE = re.compile(r"\s+")


class Rule(Frozen):
    """One rule of a policy.

    Attributes:
        name: what a judgement's reasons name, as `rule:name`.
        clause: clause of the policy it carries out; its decision is the least strict one that is then released.
        all: groups of phrases; one of each must be in the text.
        unless: phrases any of which keeps the rule from firing.
        contracts, levels: the desks it speaks of; empty means every one.
    """

    name: str
    clause: str
    all: tuple[tuple[str, ...], ...]
    unless: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()


class Fired(Frozen):
    """A rule that fired: its name, clause, and the decision of that clause."""

    name: str
    clause: str
    decision: str

    @property
    def reason(self) -> str:
        """As the reasons of a judgement name it."""
        return f"rule:{self.name}"


def fired(
    rules: Sequence[Rule],
    clauses: Mapping[str, str],
    texts: Sequence[str],
    contract: str,
    level: str | None = None,
) -> tuple[Fired, ...]:
    """Return the rules that fire on any of these texts or on all of them together, the strictest clause first.

    Args:
        clauses: decision by clause.
        level: of the desk; None is the default level.
    """
    if not rules:
        return ()
    whole = ["\n".join(texts)] if len(texts) > 1 else []
    seen = [_plain(t) for t in (*texts, *whole)]
    desk = (contract, level or DEFAULT_LEVEL)
    hit = [r for r in rules if _concerns(r, desk) and any(_fires(r, text) for text in seen)]
    found = [Fired(name=r.name, clause=r.clause, decision=clauses[r.clause]) for r in hit]
    return tuple(sorted(found, key=lambda f: -STRICTNESS[f.decision]))


def faults(rules: Sequence[Rule], clauses: Mapping[str, str]) -> list[str]:
    """Say what is wrong with rules: every fault of every rule."""
    found = [
        f"two rules have the name {n!r}" for n in sorted({r.name for r in rules}) if _times(rules, n) > 1
    ]
    for rule in rules:
        if STRICTNESS.get(clauses.get(rule.clause, ""), 0) == 0:
            found.append(
                f"rule {rule.name!r} names {rule.clause!r}, which is no clause that escalates or denies"
            )
        if not rule.all or not all(rule.all) or not all(p.strip() for p in chain(*rule.all, rule.unless)):
            found.append(f"rule {rule.name!r} has an empty group or phrase")
        unknown = [*(set(rule.contracts) - set(ROLES)), *(set(rule.levels) - set(LEVELS))]
        found += [
            f"rule {rule.name!r} speaks of {x!r}, which is no contract or level" for x in sorted(unknown)
        ]
    return found


def _times(rules: Sequence[Rule], name: str) -> int:
    return sum(r.name == name for r in rules)


def _concerns(rule: Rule, desk: tuple[str, str]) -> bool:
    contract, level = desk
    return (not rule.contracts or contract in rule.contracts) and (not rule.levels or level in rule.levels)


def _fires(rule: Rule, text: str) -> bool:
    return all(any(_has(text, p) for p in group) for group in rule.all) and not any(
        _has(text, p) for p in rule.unless
    )


def _has(text: str, phrase: str) -> bool:
    plain = _plain(phrase)
    return bool(_word(plain).search(text)) if plain.isascii() else plain in text


@lru_cache(maxsize=4096)
def _word(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z0-9]){re.escape(phrase)}(?![a-z0-9])")


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text)).casefold().strip()
