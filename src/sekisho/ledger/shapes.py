"""What bodies of one kind look like: learnt from examples, widened by those that differ, and made a type that msgspec reads.

Objects that always have the same keys are read as structures, whose fields are written in order; those with other keys each time as maps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, Any

import msgspec

LARGEST = 1e15
"""Floats up to here are spelt by msgspec as by Python; from 1e16 on it writes an exponent without a sign."""
SMALLEST = 1e-4
"""Below, it writes more zeros or a shorter exponent."""
_Int = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""Python's own reader refuses integers of more than 4,300 digits."""


@dataclass(frozen=True)
class Plain:
    """A text, a number, true, false or null."""


@dataclass(frozen=True)
class Structure:
    """An object with always these keys, in order."""

    fields: tuple[tuple[str, Shape], ...]


@dataclass(frozen=True)
class Map:
    """An object with any keys."""

    inner: Shape


@dataclass(frozen=True)
class Row:
    """A list."""

    inner: Shape


@dataclass(frozen=True)
class Other:
    """Now one thing, now another: nobody's business here."""


Shape = Plain | Structure | Map | Row | Other


def shape(value: Any) -> Shape:
    """Return the shape of one value that was read from JSON. Raises RecursionError for one that is too deep."""
    if isinstance(value, dict):
        return Structure(tuple((key, shape(inner)) for key, inner in value.items()))
    return Row(_all_merged(map(shape, value))) if isinstance(value, list) else Plain()


def merged(a: Shape, b: Shape) -> Shape:
    """Return a shape that fits whatever either fits."""
    match a, b:
        case _ if a == b:
            return a
        case Structure(one), Structure(other) if [key for key, _ in one] == [key for key, _ in other]:
            return Structure(tuple((key, merged(x, y)) for (key, x), (_, y) in zip(one, other, strict=True)))
        case ((Structure() | Map()), (Structure() | Map())):
            return Map(_all_merged([*_inside(a), *_inside(b)]))
        case Row(one), Row(other):
            # An empty list has no say in what stands in lists.
            return Row(merged(one, other))
    return Other()


def _inside(of: Structure | Map) -> list[Shape]:
    return [of.inner] if isinstance(of, Map) else [inner for _, inner in of.fields]


def _all_merged(shapes: Iterable[Shape]) -> Shape:
    found = list(shapes)
    return reduce(merged, found) if found else Plain()


def has_maps(of: Shape) -> bool:
    """Whether the order of some keys is not known beforehand."""
    if isinstance(of, Structure):
        return any(has_maps(inner) for _, inner in of.fields)
    return isinstance(of, Map) or (isinstance(of, Row) and has_maps(of.inner))


def type_of(of: Shape, least: float) -> Any:
    """Return the type for msgspec: floats from `least` on, whole numbers of 64 bits.

    Raises:
        ValueError: there is none, as of `Other`, or of a key that needs escapes.
    """
    match of:
        case Plain():
            return None | bool | _Int | Annotated[float, msgspec.Meta(ge=least, le=LARGEST)] | str
        case Map(inner):
            return dict[str, type_of(inner, least)]  # type: ignore[misc]
        case Row(inner):
            return list[type_of(inner, least)]  # type: ignore[misc]
        case Structure(fields):
            names = {f"f{n}": key for n, (key, _) in enumerate(fields)}
            types = [(f"f{n}", type_of(inner, least)) for n, (_, inner) in enumerate(fields)]
            # Not watched by the collector of cycles: what was read from JSON has none.
            return msgspec.defstruct("Body", types, rename=names, gc=False)
    raise ValueError("no type fits")
