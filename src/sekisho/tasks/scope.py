"""Scope: how much of a text is made of character sequences the gate has seen in training.

A model is sure of itself far outside what it was trained on. The scope knows nothing of meaning: it only says "this looks like nothing I
have seen", and the gate then hands the request to a person instead of allowing it.
"""

from __future__ import annotations

import base64
import unicodedata
import zlib
from collections.abc import Iterable, Sequence

from ..core.errors import ShelfError
from ..core.question import Frozen

_BITS = 1 << 24
_SIZES = ((1 << 21) // 8, _BITS // 8)
"""Bytes of a field: earlier scopes have the smaller one."""
_GRAM = 3


class Scope(Frozen):
    """A set of hashed character 3-grams.

    Attributes:
        grams: base64 of a deflated bit field; earlier ones have 2^21 places, new ones 2^24, of which a million known grams fill few.
        least: share of known grams below which a text is unfamiliar.
        longest: characters above which a text is unfamiliar.
    """

    grams: str
    least: float
    longest: int

    def reader(self) -> ScopeReader:
        """Unpack the bit field once, for many questions.

        Raises:
            ShelfError: it is no field of one of the two sizes, or the bounds are none.
        """
        try:
            inflate = zlib.decompressobj()
            field = inflate.decompress(base64.b64decode(self.grams), max(_SIZES) + 1)
        except (ValueError, zlib.error):
            field = b""
        if len(field) not in _SIZES or not (0 <= self.least <= 1 and self.longest >= 0):
            raise ShelfError("The scope is damaged: it would let too much pass, or nothing.", "Bake again.")
        return ScopeReader(field, self.least, self.longest)


class ScopeReader:
    """Answers whether a text is familiar."""

    def __init__(self, field: bytes, least: float, longest: int) -> None:
        self._field, self._least, self._longest = field, least, longest

    def share(self, text: str) -> float:
        """Share of the text's 3-grams that are known, 0 to 1; 0 for a text without any."""
        places = list(_places(text, 8 * len(self._field)))
        known = sum(self._field[p >> 3] >> (p & 7) & 1 for p in places)
        return known / len(places) if places else 0.0

    def unfamiliar(self, text: str) -> bool:
        """Whether the gate should not allow this text by itself."""
        return len(text) > self._longest or self.share(text) < self._least


def fit_scope(training: Iterable[str], calibration: Sequence[str], strange: float = 0.01) -> Scope:
    """Learn a scope.

    Args:
        training: texts whose grams are known: what the adapter learns from, and what its base has read.
        calibration: unseen texts of the same kind; the bound is set so that about `strange` of them are unfamiliar.
        strange: that share.
    """
    field = bytearray(_BITS // 8)
    for text in training:
        for place in _places(text, _BITS):
            field[place >> 3] |= 1 << (place & 7)
    reader = ScopeReader(bytes(field), 0.0, 0)
    shares = sorted(reader.share(t) for t in calibration) or [1.0]
    longest = 2 * max((len(t) for t in calibration), default=2000)
    packed = base64.b64encode(zlib.compress(bytes(field), 9)).decode()
    return Scope(grams=packed, least=shares[int(strange * len(shares))], longest=longest)


def _places(text: str, bits: int) -> Iterable[int]:
    """Places of a text's grams in a field of so many bits. Width and case are folded; the bounds of the text count as a gram."""
    plain = f"\n{unicodedata.normalize('NFKC', text).casefold()}\n"
    for i in range(len(plain) - _GRAM + 1):
        yield zlib.crc32(plain[i : i + _GRAM].encode("utf-8", "surrogatepass")) % bits
