"""Does the certificate keep its word, and what does it cost? Simulated calibration draws of which the truth is known.

    python benchmarks/certificate.py [DRAWS]

**The bound.** A gate's log-odds of ALLOW are normal for unsafe requests; a topic's requests share part of it. For each draw of calibration
rows three rules choose a threshold on the same rows: the house's own (`proof.threshold`), the plain Clopper–Pearson bound that takes rows of
a topic for independent, and the empirical rate, which takes the most lenient threshold whose share of misses in the draw is at most alpha.
The true false-allow rate of each threshold is computed from the distribution, not sampled. A rule's word is broken when it is above alpha;
a certificate at 95 % may be broken in at most 5 % of draws.

**The price.** On separable data, where some threshold allows every safe request and no unsafe one, an escalation beyond the requests that
are labelled ESCALATE is the rule's doing. Reported against the theoretical minimum: the share of rows whose right answer is ESCALATE.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sekisho.core.deciding import NOTHING
from sekisho.proof.bounds import cases_needed, upper_bound
from sekisho.proof.measures import Scored
from sekisho.proof.threshold import GRID, choose

ALPHA, CONFIDENCE = 0.04, 0.95
DRAWS = 2000
UNSAFE = 400
MEAN, SPREAD = -2.0, 1.5
"""Of the log-odds of ALLOW of unsafe requests."""


@dataclass
class Rule:
    """One way to choose a threshold, and what became of it."""

    name: str
    choose: Callable[[Sequence[Scored]], float]
    broken: int = 0
    nothing: int = 0
    worst: float = 0.0
    mean: float = 0.0


def row(name: str, label: str, log_odds: float, group: str = "") -> Scored:
    """A row whose probability of ALLOW has these log-odds; the rest is shared so that ALLOW leads whenever it may."""
    p = 1.0 / (1.0 + math.exp(-log_odds))
    rest = math.log((1.0 - p) / 2.0)
    return Scored(name, label, (math.log(p), rest, rest), group=group)


def draw(random: np.random.Generator, size: int, topics: int, shared: float) -> list[Scored]:
    """Unsafe calibration rows; `shared` is the part of the variance that the rows of a topic have in common."""
    own = random.normal(0.0, SPREAD * math.sqrt(1.0 - shared), size)
    common = random.normal(0.0, SPREAD * math.sqrt(shared), topics)
    place = np.arange(size) % topics
    odds = MEAN + own + common[place]
    return [row(str(i), "DENY", float(x), str(place[i])) for i, x in enumerate(odds)]


def true_rate(tau: float) -> float:
    """Share of unsafe requests that a threshold allows: those above it for which ALLOW also leads (p > 1/3)."""
    if tau >= NOTHING:
        return 0.0
    floor = max(tau, 1.0 / 3.0)
    return 0.5 * math.erfc((math.log(floor / (1.0 - floor)) - MEAN) / SPREAD / math.sqrt(2.0))


def certificate(rows: Sequence[Scored]) -> float:
    """The house's own."""
    return choose(rows, 1.0, ALPHA, CONFIDENCE).tau


def _probabilities(rows: Sequence[Scored]) -> np.ndarray:
    p = np.exp([r.logprobs[0] for r in rows if r.label == "DENY"])
    return p[p > 1.0 / 3.0]


def plain(rows: Sequence[Scored]) -> float:
    """Fixed-sequence testing with the bound of independent rows."""
    p, size, tau = _probabilities(rows), sum(r.label == "DENY" for r in rows), NOTHING
    for candidate in GRID:
        if upper_bound(int((p >= candidate).sum()), size, CONFIDENCE) > ALPHA:
            break
        tau = candidate
    return tau


def empirical(rows: Sequence[Scored]) -> float:
    """The most lenient threshold whose share of misses in this draw is at most alpha."""
    p, size = _probabilities(rows), sum(r.label == "DENY" for r in rows)
    return min((t for t in GRID if (p >= t).sum() <= ALPHA * size), default=NOTHING)


def rules() -> list[Rule]:
    """Fresh tallies of the three rules."""
    return [Rule("certificate", certificate), Rule("plain bound", plain), Rule("empirical rate", empirical)]


def bound(draws: int, seed: int, topics: int, shared: float) -> list[Rule]:
    """Tally the three rules over draws."""
    random, tallies = np.random.default_rng(seed), rules()
    for _ in range(draws):
        rows = draw(random, UNSAFE, topics, shared)
        for rule in tallies:
            tau = rule.choose(rows)
            rate = true_rate(tau)
            rule.broken += rate > ALPHA
            rule.nothing += tau >= NOTHING
            rule.worst, rule.mean = max(rule.worst, rate), rule.mean + rate / draws
    return tallies


def price(draws: int, seed: int) -> dict[str, float]:
    """Escalations over the minimum on separable data, by rule: the mean over draws."""
    random = np.random.default_rng(seed)
    ratios = {rule.name: 0.0 for rule in rules()}
    for _ in range(draws):
        rows = [row(f"d{i}", "DENY", -6.0 + x) for i, x in enumerate(random.uniform(-1, 1, UNSAFE))]
        safe = [row(f"a{i}", "ALLOW", 6.0 + x) for i, x in enumerate(random.uniform(-1, 1, UNSAFE))]
        minimum = UNSAFE // 2
        for rule in rules():
            tau = rule.choose([*rows, *safe])
            lost = sum(math.exp(r.logprobs[0]) < tau for r in safe)
            ratios[rule.name] += (minimum + lost) / minimum / draws
    return ratios


def main(arguments: list[str]) -> int:
    """Print both tables; return 1 when the certificate broke its word or cost too much."""
    draws = int(arguments[0]) if arguments else DRAWS
    print(f"alpha {ALPHA:.0%}, confidence {CONFIDENCE:.0%}, {UNSAFE} unsafe rows a draw, {draws} draws")
    print(f"fewest unsafe cases at all: {cases_needed(0, ALPHA, CONFIDENCE)}\n")
    kept = True
    for told, topics, shared in (("independent rows", UNSAFE, 0.0), ("100 topics of 4", 100, 0.5)):
        print(f"{told:<18} {'broken':>9} {'nothing':>9} {'mean rate':>10} {'worst':>8}")
        for rule in bound(draws, 7, topics, shared):
            line = (rule.broken / draws, rule.nothing / draws, rule.mean, rule.worst)
            print(f"  {rule.name:<16} {line[0]:>9.2%} {line[1]:>9.2%} {line[2]:>10.2%} {line[3]:>8.2%}")
            kept &= rule.name != "certificate" or line[0] <= 1.0 - CONFIDENCE
        print()
    print("escalations over the theoretical minimum, separable data")
    for name, ratio in price(max(1, draws // 20), 11).items():
        print(f"  {name:<16} {ratio:.3f}")
        kept &= name != "certificate" or ratio <= 1.25
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
