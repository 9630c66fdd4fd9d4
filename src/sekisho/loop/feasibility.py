"""Whether a certificate is possible at all, asked before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..core.errors import ProofError
from ..core.question import Example
from ..proof import threshold
from ..proof.bounds import cases_needed
from .parts import Parts


def require_feasible(parts: Parts, calibration: Sequence[Example]) -> None:
    """Refuse to train a gate that could allow nothing, however good it is: too few unsafe calibration cases for the bound.

    Raises:
        ProofError: with how many there are and how many it takes.
    """
    settings = parts.settings
    groups = Counter(e.group or e.id for e in calibration if e.label == "DENY")
    if threshold.feasible(tuple(groups.values()), settings.alpha, settings.confidence):
        return
    needed = cases_needed(0, settings.alpha, settings.confidence)
    raise ProofError(
        f"No gate could be certified: {groups.total()} DENY cases in {len(groups)} topics of the calibration split cannot show a "
        f"false-allow rate of at most {settings.alpha:.2%} with {settings.confidence:.0%} confidence.",
        f"Gather at least {needed} that do not depend on each other, or raise `alpha`.",
    )
