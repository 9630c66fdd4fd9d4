"""What a pack makes of answers that no image was looked at for: all no, all yes, and coin tosses.

A blind or lazy model answers like that. What it would win, and how often nothing but a draw decides, should be known before anybody trusts an outcome.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping

from ...core.question import Frozen
from .patterns import Score, Scorer

SAMPLES = 10_000
CHANCES = (0.1, 0.5, 0.9)


class Tosses(Frozen):
    """Outcomes of random answers.

    Attributes:
        chance: probability with which each criterion is answered yes.
        samples: images, so to speak.
        winners: share of the samples each pattern leads alone.
        equal_counts: share where several patterns have the highest count, before sub-attributes are asked.
        residual: share where sub-attributes do not decide either.
    """

    chance: float
    samples: int
    winners: Mapping[str, float]
    equal_counts: float
    residual: float


class Census(Frozen):
    """What all-zero, all-one and random answers give."""

    all_zero: Score
    all_one: Score
    random: tuple[Tosses, ...]


def census(scorer: Scorer, samples: int = SAMPLES, seed: int = 0) -> Census:
    """Score answers that mean nothing. The same seed gives the same figures."""
    full = (1 << len(scorer.pack.criteria)) - 1
    tosses = tuple(_tosses(scorer, chance, samples, seed) for chance in CHANCES)
    return Census(all_zero=scorer.score(0), all_one=scorer.score(full), random=tosses)


def _tosses(scorer: Scorer, chance: float, samples: int, seed: int) -> Tosses:
    winners: Counter[str] = Counter()
    equal = residual = 0
    for bits in _random_bits(len(scorer.pack.criteria), chance, samples, seed):
        counts, leaders = scorer.standing(bits)
        equal += counts.count(max(counts)) > 1
        residual += len(leaders) > 1
        if len(leaders) == 1:
            winners[scorer.pack.patterns[leaders[0]].id] += 1
    shares = {p.id: winners[p.id] / samples for p in scorer.pack.patterns}
    return Tosses(
        chance=chance,
        samples=samples,
        winners=shares,
        equal_counts=equal / samples,
        residual=residual / samples,
    )


def _random_bits(length: int, chance: float, samples: int, seed: int) -> Iterator[int]:
    source = random.Random(f"{seed} {chance}")
    for _ in range(samples):
        yield sum((source.random() < chance) << i for i in range(length))
