"""A second look at a tie between two patterns: what is asked, or what evidence there already is. Who looks is not known here.

An eye that may be asked anything gets one question that tells the two apart. One that has learnt a single pack's questions would answer a new one at random:
there the criteria that tell the two apart are weighed by how sure their probabilities are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from ...core.question import Frozen
from ...core.sight import chance_of, log_odds_of
from .pack import Pack, Pattern
from .patterns import Score

KEY = "second_look"
"""Id of the question."""
_NEAR_ONE = 1e-9
"""Probabilities are held this far from 0 and 1: what is left beyond is rounding."""

Pair = tuple[str, str]


class SecondLook(Frozen):
    """How a tie between two patterns was looked at again.

    Attributes:
        way: `question`: the eye was asked once more; `evidence`: its answers were weighed.
        between: the two, in the pack's order.
        asked: the question, yes speaking for the first; None for evidence.
        criteria: those weighed: at yes and linked to exactly one of the two.
        probability: of the first, as the eye told it, uncalibrated; None for evidence, and when it failed.
        margin: log-odds of the first over the second; None when the eye failed.
        chosen: the likelier; None when neither is, or the eye failed. Then the pack's own rule ends the tie.
        failed: code of the error the eye ended with.
    """

    way: Literal["question", "evidence"]
    between: Pair
    asked: str | None = None
    criteria: tuple[str, ...] = ()
    probability: float | None = None
    margin: float | None = None
    chosen: str | None = None
    failed: str | None = None

    @property
    def reason(self) -> str:
        """The look as a reason of a judgement. No criterion's id has a colon, so it cannot be mistaken for one."""
        if self.failed is not None:
            return f"{KEY}:{self.way}:failed:{self.failed}"
        told = self.margin if self.probability is None else self.probability
        return f"{KEY}:{self.way}:{self.chosen or 'undecided'}:{told:.6g}"


def pair(found: Score) -> Pair | None:
    """The two patterns of a tie that can be looked at again: a tie of exactly two, with something at yes."""
    tied = found.residual_tie
    return (tied[0], tied[1]) if len(tied) == 2 and found.fired else None


def question(pack: Pack, between: Pair) -> str:
    """One yes/no question that tells two patterns apart, in the language that criteria are asked in (English)."""
    one, other = (_described(p) for id in between for p in pack.patterns if p.id == id)
    return f"Which of two descriptions fits the image better? Answer yes for {one}, and no for {other}."


def _described(pattern: Pattern) -> str:
    return f'"{pattern.title.en}" ({pattern.trigger.en.rstrip(".")})'


def answered(pack: Pack, between: Pair, log_odds: float) -> SecondLook:
    """What the eye's answer to the question comes to."""
    return SecondLook(
        way="question",
        between=between,
        asked=question(pack, between),
        probability=chance_of(log_odds),
        margin=log_odds,
        chosen=_likelier(between, log_odds),
    )


def failed(pack: Pack, between: Pair, code: str) -> SecondLook:
    """A question that got no answer."""
    return SecondLook(way="question", between=between, asked=question(pack, between), failed=code)


def weighed(pack: Pack, between: Pair, found: Score, chances: Mapping[str, float]) -> SecondLook:
    """Weigh the criteria at yes that speak for exactly one of the two: log-odds of the first's less those of the second's.

    In a tie both have equally many of them. Criteria at no are left out: with them the pattern that has fewer criteria would nearly always win.
    """
    fired, sums, used = set(found.fired), [], []
    for criterion in pack.criteria:
        side = (between[0] in criterion.patterns) - (between[1] in criterion.patterns)
        if side and criterion.id in fired:
            used.append(criterion.id)
            sums.append(side * log_odds_of(chances[criterion.id], _NEAR_ONE))
    margin = math.fsum(sums)
    return SecondLook(
        way="evidence",
        between=between,
        criteria=tuple(used),
        margin=margin,
        chosen=_likelier(between, margin),
    )


def _likelier(between: Pair, margin: float) -> str | None:
    return between[0] if margin > 0 else between[1] if margin < 0 else None
