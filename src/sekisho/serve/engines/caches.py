"""What lies in the caches of llama.cpp's slots, as far as we know: a guess that may be wrong without harm, it only decides how a prompt is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ... import metrics

SLICE = 64
"""Tokens of a prompt read at a time where a text may have to make room, until the engine's speed is known: a prefill cannot be interrupted."""
_SMALLEST, _LARGEST = 32, 512
_SECONDS = 0.02
"""A slice should take so long: little beside a first answer, much beside the price of a request of its own."""


UNKNOWN = -1
"""Stands for a token of a prompt that was not tokenised here."""


class Caches:
    """Token ids by slot.

    Args:
        room: tokens that all slots together have room for.
    """

    def __init__(self, room: int = 0) -> None:
        metrics.KV_CAPACITY.set(room)
        self._seen: dict[int, list[int]] = {}
        self._size = float(SLICE)

    def took(self, seconds: float) -> None:
        """The latest slice took so long; the next ones follow, half way at a time, as one may have had company."""
        wanted = self._size * _SECONDS / max(seconds, 1e-6)
        self._size = min(_LARGEST, max(_SMALLEST, (self._size + wanted) / 2))

    def note(self, slot: int | None, tokens: Sequence[int]) -> None:
        """A slot reads `tokens`. A request that names no slot may land on any, and then nothing is known any more."""
        if slot is None:
            self._seen.clear()
        else:
            self._seen[slot] = list(tokens)
        self._show()

    def grow(self, slot: int | None, tokens: Sequence[int]) -> None:
        """A slot has written `tokens`."""
        if slot in self._seen:
            self._seen[slot] += tokens
            self._show()

    def _show(self) -> None:
        metrics.soon(lambda: metrics.KV_TOKENS.set(sum(map(len, self._seen.values()))))

    def slices(self, slot: int, tokens: Sequence[int]) -> Iterator[list[int]]:
        """Beginnings of `tokens`, each a slice longer than what the slot knows already; the last slice is left to the request itself.

        Never shorter than what the slot has: that would cut its cache.
        """
        known = self._seen.get(slot, [])
        pairs = enumerate(zip(known, tokens, strict=False))
        start = next((i for i, (a, b) in pairs if a != b), min(len(known), len(tokens)))
        while (start := start + int(self._size)) < len(tokens) - 1:
            yield list(tokens[:start])
