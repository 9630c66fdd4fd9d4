"""Near-duplicates: found by MinHash over character 3-grams, confirmed by exact Jaccard; kept out of the count and out of other splits.

Candidates come from locality-sensitive hashing (Broder 1997; Indyk and Motwani 1998) at a lower threshold, so that hardly
a pair is missed, and every candidate is then measured exactly: no pair is merged by chance.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..core.canonical import digest_text, short
from ..core.errors import DataError
from .collect import Drop, Request
from .split import split_of

THRESHOLD = 0.8
"""Jaccard similarity from which two texts are near-duplicates."""
_PERMUTATIONS = 128
_STRICTEST = ("evaluation", "holdout", "calibration", "train")
"""A leak is taken from the split further down this list."""
_EMPTY = re.compile(r"[\s\W_]+")


def shingles(text: str) -> frozenset[str]:
    """Return the character 3-grams of a text, without case, width, blanks and punctuation; the text itself when shorter."""
    bare = _EMPTY.sub("", unicodedata.normalize("NFKC", text).casefold()) or text
    return frozenset(bare[i : i + 3] for i in range(len(bare) - 2)) or frozenset((bare,))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Return |a ∩ b| / |a ∪ b|."""
    both = len(a & b)
    return both / (len(a) + len(b) - both)


def near_pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Return index pairs (i < j) of texts whose 3-gram Jaccard is at least `threshold`, sorted.

    Raises:
        DataError: when datasketch is not installed.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as e:
        raise DataError(
            "datasketch is not installed.", "Install it with pip install 'sekisho[train]'."
        ) from e
    sets = [shingles(t) for t in texts]
    index = MinHashLSH(threshold=max(0.1, threshold - 0.15), num_perm=_PERMUTATIONS, weights=(0.2, 0.8))
    pairs: set[tuple[int, int]] = set()
    hashed = MinHash.bulk(([s.encode() for s in grams] for grams in sets), num_perm=_PERMUTATIONS, seed=1)
    for i, sketch in enumerate(hashed):
        pairs.update((j, i) for j in index.query(sketch) if jaccard(sets[i], sets[j]) >= threshold)
        index.insert(i, sketch)
    return sorted(pairs)


def components(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return for each of `count` items the smallest index it is connected to by `pairs` (union-find)."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(i) for i in range(count)]


class Grouped:
    """Requests with the group and split each belongs to, and the near-duplicate pairs among them.

    The group of an authored request is its topic; that of a real one the digest of its cluster (near-duplicates and
    families), so a cluster never crosses a split. Evaluation requests are in split `evaluation`.
    """

    def __init__(self, requests: Sequence[Request], evaluation: Sequence[Request] = ()) -> None:
        self.requests = [*requests, *evaluation]
        first = len(requests)
        pairs = set(near_pairs([r.text for r in self.requests]))
        whole = [i for i, r in enumerate(self.requests) if r.whole]
        pairs |= {(whole[a], whole[b]) for a, b in near_pairs([self.requests[i].whole or "" for i in whole])}
        self.pairs = sorted(pairs)
        real = [(a, b) for a, b in self.pairs if not self.requests[a].topic and not self.requests[b].topic]
        roots = components(len(self.requests), [*real, *_families(self.requests)])
        self.groups = [r.topic or _cluster(self.requests[roots[i]]) for i, r in enumerate(self.requests)]
        self.splits = [split_of(g) if i < first else "evaluation" for i, g in enumerate(self.groups)]


def _families(requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
    """Yield the pairs (first of a family, later member)."""
    first: dict[str, int] = {}
    for i, request in enumerate(requests):
        if request.family and first.setdefault(f"{request.source}:{request.family}", i) != i:
            yield first[f"{request.source}:{request.family}"], i


def _cluster(request: Request) -> str:
    return "cluster-" + short(digest_text(request.text))


def deduplicate(grouped: Grouped) -> tuple[list[int], list[Drop]]:
    """Choose which requests stay.

    In this order: the same text under two decisions outside one topic is a `conflict` and goes on both sides; a request
    that is near one of another group in a stricter split goes as `leak`; of near-duplicates with the same decision the first
    stays, the rest go as `duplicate`. Requests of one topic with different decisions are never duplicates.

    Returns:
        Indices into `grouped.requests` that stay, ascending, and the drops.
    """
    reasons: dict[int, str] = {}
    for rule in (_conflict, _leak, _duplicate):
        for a, b in grouped.pairs:
            if a not in reasons and b not in reasons:
                reasons.update(rule(grouped, a, b))
    kept = [i for i in range(len(grouped.requests)) if i not in reasons]
    return kept, [Drop(request=grouped.requests[i], reason=reasons[i]) for i in sorted(reasons)]


Rule = Callable[[Grouped, int, int], dict[int, str]]


def _same_topic(grouped: Grouped, a: int, b: int) -> bool:
    topic = grouped.requests[a].topic
    return topic is not None and topic == grouped.requests[b].topic


def _conflict(grouped: Grouped, a: int, b: int) -> dict[int, str]:
    x, y = grouped.requests[a], grouped.requests[b]
    if (
        "evaluation" in (grouped.splits[a], grouped.splits[b])
        or x.decision == y.decision
        or _same_topic(grouped, a, b)
    ):
        return {}
    return {a: "conflict", b: "conflict"} if shingles(x.text) == shingles(y.text) else {}


def _leak(grouped: Grouped, a: int, b: int) -> dict[int, str]:
    if grouped.splits[a] == grouped.splits[b]:
        return {}
    looser = max((a, b), key=lambda i: _STRICTEST.index(grouped.splits[i]))
    return {looser: "leak"}


def _duplicate(grouped: Grouped, a: int, b: int) -> dict[int, str]:
    x, y = grouped.requests[a], grouped.requests[b]
    if x.decision != y.decision or grouped.splits[a] != grouped.splits[b]:
        return {}
    return {b: "duplicate"}
