"""One row of logits made to probabilities, calibrated or not. The standard library alone: this runs for every answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

_EDGE = 1e-12


def softmax(row: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Probabilities of a row of finite logits over a temperature."""
    top = max(row)
    raised = [math.exp((x - top) / temperature) for x in row]
    total = math.fsum(raised)
    return [x / total for x in raised]


def calibrated_row(row: Sequence[float], method: str, temperature: float, a: float, b: float) -> list[float]:
    """Probabilities by a calibration: `temperature`, `platt` (as `sureness.with_platt`) or `none`. The likeliest stays the likeliest."""
    if method == "temperature":
        return softmax(row, temperature)
    p = softmax(row)
    if method != "platt":
        return p
    best = p.index(max(p))
    top = min(max(p[best], _EDGE), 1 - _EDGE)
    rest = math.fsum(x for i, x in enumerate(p) if i != best)
    even = 1 / max(len(p) - 1, 1)
    share = [0.0 if i == best else x / rest if rest > 0 else even for i, x in enumerate(p)]
    z = a * (math.log(top) - math.log1p(-top)) + b
    sure = 1 / (1 + math.exp(-z)) if z > -700 else 0.0
    second = max(share)
    sure = max(sure, second / (1 + second))
    out = [x * (1 - sure) for x in share]
    out[best] = sure
    total = math.fsum(out)
    return [x / total for x in out]
