"""Consistency: are requests that mean the same decided the same? Pure; over groups of paraphrases, and over requests found to be alike."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 0.5
"""Jaccard similarity of character trigrams from which two requests are alike."""
_BANDS, _ROWS = 32, 3
"""Sketches that share a band are looked at; two requests at 0.5 share one with probability 1 - (1 - 0.5³)³² = 0.99."""


def agreement(groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Measure groups of decisions that should be equal; groups of one say nothing and are left out.

    Returns:
        groups: how many; pairs: how many pairs within them; score: mean over groups of the share of pairs that agree; whole: share of groups
        in which all agree. Both are None without groups.
    """
    shares, pairs = [], 0
    for decisions in groups.values():
        same = [a == b for a, b in combinations(decisions, 2)]
        if same:
            pairs += len(same)
            shares.append(sum(same) / len(same))
    whole = sum(s == 1.0 for s in shares) / len(shares) if shares else None
    score = sum(shares) / len(shares) if shares else None
    return {"groups": len(shares), "pairs": pairs, "score": score, "whole": whole}


def similar(texts: Sequence[str], least: float = LEAST) -> list[tuple[int, int]]:
    """Return pairs of places of texts that are alike, in order; a few that barely are may be missed (MinHash, Broder 1997).

    Args:
        least: Jaccard similarity of their sets of character trigrams.
    """
    grams = [_grams(t) for t in texts]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place, sketch in enumerate(_sketches(grams)):
        for band in range(_BANDS):
            buckets[band, sketch[band * _ROWS : (band + 1) * _ROWS].tobytes()].append(place)
    near = {pair for places in buckets.values() for pair in combinations(places, 2)}
    return sorted(p for p in near if _jaccard(grams[p[0]], grams[p[1]]) >= least)


def _grams(text: str) -> frozenset[int]:
    plain = " ".join(text.split()).casefold()
    return frozenset(zlib.crc32(plain[i : i + 3].encode()) for i in range(max(1, len(plain) - 2)))


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b)


def _sketches(grams: Sequence[frozenset[int]]) -> list[NDArray[np.uint64]]:
    """The least of the trigrams' values under each of 96 random maps, [96] a text: multiply-shift (Dietzfelbinger 1997), in wrapping 64-bit numbers."""
    random = np.random.default_rng(1997)
    factor = random.integers(0, 1 << 63, size=(_BANDS * _ROWS, 1), dtype=np.uint64) * np.uint64(
        2
    ) + np.uint64(1)
    shift = random.integers(0, 1 << 63, size=(_BANDS * _ROWS, 1), dtype=np.uint64)
    found = []
    for one in grams:
        values = np.fromiter(one, dtype=np.uint64, count=len(one))
        found.append(((factor * values + shift) >> np.uint64(32)).min(axis=1))
    return found
