"""Deciding: calibrated probabilities in, ALLOW, ESCALATE or DENY out. Pure, and never looser than the model.

It lies in core so that what is proved is what is served:
`proof.measures.released` is the same rule over arrays, and a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .records import STRICTNESS, Decision

OPTIONS: tuple[Decision, ...] = ("ALLOW", "DENY", "ESCALATE")
"""The gate's options in the canonical order of a choice question (sorted by key): the order of its log-probabilities."""

NOTHING = 1.0
"""The threshold at which nothing is allowed, however sure the model is."""


def decide(
    probabilities: Mapping[str, float], tau: float, guards: Sequence[str] = ()
) -> tuple[Decision, tuple[str, ...]]:
    """Return the decision that is released and the reasons for it.

    The likeliest option stands, ties going to the stricter; then an ALLOW whose probability is below `tau`, or beside which any guard
    stands, becomes ESCALATE. DENY and ESCALATE are never loosened. At `tau` = 1 nothing is allowed.

    Args:
        probabilities: calibrated, by option key.
        tau: threshold of ALLOW in [0, 1]; anything else allows nothing.
        guards: reasons that tighten, such as `unfamiliar`; kept in the reasons whatever the decision.

    Returns:
        The decision, and `model` (or `unreadable` when the probabilities are none), then `below_threshold`, then the guards.
    """
    if not _readable(probabilities):
        return "ESCALATE", ("unreadable", *guards)
    likeliest = max(OPTIONS, key=lambda o: (probabilities[o], STRICTNESS[o]))
    if likeliest != "ALLOW":
        return likeliest, ("model", *guards)
    sure = 0.0 <= tau < NOTHING and probabilities["ALLOW"] >= tau
    reasons = ("model", *(() if sure else ("below_threshold",)), *guards)
    return ("ALLOW" if sure and not guards else "ESCALATE"), reasons


def _readable(probabilities: Mapping[str, float]) -> bool:
    """Whether these are three probabilities of the gate's options that sum to 1."""
    values = list(probabilities.values())
    return (
        set(probabilities) == set(OPTIONS)
        and all(math.isfinite(p) and 0.0 <= p <= 1.0 + 1e-9 for p in values)
        and abs(math.fsum(values) - 1.0) <= 1e-3
    )
