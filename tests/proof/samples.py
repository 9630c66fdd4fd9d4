"""Synthetic scored rows for the tests: what a gate of a given skill would have said."""

from __future__ import annotations

import numpy as np

from sekisho.core.records import DECISIONS
from sekisho.proof.measures import Scored

ORDER = ("ALLOW", "DENY", "ESCALATE")


def logprobs(weights):
    p = np.asarray(weights, dtype=float)
    with np.errstate(divide="ignore"):
        return tuple(float(x) for x in np.log(p / p.sum()))


def scored(id, label, weights, guard=(), **meta):
    """A row whose probabilities over ALLOW, DENY, ESCALATE are `weights`, normalised."""
    return Scored(id, label, logprobs(weights), tuple(guard), meta)


def population(n, seed=0, skill=2.5, sharpness=1.0, sources=("authored", "toxic"), pairs=True):
    """n rows in triples of a pair; `skill` lifts the right logit, `sharpness` above 1 makes it overconfident."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        label = DECISIONS[i % 3]
        z = rng.normal(size=3)
        z[ORDER.index(label)] += skill
        z *= sharpness
        z -= np.log(np.exp(z).sum())
        meta = {
            "lang": ("ja", "en")[(i // 3) % 2],
            "source": sources[(i // 6) % len(sources)],
            "domain": ("medical", "finance", "general")[(i // 12) % 3],
        }
        if pairs:
            meta["pair"] = f"p{i // 3}"
        rows.append(Scored(f"r{i}", label, tuple(float(x) for x in z), (), meta))
    return rows
