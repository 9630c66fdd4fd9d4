"""The bias monitor: a model that stopped looking shows it in its answers before anybody reads its comments.

A collapsed model gives the same few answer vectors, nearly all yes or nearly all no, and always the same outcome. Numbers in, alarms out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from ...core.errors import InputError
from ...core.question import Frozen


class Bias(Frozen):
    """What a run of images was answered, all together.

    Attributes:
        images: how many.
        prevalence: share of yes by criterion, 0 to 1.
        mean_prevalence: mean of those.
        distinct: different answer vectors.
        outcomes: images by outcome; images without one are left out.
        entropy: Shannon entropy of the outcomes in bits; 0 when all are the same.
        evenness: entropy divided by the most it could be with these patterns and so many images, 0 to 1.
    """

    images: int
    prevalence: Mapping[str, float]
    mean_prevalence: float
    distinct: int
    outcomes: Mapping[str, int]
    entropy: float
    evenness: float


class Bounds(Frozen):
    """Where an alarm goes off.

    Attributes:
        least_images: with fewer images nothing is said.
        yes: mean prevalence above which a model says yes to nearly everything.
        no: mean prevalence below which it says no to nearly everything.
        distinct: least share of images with an answer vector of their own.
        evenness: least evenness of the outcomes.
        stuck: most share of the criteria that may have one and the same answer on every image.
    """

    least_images: int = 20
    yes: float = 0.85
    no: float = 0.03
    distinct: float = 0.5
    evenness: float = 0.25
    stuck: float = 0.6


class Alarm(Frozen):
    """One sign of collapse: `nearly_all_yes`, `nearly_all_no`, `few_vectors`, `one_outcome`, `stuck_criteria`."""

    code: str
    found: float
    bound: float
    what: str


CODES = ("nearly_all_yes", "nearly_all_no", "few_vectors", "one_outcome", "stuck_criteria")
"""Every alarm there is."""


def measure(
    answers: Sequence[int], outcomes: Sequence[str | None], ids: Sequence[str], patterns: int
) -> Bias:
    """Measure a run of images.

    Args:
        answers: packed answers, one number an image (`Scorer.bits`).
        outcomes: the pattern of each image; None where there was none.
        ids: criteria, in the order of the bits.
        patterns: how many patterns there are.

    Raises:
        InputError: when there is no image, or answers and outcomes do not match.
    """
    if not answers or len(answers) != len(outcomes):
        raise InputError(
            f"{len(answers)} answers and {len(outcomes)} outcomes cannot be measured.",
            "Give one each an image.",
        )
    images = len(answers)
    prevalence = {id: sum(a >> i & 1 for a in answers) / images for i, id in enumerate(ids)}
    counts = Counter(o for o in outcomes if o is not None)
    bits = entropy(list(counts.values()))
    most = math.log2(min(patterns, counts.total())) if min(patterns, counts.total()) > 1 else 0.0
    return Bias(
        images=images,
        prevalence=prevalence,
        mean_prevalence=sum(prevalence.values()) / len(ids),
        distinct=len(set(answers)),
        outcomes=dict(sorted(counts.items())),
        entropy=bits,
        evenness=bits / most if most else 0.0,
    )


def entropy(counts: Sequence[int]) -> float:
    """Shannon entropy of counts, in bits (Shannon 1948); 0 for none."""
    total = sum(counts)
    return sum(-n / total * math.log2(n / total) for n in counts if n)


def alarms(bias: Bias, bounds: Bounds | None = None) -> tuple[Alarm, ...]:
    """Signs of collapse. None before there are enough images to tell."""
    bounds = bounds or Bounds()
    if bias.images < bounds.least_images:
        return ()
    vectors = bias.distinct / bias.images
    stuck = sum(p in (0.0, 1.0) for p in bias.prevalence.values()) / len(bias.prevalence)
    mean = bias.mean_prevalence
    checks = (
        ("nearly_all_yes", mean > bounds.yes, mean, bounds.yes, "The model says yes to nearly everything."),
        ("nearly_all_no", mean < bounds.no, mean, bounds.no, "The model says no to nearly everything."),
        (
            "few_vectors",
            vectors < bounds.distinct,
            vectors,
            bounds.distinct,
            "Many images got the very same answers.",
        ),
        (
            "one_outcome",
            bias.evenness < bounds.evenness,
            bias.evenness,
            bounds.evenness,
            "Nearly all images got one outcome.",
        ),
        (
            "stuck_criteria",
            stuck > bounds.stuck,
            stuck,
            bounds.stuck,
            "Most criteria got one answer on every image.",
        ),
    )
    return tuple(Alarm(code=c, found=f, bound=b, what=w) for c, rings, f, b, w in checks if rings)
