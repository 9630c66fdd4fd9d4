"""The arithmetic of the scorer: counts and weights of all patterns in one long integer, and tables of what answers add to it.

Count and weights of a pattern are packed into one number, the count in front and the sub-attributes in the pattern's order behind it, so that comparing two
such numbers is the whole rule of who leads. The numbers of all patterns stand side by side in one integer. Tables hold its value for every subset of 11
criteria; scoring an image is six look-ups and a sum. Nothing overflows: fields are as wide as the pack's own totals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from .pack import Pack

_CHUNK = 11
_TABLES = 6
"""6 × 11 ≥ 64 criteria. Tables of 2,048 entries stay in the processor's cache; longer ones were slower."""

Standing = tuple[bytes, tuple[int, ...]]
"""Count of each pattern, one byte a pattern, and the places in the pack of those that lead: one, or the residual tie."""


def standings(pack: Pack) -> Callable[[int], Standing]:
    """Make the function that tells how the patterns of a sound pack stand for packed answers."""
    widths = _widths(pack)
    size = 4 if sum(widths) <= 24 else 8
    return _reader(_tables(_values(pack, widths, 8 * size)), len(pack.patterns), size)


def _reader(tables: Sequence[list[int]], patterns: int, size: int) -> Callable[[int], Standing]:
    """The inner loop. A closure, because names of a function are found faster than attributes of an object."""
    a, b, c, d, e, f = tables
    length, mask = size * patterns, (1 << _CHUNK) - 1
    unpack = Struct(f">{patterns}{'I' if size == 4 else 'Q'}").unpack
    alone = [(place,) for place in range(patterns)]

    def standing(bits: int) -> Standing:
        whole = (
            a[bits & mask]
            + b[bits >> 11 & mask]
            + c[bits >> 22 & mask]
            + d[bits >> 33 & mask]
            + e[bits >> 44 & mask]
            + f[bits >> 55]
        ).to_bytes(length, "big")
        keys = unpack(whole)
        best = max(keys)
        if keys.count(best) == 1:
            return whole[::size], alone[keys.index(best)]
        return whole[::size], tuple([i for i, k in enumerate(keys) if k == best])

    return standing


def _widths(pack: Pack) -> list[int]:
    """Bits that the weights at each place of a sub-order can need, in any pattern."""
    totals = [[0] * len(pack.sub_attributes) for _ in pack.patterns]
    for total, pattern in zip(totals, pack.patterns, strict=True):
        for criterion in pack.criteria:
            if pattern.id in criterion.patterns:
                total[pattern.sub_order.index(criterion.sub_attribute)] += criterion.weight
    return [max(column).bit_length() for column in zip(*totals, strict=True)]


def _values(pack: Pack, widths: Sequence[int], field_bits: int) -> list[int]:
    """What each criterion adds to the long integer: a count in the top byte of a pattern's field, and a weight beneath."""
    values = []
    for criterion in pack.criteria:
        value = 0
        for pattern in pack.patterns:
            place = pattern.sub_order.index(criterion.sub_attribute)
            field = (1 << (field_bits - 8)) + (criterion.weight << sum(widths[place + 1 :]))
            value = value << field_bits | (field if pattern.id in criterion.patterns else 0)
        values.append(value)
    return values


def _tables(values: Sequence[int]) -> tuple[list[int], ...]:
    """Sums of every subset of each run of 11 criteria."""
    padded = [*values, *[0] * (_CHUNK * _TABLES - len(values))]
    tables = []
    for start in range(0, len(padded), _CHUNK):
        table = [0]
        for value in padded[start : start + _CHUNK]:
            table += [value + there for there in table]
        tables.append(table)
    return tuple(tables)
