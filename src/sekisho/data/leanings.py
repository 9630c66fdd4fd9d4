"""What cheap cues give away: predictors that read only the language, topic, length, opening or ending of authored requests.

Over three balanced decisions chance is 1/3. Language, topic and length must stay there; openings and endings carry part of the
meaning (a Japanese request says at its end what is wanted), so their figure is told, not hidden.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from .collect import Request
from .split import split_of

Key = Callable[[Request], Sequence[Hashable]]
"""Keys of a request, most specific first; the first one seen in training answers."""

AFFIX = 8
"""Longest opening or ending that is looked up, in characters."""


def _opening(request: Request) -> list[Hashable]:
    return [(request.lang, request.text[:n]) for n in range(AFFIX, 0, -1)]


def _ending(request: Request) -> list[Hashable]:
    return [(request.lang, request.text[-n:]) for n in range(AFFIX, 0, -1)]


KEYS: dict[str, Key] = {
    "language": lambda r: [r.lang],
    "length": lambda r: [(r.lang, len(r.text) // 3), (r.lang, len(r.text) // 12)],
    "opening": _opening,
    "ending": _ending,
}


def lookup_accuracy(fit: Iterable[Request], test: Sequence[Request], key: Key) -> float:
    """Accuracy of "the most frequent decision among training requests with the same key"."""
    seen: dict[Hashable, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for request in fit:
        overall[request.decision] += 1
        for k in key(request):
            seen[k][request.decision] += 1
    right = 0
    for request in test:
        votes = next((seen[k] for k in key(request) if k in seen), overall)
        right += _winner(votes) == request.decision
    return right / max(1, len(test))


def _winner(votes: Counter[str]) -> str:
    return min(votes, key=lambda d: (-votes[d], d))


def leanings(authored: Sequence[Request]) -> dict[str, float]:
    """Return the accuracy of each cheap predictor, fitted on training topics and tried on the others, to three places.

    `topic` is fitted on the Japanese requests and tried on the English ones of the same topics.
    """
    fit = [r for r in authored if split_of(r.topic or "") == "train"]
    test = [r for r in authored if split_of(r.topic or "") != "train"]
    table = {name: round(lookup_accuracy(fit, test, key), 3) for name, key in KEYS.items()}
    japanese = [r for r in authored if r.lang == "ja"]
    english = [r for r in authored if r.lang == "en"]
    table["topic"] = round(lookup_accuracy(japanese, english, lambda r: [r.topic]), 3)
    return table
